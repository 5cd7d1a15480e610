package store

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Seal ends the download: it syncs the data and gives the file its final name. Pieces that this process has put are not
// hashed again; those it only believes, from an earlier run, are hashed now, because the final name promises that they
// are right. The error is ErrIncomplete when pieces are missing, ErrDropped when a believed one turned out damaged: fetch
// what the bitmap now lacks and seal again; it is fault.Untrusted when the whole file is not what Options.Expect says. A second Seal after a good one opens the file once more.
func (p *Partial) Seal(ctx context.Context) (*File, error) {
	f, err := p.seal(ctx)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", p.place.final, err)
	}
	return f, nil
}

func (p *Partial) seal(ctx context.Context) (*File, error) {
	sum, err := p.finish(ctx)
	if err != nil {
		return nil, err
	}
	p.life.Lock()
	defer p.life.Unlock()
	p.behind.Wait()
	switch p.stage {
	case closed:
		return nil, os.ErrClosed
	case sealed:
		return p.open(sum)
	}
	if p.missing() > 0 { // a reader has dropped one since finish looked
		return nil, fault.Wrap(fault.Unavailable, ErrDropped)
	}
	if err := p.rename(); err != nil {
		return nil, diskError(p.place.final, err)
	}
	return p.open(sum)
}

// finish makes sure of every piece, and of the whole-file hash if it is wanted.
func (p *Partial) finish(ctx context.Context) (*piecehash.Hash, error) {
	if n := p.missing(); n > 0 {
		return nil, fmt.Errorf("%d of %d: %w", n, p.manifest.Pieces(), ErrIncomplete)
	}
	believed := p.unsure()
	var buf []byte
	var bad error
	for _, i := range believed {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, err := p.ReadPiece(i, buf)
		if err != nil {
			bad = err
			continue
		}
		buf = b
	}
	if bad != nil || p.whole == nil {
		return nil, bad
	}
	sum, err := p.whole.finish(p)
	if want := p.opt.Expect; err == nil && want != nil && *want != sum {
		err = fault.New(fault.Untrusted, "the pieces lead to SHA-256 %v, want %v", sum, *want)
	}
	return &sum, err
}

// rename makes everything durable, then the name. The state goes before the name comes: if a crash falls in between, the
// complete data is hashed once more, and nothing is left lying beside a finished file.
func (p *Partial) rename() error {
	p.syncing.Lock()
	defer p.syncing.Unlock()
	if err := p.syncLocked(); err != nil {
		return err
	}
	if err := p.saveRecord(); err != nil {
		return err
	}
	f := p.data.Load()
	reader, err := p.openReader(f)
	if err != nil {
		return err
	}
	if err := p.takeName(); err != nil {
		return errors.Join(err, reader.Close())
	}
	// Only a file that nobody has open for writing can be executed, so the writable one must go now.
	p.data.Store(reader)
	p.stage = sealed
	return f.Close()
}

// openReader opens the data for reading only, with the mode of its final name.
func (p *Partial) openReader(f *os.File) (*os.File, error) {
	if p.place.private() {
		if err := f.Chmod(p.place.perm); err != nil {
			return nil, err
		}
	}
	return reopen(f)
}

// takeName gives the file its final name: in a store it may replace a damaged one, beside a target nothing. Once the
// state is gone there is no way back in this process: the next one hashes the data again.
func (p *Partial) takeName() error {
	move := durable.Rename
	if !p.place.private() {
		if _, err := os.Lstat(p.place.final); err == nil {
			return inTheWay(p.place.final)
		}
		move = durable.RenameNew
	}
	err := p.state.remove()
	if err == nil {
		err = move(p.place.data, p.place.final)
	}
	if err != nil {
		p.broken.Store(&err)
	}
	return err
}

// open returns the sealed file, all of whose pieces this process has hashed.
func (p *Partial) open(sum *piecehash.Hash) (*File, error) {
	f, err := openSame(p.place.final, p.data.Load())
	if err != nil {
		return nil, err
	}
	out := newFile(p.manifest, f, sum)
	out.have, out.sure = p.Bitmap(), p.Bitmap()
	return out, nil
}
