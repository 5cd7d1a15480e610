package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

var (
	// ErrMissing is the error of reading a piece that is not there.
	ErrMissing = errors.New("piece is not stored")
	// ErrDropped is the error of a piece that was believed to be there and turned out to be damaged. It is forgotten: the
	// bitmap no longer has it, and it must be fetched again. The damage is in the chain as a *piecehash.Mismatch, unless
	// the disk would not even read it.
	ErrDropped = errors.New("stored piece is damaged and was dropped")
)

// ledger says which pieces of a file are there, and which of those this process has hashed itself. It is safe for
// concurrent use and does no I/O under its lock.
type ledger struct {
	manifest *piecehash.Manifest

	mu   sync.Mutex
	have piecehash.Bitmap // guarded by mu
	sure piecehash.Bitmap // guarded by mu; a subset of have: hashed in this process
}

func newLedger(m *piecehash.Manifest) ledger {
	return ledger{manifest: m, have: piecehash.NewBitmap(m.Pieces()), sure: piecehash.NewBitmap(m.Pieces())}
}

// Manifest returns what the content is.
func (l *ledger) Manifest() *piecehash.Manifest { return l.manifest }

// Bitmap returns a copy of the set of pieces that are there.
func (l *ledger) Bitmap() piecehash.Bitmap {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.have.Clone()
}

// Has reports whether piece i is there.
func (l *ledger) Has(i int) bool {
	has, _ := l.look(i)
	return has
}

func (l *ledger) look(i int) (has, sure bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.have.Has(i), l.sure.Has(i)
}

// add notes a piece that was hashed and is readable, and reports whether it was new.
func (l *ledger) add(i int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sure.Set(i)
	return l.have.Set(i)
}

// drop forgets a damaged piece. One that this process has hashed in the meantime stays: it has been put anew.
func (l *ledger) drop(i int, seenSure bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sure.Has(i) != seenSure {
		return false
	}
	l.sure.Clear(i)
	return l.have.Clear(i)
}

// unsure lists the pieces that are there and were not hashed in this process.
func (l *ledger) unsure() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []int
	for i := range l.have.Len() {
		if l.have.Has(i) && !l.sure.Has(i) {
			out = append(out, i)
		}
	}
	return out
}

// missing returns how many pieces are not there.
func (l *ledger) missing() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.have.Len() - l.have.Count()
}

// read reads piece i from f into buf, which is replaced when it is too small. A piece that this process has not hashed
// yet is hashed first; a damaged one is dropped and the error is ErrDropped.
func (l *ledger) read(f io.ReaderAt, i int, buf []byte) ([]byte, error) {
	has, sure := l.look(i)
	if !has {
		return nil, fmt.Errorf("read piece %d: %w", i, ErrMissing)
	}
	b, err := readAt(f, l.manifest, i, buf)
	if errors.Is(err, os.ErrClosed) {
		return nil, fmt.Errorf("read piece %d: %w", i, err)
	}
	if err == nil && !sure {
		err = l.manifest.Check(i, b)
	}
	if err != nil {
		l.drop(i, sure)
		return nil, fault.New(fault.Unavailable, "read piece %d: %w: %w", i, ErrDropped, err)
	}
	if !sure {
		l.confirm(i)
	}
	return b, nil
}

// confirm notes that a piece which was there has been hashed.
func (l *ledger) confirm(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.have.Has(i) {
		l.sure.Set(i)
	}
}

func readAt(f io.ReaderAt, m *piecehash.Manifest, i int, buf []byte) ([]byte, error) {
	n := m.PieceSize(i)
	if int64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	switch got, err := f.ReadAt(buf, m.Offset(i)); {
	case got == len(buf):
		return buf, nil
	case errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF
	default:
		return nil, err
	}
}

// believeAll takes a complete file for what it should be until its pieces are read.
func (l *ledger) believeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.have.Len() {
		l.have.Set(i)
	}
}
