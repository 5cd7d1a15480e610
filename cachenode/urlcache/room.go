package urlcache

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"syscall"
	"time"
)

// slackPart is the part of the room that is made free beyond what is needed, so that room is not made for each slice anew.
const slackPart = 50

// Bytes returns how many bytes are kept.
func (c *Cache) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// Evict deletes files, those first that were used longest ago, until at most so many bytes are kept. What is in use
// or pinned stays. It returns how many bytes it has freed.
func (c *Cache) Evict(most int64) (freed int64) {
	pinned := pins(c.cfg.Dir)
	c.mu.Lock()
	before := c.bytes
	gone := c.oust(most, pinned)
	freed = before - c.bytes
	c.mu.Unlock()
	c.delete(gone)
	return freed
}

// oust takes what must go out of the table. c.mu is held.
func (c *Cache) oust(most int64, pinned map[key]bool) (gone []files) {
	if c.bytes <= most {
		return nil
	}
	byUse := slices.SortedFunc(maps.Values(c.entries), func(a, b *entry) int { return cmp.Compare(a.used, b.used) })
	for _, e := range byUse {
		if c.bytes <= most {
			break
		}
		if e.isIdle() && e.bytes > 0 && !pinned[e.key] {
			gone = append(gone, files{c.cfg.Dir, e.key, e.id})
			c.closeEntry(e)
			c.bytes -= e.bytes
			delete(c.entries, e.key)
		}
	}
	return gone
}

func (c *Cache) delete(gone []files) {
	for _, f := range gone {
		c.removed(f.remove())
	}
}

// take accounts for n bytes that are to be written to a generation, and makes room for them.
func (c *Cache) take(g *generation, n int64) error {
	if err := c.reserve(g, n); err != nil {
		return c.pause(err)
	}
	pinned := pins(c.cfg.Dir)
	c.mu.Lock()
	if g.retired {
		c.mu.Unlock()
		return errChanged
	}
	var gone []files
	if c.bytes+n > c.cfg.Size {
		gone = c.oust(c.cfg.Size-max(n, c.cfg.Size/slackPart), pinned)
	}
	fits := c.bytes+n <= c.cfg.Size
	if fits {
		c.bytes += n
		g.e.bytes += n
	}
	c.mu.Unlock()
	c.delete(gone)
	if !fits {
		return c.pause(errors.New("all that is kept is in use or pinned"))
	}
	return nil
}

// reserve sees to it that the disk has room for n bytes and the reserve.
func (c *Cache) reserve(g *generation, n int64) error {
	for tried := false; ; tried = true {
		free, err := freeBytes(g.data)
		if err != nil || free-c.cfg.Reserve >= n {
			return err
		}
		if short := n + c.cfg.Reserve - free; tried || c.Evict(c.Bytes()-short) == 0 {
			return fmt.Errorf("%d bytes are free and %d of them are kept free: %w", free, c.cfg.Reserve, syscall.ENOSPC)
		}
	}
}

// shrink takes bytes of a generation that are not there any more off the account.
func (c *Cache) shrink(g *generation, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !g.retired && !g.closed {
		c.bytes -= n
		g.e.bytes -= n
	}
}

// pause lets nothing be kept for a while: the disk is full or has failed. It returns errNoRoom, with the cause.
func (c *Cache) pause(cause error) error {
	now := time.Now()
	c.cause.Store(&cause)
	if old := c.paused.Swap(now.Add(pauseFor).UnixNano()); old < now.UnixNano() {
		c.log.Warn("files are passed through and not kept for a while", slog.Duration("for", pauseFor), slog.Any("err", cause))
	}
	return fmt.Errorf("%w: %w", errNoRoom, cause)
}

func (c *Cache) isPaused(now time.Time) bool { return now.UnixNano() < c.paused.Load() }

func (c *Cache) isRetired(g *generation) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return g.retired
}
