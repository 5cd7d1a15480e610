package store

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// File is complete content on disk, open for reading. It is safe for concurrent use. A piece that this process has not
// hashed yet is hashed before it is handed out, because disks rot.
type File struct {
	ledger
	f     *os.File
	whole *piecehash.Hash
}

func newFile(m *piecehash.Manifest, f *os.File, whole *piecehash.Hash) *File {
	return &File{ledger: newLedger(m), f: f, whole: whole}
}

// OpenAt opens the file at path and hashes all of it. When it is not the content, the error has a *piecehash.Mismatch
// with the first wrong piece (for a file of another length: the first that is missing, or the last). No file is
// fs.ErrNotExist. progress, if not nil, is told how many bytes are hashed.
func OpenAt(ctx context.Context, path string, m *piecehash.Manifest, progress func(done int64)) (*File, error) {
	f, err := openRegular(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open content: %w", err)
	}
	sum, err := verify(ctx, f, m, progress)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), f.Close())
	}
	out := newFile(m, f, &sum)
	for i := range m.Pieces() {
		out.add(i)
	}
	return out, nil
}

func verify(ctx context.Context, f *os.File, m *piecehash.Manifest, progress func(int64)) (piecehash.Hash, error) {
	info, err := f.Stat()
	if err != nil {
		return piecehash.Hash{}, err
	}
	if n := info.Size(); n != m.Length() {
		i := min(int(n/m.PieceLength()), m.Pieces()-1)
		return piecehash.Hash{}, fault.Wrap(fault.Untrusted,
			fmt.Errorf("%d bytes, want %d: %w", n, m.Length(), &piecehash.Mismatch{Piece: i, Want: m.PieceHash(i)}))
	}
	got, sum, err := piecehash.SumFile(ctx, f, m.Length(), m.PieceLength(), progress)
	if err != nil {
		return piecehash.Hash{}, err
	}
	for i := range m.Pieces() {
		if want, is := m.PieceHash(i), got.PieceHash(i); is != want {
			return piecehash.Hash{}, fault.Wrap(fault.Untrusted, &piecehash.Mismatch{Piece: i, Want: want, Got: is})
		}
	}
	return sum, nil
}

// ReadPiece reads piece i into buf, which is replaced when it is too small, and returns it. A damaged piece is ErrDropped,
// and the bitmap no longer has it.
func (f *File) ReadPiece(i int, buf []byte) ([]byte, error) { return f.read(f.f, i, buf) }

// Open returns a reader of its own on the same file, for the caller to close. The error is fault.Unavailable when the name
// has been given to another file since.
func (f *File) Open() (*os.File, error) { return reopen(f.f) }

// Path returns the name under which the file was opened.
func (f *File) Path() string { return f.f.Name() }

// SHA256 returns the hash of the whole file, if this process has computed it: OpenAt always does, Seal with
// Options.WholeHash.
func (f *File) SHA256() (piecehash.Hash, bool) {
	if f.whole == nil {
		return piecehash.Hash{}, false
	}
	return *f.whole, true
}

// Close lets the file go.
func (f *File) Close() error { return f.f.Close() }

// reopen opens what f has open once more, for reading. A dup would share the file's offset and mode.
func reopen(f *os.File) (*os.File, error) { return openSame(f.Name(), f) }

// openSame opens path for reading, provided that it still names the file that f has open.
func openSame(path string, f *os.File) (*os.File, error) {
	out, err := openRegular(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open content: %w", err)
	}
	if !sameFile(f, out) {
		return nil, errors.Join(fault.New(fault.Unavailable, "open %s: it was replaced", path), out.Close())
	}
	return out, nil
}

func sameFile(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}
