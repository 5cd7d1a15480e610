package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// ErrIncomplete is the error of sealing a file that lacks pieces.
var ErrIncomplete = errors.New("pieces are missing")

// Options says how to keep partial files. The zero value is good for a file beside its target.
type Options struct {
	// Reserve is how many bytes of the disk are kept free, 0 for none. A download that would eat into them is
	// refused as fault.Unavailable when it begins, and stopped when others have taken the space.
	Reserve int64
	// WholeHash computes the SHA-256 of the whole file beside the download, as its beginning becomes contiguous;
	// File.SHA256 gives it after Seal. It costs a second hash of each byte, and reading back what came out of order.
	WholeHash bool
	// Expect is what the whole-file hash must be, or nil. Seal does not give the file its name when it is another. It
	// needs WholeHash.
	Expect *piecehash.Hash
	// Log takes what is worth knowing about recovery; nil for nothing.
	Log *slog.Logger
}

// log is never nil.
func (o Options) log() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log
}

// Partial is a file on its way: verified pieces, and room for the others. It is safe for concurrent use. While it is open
// no other process, and no other Partial of this one, can open the same. After Seal it stays readable until Close.
type Partial struct {
	ledger
	place place
	opt   Options
	start time.Time // the epoch of lastSync

	data  atomic.Pointer[os.File] // swapped for a read-only one by Seal; readers take it without a lock
	whole *prefixHash             // nil without Options.WholeHash
	// sparse is set where the disk could not be asked to keep the blocks ready, so that they may run out later.
	sparse bool

	life  sync.RWMutex // held for reading by Put, for writing by what ends the download; guards stage
	stage stage

	syncing sync.Mutex     // one group sync at a time; guards state and its file
	behind  sync.WaitGroup // group syncs that run beside Puts
	state   *stateFile

	unsynced atomic.Int64 // bytes written since the last sync began
	lastSync atomic.Int64 // when it began, as nanoseconds since start
	broken   atomic.Pointer[error]
	late     atomic.Pointer[error] // of the last group sync beside Puts; the next Put takes it
}

// stage is how far a Partial has come.
type stage int

const (
	filling stage = iota
	sealed
	closed
)

// Put checks piece i against the manifest, stores it and reports whether it was new. The error is a *piecehash.Mismatch
// for wrong bytes, and fault.Unavailable for a disk that is full or broken. b is only read, and only until Put returns.
// Every two seconds or 16 MiB what was put before is made durable, beside the Puts: a piece is not kept from those who
// wait for it by the disk. An error of that ends the next Put.
func (p *Partial) Put(i int, b []byte) (fresh bool, err error) {
	if err := p.manifest.Check(i, b); err != nil {
		return false, fault.Wrap(fault.Untrusted, err)
	}
	p.life.RLock()
	defer p.life.RUnlock()
	switch p.stage {
	case sealed:
		return false, nil
	case closed:
		return false, fmt.Errorf("put piece %d: %w", i, os.ErrClosed)
	}
	if err := p.write(i, b); err != nil {
		return false, fmt.Errorf("put piece %d: %w", i, err)
	}
	return p.note(i, b)
}

// write writes a checked piece. Two at once for one piece write the same bytes.
func (p *Partial) write(i int, b []byte) error {
	if err := p.broken.Load(); err != nil {
		return *err
	}
	if err := p.late.Swap(nil); err != nil {
		return *err
	}
	if has, sure := p.look(i); has && sure {
		return nil
	}
	f := p.data.Load()
	if err := writeAt(f, b, p.manifest.Offset(i)); err != nil {
		return diskError(f.Name(), err)
	}
	return nil
}

// note makes a written piece count, and syncs when that is due.
func (p *Partial) note(i int, b []byte) (fresh bool, err error) {
	if fresh = p.add(i); !fresh {
		return false, nil
	}
	if p.whole != nil {
		p.whole.advance(p, i, b)
	}
	if p.unsynced.Add(int64(len(b))) >= syncBytes || p.sinceSync() >= syncEvery {
		p.syncBeside()
	}
	return fresh, nil
}

// ReadPiece reads piece i into buf, which is replaced when it is too small, and returns it. No lock is held meanwhile. A
// piece that was there at the start is hashed at its first read; if it is damaged, the error is ErrDropped and the bitmap
// no longer has it. A piece that is not there is ErrMissing.
func (p *Partial) ReadPiece(i int, buf []byte) ([]byte, error) {
	for {
		f := p.data.Load()
		b, err := p.read(f, i, buf)
		if errors.Is(err, os.ErrClosed) && p.data.Load() != f {
			continue // Seal has put a read-only file in its place
		}
		return b, err
	}
}

// Open returns a reader of its own on the file, for the caller to close; it lasts over Seal. Only pieces that ReadPiece or Put
// has vouched for are content.
func (p *Partial) Open() (*os.File, error) {
	p.life.RLock()
	defer p.life.RUnlock()
	switch p.stage {
	case closed:
		return nil, os.ErrClosed
	case sealed:
		return openSame(p.place.final, p.data.Load())
	}
	return openSame(p.place.data, p.data.Load())
}

// Close syncs what is not yet durable and lets the file go; the data stays for a later run. A second Close does nothing.
func (p *Partial) Close() error {
	p.life.Lock()
	defer p.life.Unlock()
	p.behind.Wait()
	return p.closeLocked(func() error {
		return errors.Join(p.sync(), p.state.close())
	})
}

// Discard lets the file go and deletes its data, unless it was sealed.
func (p *Partial) Discard() error {
	p.life.Lock()
	defer p.life.Unlock()
	p.behind.Wait()
	return p.closeLocked(func() error {
		return errors.Join(os.Remove(p.place.data), p.state.remove())
	})
}

func (p *Partial) closeLocked(end func() error) error {
	var err error
	switch p.stage {
	case closed:
		return nil
	case filling:
		err = end()
	}
	p.stage = closed
	return errors.Join(err, p.data.Load().Close())
}

// content is what the file is to become.
func (p *Partial) content() piecehash.Content { return p.manifest.Content }
