package store

import (
	"fmt"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// A group sync is due when either is reached. What is not synced is what a power cut costs.
const (
	syncBytes = 16 << 20
	syncEvery = 2 * time.Second
)

func (p *Partial) sinceSync() time.Duration {
	return time.Since(p.start) - time.Duration(p.lastSync.Load())
}

// syncBeside begins a group sync unless one is at work: that one, or the next, covers the newest piece. Whoever ends the
// download waits for it. The caller holds life for reading.
func (p *Partial) syncBeside() {
	if !p.syncing.TryLock() {
		return
	}
	p.behind.Go(func() {
		defer p.syncing.Unlock()
		if err := p.syncLocked(); err != nil {
			p.late.Store(&err)
		}
	})
}

func (p *Partial) sync() error {
	p.syncing.Lock()
	defer p.syncing.Unlock()
	return p.syncLocked()
}

// syncLocked makes the data durable, then the bitmap of what was written before that began: never the other way round.
// When a sync fails, nobody knows what the disk has kept (after a failed fsync the kernel forgets which pages were bad),
// so the download cannot go on in this process; the pieces since the last good sync are hashed again by the next.
func (p *Partial) syncLocked() error {
	if err := p.broken.Load(); err != nil {
		return *err
	}
	p.lastSync.Store(int64(time.Since(p.start)))
	p.unsynced.Store(0)
	have := p.Bitmap()
	f := p.data.Load()
	err := syncData(f)
	if err == nil {
		err = p.state.save(p.content(), have)
	}
	if err != nil {
		err = fault.Wrap(fault.Unavailable, fmt.Errorf("sync %s: %w", f.Name(), diskError(f.Name(), err)))
		p.broken.Store(&err)
		return err
	}
	if p.sparse {
		return room(f, 0, p.opt.Reserve)
	}
	return nil
}
