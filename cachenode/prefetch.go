package cachenode

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/window"
	"github.com/dunlin-project/dunlin/piecehash"
)

// yieldRate is how fast something is fetched that nobody has asked for while something else is that somebody has, in bytes per
// second. It keeps connections and claims alive and costs the others next to nothing.
const yieldRate = 64 << 10

// Prefetch is what a node fetches that nobody has asked for: one content after the other, and what an earlier run has begun
// before the rest.
type Prefetch struct {
	// On fetches what the catalogue wants to be had. Without it only what was begun is brought to its end.
	On bool
	// Window is when; the zero value is always. At its end the fetch stops, and goes on when it opens again.
	Window window.Daily
	// Rate bounds it, in bytes per second; 0 does not. It holds no longer for content that somebody asks for, by HTTP or as a
	// device.
	Rate int64
}

// ahead paces what nobody has asked for.
type ahead struct {
	Prefetch
	had map[piecehash.Root]bool // what was here once in this process; owned by upkeep

	mu    sync.Mutex       // guards the rest; taken after a content's
	left  []piecehash.Root // what an earlier run has begun
	asked int              // fetches under way that somebody waits for
	fill  *fill            // the one that nobody does; nil: none
}

// resume notes what an earlier run has begun.
func (a *ahead) resume(partial []piecehash.Root) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left = partial
}

// due is what an earlier run has begun, and what is wanted if anything is fetched ahead.
func (a *ahead) due(wanted []piecehash.Root) []piecehash.Root {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.On {
		return a.left
	}
	return slices.Concat(a.left, wanted)
}

// newFill returns a fetch that nobody waits for.
func (a *ahead) newFill() *fill {
	return &fill{done: make(chan struct{}), ahead: true, limit: fetch.NewLimit(a.Rate)}
}

// begun notes the fetch that nobody waits for.
func (a *ahead) begun(f *fill) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fill = f
	a.pace()
}

// want notes that somebody waits for a fetch, once for each. What held it back does so no longer.
func (a *ahead) want(f *fill) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fill == f {
		a.fill = nil
	}
	f.limit.Set(0)
	a.asked++
	a.pace()
}

// ended notes the end of a fetch, that somebody waited for or not.
func (a *ahead) ended(f *fill, asked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if asked {
		a.asked--
	}
	if a.fill == f {
		a.fill = nil
	}
	a.pace()
}

// pace lets what somebody waits for go first. a.mu is held.
func (a *ahead) pace() {
	switch {
	case a.fill == nil:
	case a.asked > 0 && (a.Rate == 0 || a.Rate > yieldRate):
		a.fill.limit.Set(yieldRate)
	default:
		a.fill.limit.Set(a.Rate)
	}
}

// current returns the fetch that nobody waits for, which it stops outside of the window, and whether others go first.
func (a *ahead) current(open bool) (f *fill, busy bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fill != nil && !open {
		a.fill.stop()
	}
	return a.fill, a.asked > 0
}

// fetchAhead goes on with what nobody has asked for. The channel is closed when the next can begin; nil: not before long.
func (n *Node) fetchAhead(wanted []piecehash.Root) <-chan struct{} {
	a := &n.ahead
	open := a.Window.Open(time.Now())
	f, busy := a.current(open)
	if f != nil {
		return f.done
	}
	if busy || !open {
		return nil
	}
	for _, root := range a.due(wanted) {
		if a.had[root] {
			continue
		}
		if f := n.beginAhead(root); f != nil {
			return f.done
		}
	}
	return nil
}

// beginAhead begins to fetch content, unless it is here, on its way, or has just failed. What was here once is not fetched ahead
// again: if it had to make room, it would only push out something else.
func (n *Node) beginAhead(root piecehash.Root) *fill {
	if _, err := n.cfg.Catalogue.Find(root); err != nil {
		return nil
	}
	c, err := n.take(root)
	if err != nil {
		return nil
	}
	defer n.release(c)
	f, whole := c.beginAhead()
	if whole {
		n.ahead.had[root] = true
	}
	return f
}

// beginAhead reports whether the content is whole, or else returns a fetch that has begun. What nobody waits for is tried
// again less and less often.
func (c *content) beginAhead() (f *fill, whole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fill != nil:
		return nil, false
	case c.src != nil && c.src.Bitmap().Full():
		return nil, true
	case c.failures > 0 && time.Since(c.failed) < min(retryAfter<<min(c.failures, 10), retryMost):
		return nil, false
	}
	f = c.node.ahead.newFill()
	if err := c.begin(f); err != nil {
		return nil, false // a reader will be told
	}
	c.node.ahead.begun(f)
	return f, false
}

// want notes that somebody waits for the fetch under way. c.mu is held.
func (c *content) want() {
	if f := c.fill; f != nil && !f.asked {
		f.asked = true
		c.node.ahead.want(f)
		if f.ahead {
			c.node.log.Debug("content that is fetched ahead is asked for", slog.Any("root", c.root))
		}
	}
}

// members notes how many devices share the content that is being fetched: they want it, and what was fetched at leisure is not
// any more.
func (c *content) members(n int) {
	if n == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want()
}

// limit is what holds the fetch under way back, nil for nothing.
func (c *content) limit() *fetch.Limit {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fill == nil {
		return nil
	}
	return c.fill.limit
}

// unasked reports whether the fetch under way is one that nobody waits for.
func (c *content) unasked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fill != nil && !c.fill.asked
}
