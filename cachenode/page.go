package cachenode

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/history"
	"github.com/dunlin-project/dunlin/internal/page"
	"github.com/dunlin-project/dunlin/piecehash"
)

const (
	maxDecided = 64  // decisions that are remembered
	maxShown   = 200 // contents that the page is told of
)

// neighbours is what a Swarm may also know, for the page.
type neighbours interface {
	Peers() []page.Peer // who is connected now
	Served() int64      // payload bytes sent since it began
}

// watch is what the page shows of fetches. The zero value is ready. It is locked after a content, never before one.
type watch struct {
	mu      sync.Mutex // guards the rest
	total   history.Amounts
	running map[*watched]struct{}
	decided []page.Decision // the newest last
}

// watched is one fetch that runs. Its fields but root, name and length are guarded by watch.mu.
type watched struct {
	w       *watch
	root    piecehash.Root
	name    string
	length  int64
	stats   fetch.Stats
	picture *fetch.View
}

// begin notes that a fetch begins. end must be called.
func (w *watch) begin(c *content) *watched {
	c.mu.Lock()
	ahead := c.fill != nil && !c.fill.wanted
	c.mu.Unlock()
	f := &watched{w: w, root: c.root, name: c.item.Name, length: c.item.Manifest.Length()}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running == nil {
		w.running = make(map[*watched]struct{})
	}
	w.running[f] = struct{}{}
	d := page.Decision{At: time.Now(), What: nameOf(f.name, f.root), Outcome: "fetched now", Why: "it was asked for, and is not here"}
	if ahead {
		d.Outcome, d.Why = "fetched ahead", "it is known, and nobody has asked for it yet"
	}
	w.decide(d)
	return f
}

// update counts what has come since it was last told.
func (f *watched) update(s fetch.Stats) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	t := &f.w.total
	t[history.FromOrigin] += s.From.Origin - f.stats.From.Origin
	t[history.FromCache] += s.From.Cache - f.stats.From.Cache
	t[history.FromPeers] += s.From.Peers - f.stats.From.Peers
	t[history.Kept] += s.Useful() - f.stats.Useful()
	f.stats = s
}

// ahead counts bytes that were kept before anybody asked for their content.
func (w *watch) ahead(n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.total[history.Ahead] += n
}

func (f *watched) show(v fetch.View) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.picture = &v
}

// end counts the rest. Waste is counted here only: what is on its way looks like waste until its piece is whole.
func (f *watched) end(s fetch.Stats) {
	f.update(s)
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.total[history.Waste] += s.Waste
	delete(f.w.running, f)
}

// hear remembers what was decided, and what came of it.
func (w *watch) hear(now time.Time, e Event) {
	d := page.Decision{At: now, What: nameOf(e.Name, e.Root), Outcome: e.Event, Why: e.Error, Bad: e.Event == Failed}
	switch e.Event {
	case Progress, Fetching: // begin has said so
		return
	case Stored:
		if f := e.From; f != nil {
			d.Why = fmt.Sprintf("%s in %.1f s: %s from the origin, %s from cache nodes, %s from devices", page.SizeText(e.Bytes), e.Seconds,
				page.SizeText(f.Origin), page.SizeText(f.Cache), page.SizeText(f.Peers))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.decide(d)
}

// decide remembers a decision. w.mu is held.
func (w *watch) decide(d page.Decision) {
	if len(w.decided) == maxDecided {
		w.decided = slices.Delete(w.decided, 0, 1)
	}
	w.decided = append(w.decided, d)
}

// nameOf is what people call content.
func nameOf(name string, root piecehash.Root) string {
	if name != "" {
		return name
	}
	return root.String()
}

// Counters implements page.Subject.
func (n *Node) Counters() page.Counters {
	n.watch.mu.Lock()
	c := page.Counters{Total: n.watch.total}
	n.watch.mu.Unlock()
	c.Total[history.ByHTTP] = n.sent.Load()
	if s, ok := n.cfg.Swarm.(neighbours); ok {
		c.Peers, c.Total[history.ToDevices] = s.Peers(), s.Served()
	}
	return c
}

// Look implements page.Subject. Name and Version are the caller's to fill in.
func (n *Node) Look() page.Look {
	l := page.Look{Kind: page.Node}
	if n.cfg.Swarm != nil {
		l.Name = string(n.cfg.Swarm.ID())
		l.Facts = append(l.Facts, page.Fact{Name: "Name among devices", Value: l.Name})
	}
	n.watch.mu.Lock()
	l.Decisions = slices.Clone(n.watch.decided)
	for f := range n.watch.running {
		l.Transfers = append(l.Transfers, f.transfer())
	}
	n.watch.mu.Unlock()
	slices.Reverse(l.Decisions)
	slices.SortFunc(l.Transfers, func(a, b page.Transfer) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.Name, b.Name))
	})
	n.lookInside(&l)
	return l
}

// transfer says how a fetch stands. watch.mu is held.
func (f *watched) transfer() page.Transfer {
	return page.Transfer{
		Name: nameOf(f.name, f.root), Length: f.length, Have: min(f.length, f.stats.Resumed+f.stats.Useful()),
		From: f.stats.From, Seconds: f.stats.Elapsed.Seconds(), Sources: f.picture,
	}
}

// lookInside says what is open, the newest in use first.
func (n *Node) lookInside(l *page.Look) {
	n.mu.Lock()
	open := slices.Collect(maps.Values(n.open))
	used := make(map[*content]int64, len(open))
	for _, c := range open {
		used[c] = c.used
	}
	n.mu.Unlock()
	slices.SortFunc(open, func(a, b *content) int { return cmp.Compare(used[b], used[a]) })
	for _, c := range open[:min(len(open), maxShown)] {
		l.Items = append(l.Items, c.describe())
	}
	l.Dropped = len(open) - len(l.Items)
	l.Facts = append(l.Facts, page.Fact{Name: "Contents open", Value: fmt.Sprintf("%d of at most %d", len(open), n.cfg.Open)})
	if addr := n.Addr(); addr != "" {
		l.Facts = append(l.Facts, page.Fact{Name: "HTTP", Value: "http://" + addr + contentPath + "ROOT"})
	}
}

// describe says how one content stands, by what the catalogue knows of it.
func (c *content) describe() page.Item {
	it := page.Item{Name: c.root.String(), State: "known"}
	if known, err := c.node.cfg.Catalogue.Find(c.root); err == nil {
		it.Title, it.Length = known.Name, known.Manifest.Length()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.src != nil && c.src.Bitmap().Full():
		it.State = "whole"
		it.Length = c.src.Manifest().Length()
	case c.fill != nil:
		it.State = "being fetched"
	case c.err != nil:
		it.State, it.Bad, it.Detail, it.Since = "failed", true, c.err.Error(), c.failed
	case c.src != nil:
		it.State = "in part"
	}
	if c.seat != nil {
		it.Detail = "shared with devices"
	}
	return it
}
