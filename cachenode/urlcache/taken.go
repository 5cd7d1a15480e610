package urlcache

import (
	"errors"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
)

// What is written goes to the kernel's memory, and whether the disk has taken it only a sync tells. The bytes of a slice that it
// has not taken look right for as long as they are in that memory, and are others afterwards. So, beside the fetching, the disk is
// asked after each run of slices, and those that it may not have taken are fetched again.

// confirm asks the disk whether it has taken what was written, unless that is being asked. It does not wait for the answer. g.mu
// is held.
func (g *generation) confirm() {
	if g.confirming || g.written.Count() == 0 || g.e.c.lives.Enter() == nil {
		return
	}
	g.confirming = true
	go func() {
		defer g.e.c.lives.Leave()
		for g.confirmWritten() {
		}
	}()
}

// confirmWritten asks once, and reports whether more has been written meanwhile.
func (g *generation) confirmWritten() bool {
	g.mu.Lock()
	asked := g.written
	g.written = piecehash.NewBitmap(len(g.sum))
	g.mu.Unlock()
	if err := syncData(g.data); err != nil && !errors.Is(err, os.ErrClosed) { // what was closed is looked at when it is opened again
		g.lose(asked, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.confirming = g.written.Count() > 0
	return g.confirming
}

// lose forgets slices that the disk may not have taken.
func (g *generation) lose(slices piecehash.Bitmap, err error) {
	c := g.e.c
	_ = c.pause(err)
	c.log.Warn("the disk has not taken slices, which are fetched again", slog.String("url", label(g.e.url)), slog.Int("slices", slices.Count()), slog.Any("err", err))
	for i := range slices.Len() {
		if slices.Has(i) {
			g.drop(i)
		}
	}
}

// Trouble returns why nothing is kept now, nil while files are kept.
func (c *Cache) Trouble() error {
	if cause := c.cause.Load(); cause != nil && c.isPaused(time.Now()) {
		return *cause
	}
	return nil
}

// isBroken reports whether an error is that of a disk that cannot be read or written, which may pass.
func isBroken(err error) bool { return errors.Is(err, syscall.EIO) }
