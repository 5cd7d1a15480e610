package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Suffixes of what BeginAt keeps beside the target.
const (
	partSuffix  = ".part"
	stateSuffix = ".part.state"
)

// place is where the parts of one download lie.
type place struct {
	data, state string // while it is partial
	final       string
	record      string      // the manifest of a sealed file; "" beside a target, where the caller has it
	perm        fs.FileMode // of the final file; before the umask beside a target
}

func placeAt(path string) place {
	return place{data: path + partSuffix, state: path + stateSuffix, final: path, perm: 0o644}
}

// private reports whether the place is in a Store's folder.
func (pl place) private() bool { return pl.record != "" }

// BeginAt begins, or goes on with, a download that becomes the file at path. Until then it lies beside it, in path.part,
// with what is known of it in path.part.state. Pieces of an earlier run are kept. The error is fault.Refused when the
// target, or a file under the partial's name that cannot be ours, is in the way; fault.Unavailable when another process
// has the same download open or the disk is too full. ctx ends the hashing of what an earlier run has left.
func BeginAt(ctx context.Context, path string, m *piecehash.Manifest, o Options) (*Partial, error) {
	p, err := begin(ctx, placeAt(path), m, o, false)
	if errors.Is(err, ErrSealed) {
		return nil, inTheWay(path)
	}
	return p, err
}

// RepairAt makes a download again of the file at path, which turned out not to be the content: what is right in it is
// kept, the rest is missing. It must not be called for a file that may be something else than a damaged copy.
func RepairAt(ctx context.Context, path string, m *piecehash.Manifest, o Options) (*Partial, error) {
	return begin(ctx, placeAt(path), m, o, true)
}

func inTheWay(path string) error {
	return fault.WithHint(fault.New(fault.Refused, "write %s: %w", path, fs.ErrExist), "move it away, or choose another folder")
}

// begin opens the partial file of a place. The order matters: the lock comes first; the state file exists before the data,
// so that data without a state is recognised as not ours; nothing is preallocated that the disk cannot hold. adopt makes
// the file under the final name partial again.
func begin(ctx context.Context, pl place, m *piecehash.Manifest, o Options, adopt bool) (_ *Partial, err error) {
	st, err := openState(pl.state)
	if err != nil {
		return nil, fmt.Errorf("begin %s: %w", pl.final, err)
	}
	p := &Partial{ledger: newLedger(m), place: pl, opt: o, state: st, start: time.Now()}
	if adopt {
		err = p.unseal()
	}
	left := alien
	old, stateErr := st.load()
	if err == nil {
		left, err = p.openData(old, stateErr)
	}
	if err == nil {
		err = p.prepare(ctx, old, left)
	}
	if err != nil {
		p.abandon(left)
		return nil, fmt.Errorf("begin %s: %w", pl.final, err)
	}
	if o.WholeHash {
		p.whole = newPrefixHash()
	}
	return p, nil
}

// unseal gives the final file the partial's name back, so that it can be mended. The state comes first, as always: a
// crash in between must not leave data that nobody knows.
func (p *Partial) unseal() error {
	pl := p.place
	if _, err := os.Lstat(pl.final); errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	if _, err := os.Lstat(pl.data); err == nil && !pl.private() {
		return inTheWay(pl.data)
	}
	if err := p.beginState(); err != nil {
		return err
	}
	if !pl.private() {
		return durable.RenameNew(pl.final, pl.data)
	}
	if err := os.Chmod(pl.final, 0o600); err != nil {
		return err
	}
	return durable.Rename(pl.final, pl.data)
}

// leftover is what an earlier run has left under the partial's name.
type leftover int

const (
	alien   leftover = iota // nothing of ours was found or made: touch nothing
	nothing                 // no data: the file was made now
	ours                    // data of this content, with a state that says which
	unknown                 // data, with a state that does not help
)

// openData opens the data file, and finds out what it is.
func (p *Partial) openData(old state, stateErr error) (leftover, error) {
	if _, err := os.Lstat(p.place.final); err == nil {
		return alien, ErrSealed
	} else if !errors.Is(err, fs.ErrNotExist) {
		return alien, err
	}
	perm := p.place.perm
	if p.place.private() {
		perm = 0o600
		_ = os.Chmod(p.place.data, perm) // Seal may have been cut after it took the right to write
	}
	f, err := openRegular(p.place.data, os.O_RDWR|os.O_CREATE, perm)
	if err != nil {
		return alien, err
	}
	p.data.Store(f)
	info, err := f.Stat()
	if err != nil {
		return alien, err
	}
	noState := errors.Is(stateErr, fs.ErrNotExist)
	switch {
	case info.Size() == 0:
		return nothing, nil
	case stateErr == nil && old.content == p.content():
		return ours, nil
	case stateErr == nil && old.content.Root() != p.content().Root(): // an older version under the same name
		p.opt.log().Info("start over", slog.String("file", p.place.final), slog.Any("was", old.content.Root()))
		return nothing, f.Truncate(0)
	case noState && !p.place.private() && info.Size() != p.content().Length():
		return alien, inTheWay(p.place.data)
	}
	p.opt.log().Warn("hash again what is there", slog.String("file", p.place.data), slog.Any("err", stateErr))
	return unknown, nil
}

// prepare gives the data its room and the state its file, and finds the pieces that are there.
func (p *Partial) prepare(ctx context.Context, old state, left leftover) error {
	f := p.data.Load()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	length := p.content().Length()
	if err := room(f, max(length-allocated(info), 0), p.opt.Reserve); err != nil {
		return err
	}
	if left == ours {
		p.believe(old, info.Size())
		p.state.seq = old.seq
	} else if err := p.beginState(); err != nil {
		return err
	}
	if err := p.resize(info.Size()); err != nil {
		return diskError(f.Name(), err)
	}
	if left == nothing {
		return nil
	}
	return p.recover(ctx)
}

// resize gives the data its length and, where the disk can, its blocks.
func (p *Partial) resize(size int64) (err error) {
	f, length := p.data.Load(), p.content().Length()
	if size > length {
		if err := f.Truncate(length); err != nil {
			return err
		}
	}
	preallocated, err := allocate(f, length)
	p.sparse = !preallocated
	return err
}

// beginState makes the state file durable before there is a piece that it could be about.
func (p *Partial) beginState() error {
	if err := p.state.begin(p.content(), p.have); err != nil {
		return diskError(p.place.state, err)
	}
	return durable.SyncDir(filepath.Dir(p.place.state))
}

// abandon undoes a begin that did not succeed: what was made is removed, what was there stays.
func (p *Partial) abandon(left leftover) {
	f := p.data.Load()
	if f != nil {
		if left == nothing {
			_ = os.Remove(p.place.data)
		}
		_ = f.Close()
	}
	info, err := p.state.f.Stat()
	if left == nothing || err == nil && info.Size() == 0 {
		_ = p.state.remove()
		return
	}
	_ = p.state.close()
}
