package cachenode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

// originCloser is an origin for one fetch.
type originCloser interface {
	fetch.Origin
	Close() error
}

// webOrigin is where an item can be had by HTTP, nil for nowhere.
func (n *Node) webOrigin(item *Item) (originCloser, error) {
	var urls []string
	for _, b := range n.cfg.Bases {
		urls = append(urls, httpfallback.ContentURL(b, item.Manifest.Root()))
	}
	urls = append(urls, item.Origins...)
	if len(urls)+len(item.Hints) == 0 {
		return nil, nil
	}
	o, err := httpfallback.NewOrigin(httpfallback.OriginConfig{
		Gate: n.cfg.Gate, Content: item.Manifest.Content, URLs: urls, Hints: item.Hints, Log: n.log,
	})
	if err != nil { // a nil *Origin in the interface would not be nil
		return nil, err
	}
	return o, nil
}

// begin starts a fetch unless one is under way. The error is that of one that has just failed. c.mu is held.
func (c *content) begin(f *fill) error {
	if c.fill != nil {
		return nil
	}
	if c.err != nil && time.Since(c.failed) < retryAfter {
		return c.err
	}
	if err := c.node.start(c, f); err != nil {
		return err
	}
	c.fill = f
	return nil
}

// start gives a fetch its goroutine, if the node lives.
func (n *Node) start(c *content, f *fill) error {
	ctx := n.lives.Enter()
	if ctx == nil {
		return fault.New(fault.Unavailable, "fetch %v: the node is not running", c.root)
	}
	ctx, f.stop = context.WithCancel(ctx)
	go func() {
		defer n.lives.Leave()
		defer f.stop()
		err := c.obtain(ctx, f)
		if err != nil {
			n.failed(ctx, c, err)
		}
		c.mu.Lock()
		if f.ahead && ctx.Err() != nil { // it was stopped, which is no fault of anybody
			err = nil
		}
		n.ahead.ended(f, f.asked)
		c.fill, c.err, c.failed = nil, err, time.Now()
		if c.failures++; err == nil {
			c.failures = 0
		}
		c.wakeAll()
		c.mu.Unlock()
		close(f.done)
	}()
	return nil
}

func (n *Node) failed(ctx context.Context, c *content, err error) {
	if ctx.Err() != nil {
		return // the node ends
	}
	level := slog.LevelWarn
	if disk(n.keeper.Failed(err)) { // which the keeper has said, once for all contents
		level = slog.LevelDebug
	}
	n.log.Log(ctx, level, "content could not be fetched", slog.Any("root", c.root), slog.String("name", c.item.Name), slog.Any("err", err))
	n.tell(Event{Event: Failed, Root: c.root, Name: c.item.Name, Bytes: c.item.Manifest.Length(), Error: err.Error()})
}

// settled waits for a fetch that is under way, and returns its error.
func (c *content) settled(ctx context.Context) error {
	c.mu.Lock()
	f := c.fill
	c.mu.Unlock()
	if f == nil {
		return nil
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// obtain waits for its turn, and fetches. What is fetched ahead is one at a time and keeps no other from its turn.
func (c *content) obtain(ctx context.Context, f *fill) error {
	if !f.ahead {
		select {
		case c.node.slots <- struct{}{}:
		case <-ctx.Done():
			return fault.Wrap(fault.Unavailable, ctx.Err())
		}
		defer func() { <-c.node.slots }()
	}
	if err := c.node.keeper.Need(ctx, c.item.Manifest.Content); err != nil {
		return err
	}
	part, err := c.beginPart(ctx)
	if err != nil || part == nil {
		c.node.keeper.Refresh(c.root)
		return err
	}
	c.use(part)
	if err := c.complete(ctx, part); err != nil {
		c.leave()
		c.drop(part)
		c.node.keeper.Refresh(c.root)
		return err
	}
	return nil
}

// drop stops serving from a part that is not complete; what it has stays in the store.
func (c *content) drop(part *store.Partial) {
	c.mu.Lock()
	if c.src == source(part) {
		c.src = nil
		c.number++
		c.checked = piecehash.NewBitmap(c.item.Manifest.Pieces())
	}
	c.mu.Unlock()
	c.putAway(part)
}

// beginPart makes room for what is missing. It returns nil when nothing is: another process has brought the content.
func (c *content) beginPart(ctx context.Context) (*store.Partial, error) {
	m := c.item.Manifest
	c.mu.Lock()
	damaged := c.src != nil
	c.mu.Unlock()
	if damaged {
		c.leave()
		part, err := c.node.cfg.Store.Repair(ctx, m)
		if !errors.Is(err, store.ErrNotFound) {
			return part, err
		}
	}
	part, err := c.node.cfg.Store.Begin(ctx, m)
	if !errors.Is(err, store.ErrSealed) {
		return part, err
	}
	f, err := c.node.cfg.Store.File(c.root)
	if err != nil {
		return nil, err
	}
	c.use(f)
	c.share(f)
	return nil, nil
}

// complete fetches what a part lacks and seals it. It stays shared and open then.
func (c *content) complete(ctx context.Context, part *store.Partial) error {
	began, name := time.Now(), c.item.Name
	c.node.log.Info("fetching content", slog.Any("root", c.root), slog.String("name", name), slog.Int64("bytes", part.Manifest().Length()))
	c.node.tell(Event{Event: Fetching, Root: c.root, Name: name, Bytes: part.Manifest().Length(), Ahead: c.unasked()})
	var sum fetch.Stats
	for round := range mendRounds {
		one, err := c.fetch(ctx, part)
		if round == 0 {
			sum.Resumed = one.Resumed
		}
		sum.From.Origin += one.From.Origin
		sum.From.Cache += one.From.Cache
		sum.From.Peers += one.From.Peers
		sum.Waste += one.Waste
		if err == nil {
			err = seal(ctx, part)
		}
		if err == nil {
			sum.Elapsed = time.Since(began)
			c.stored(sum)
			return nil
		}
		if !errors.Is(err, store.ErrDropped) && !errors.Is(err, store.ErrIncomplete) {
			return fault.Wrap(fault.Unavailable, fmt.Errorf("fetch %v: %w", c.root, err))
		}
		c.node.log.Warn("what an earlier run has left is damaged and is fetched again", slog.Any("root", c.root), slog.Any("err", err))
	}
	return fault.WithHint(fault.New(fault.Unavailable, "fetch %v: what was written does not stay as it was", c.root), "check the disk")
}

func (c *content) stored(s fetch.Stats) {
	c.node.log.Info("content is stored", slog.Any("root", c.root), slog.String("name", c.item.Name), slog.Duration("took", s.Elapsed),
		slog.Int64("origin", s.From.Origin), slog.Int64("cache", s.From.Cache), slog.Int64("peers", s.From.Peers), slog.Int64("waste", s.Waste))
	c.node.keeper.Stored(c.item.Manifest.Content)
	n := c.item.Manifest.Length()
	c.node.tell(Event{
		Event: Stored, Root: c.root, Name: c.item.Name, Bytes: n, Have: n,
		Resumed: s.Resumed, Seconds: s.Elapsed.Seconds(), From: &s.From, Waste: s.Waste, Ahead: c.unasked(),
	})
}

// seal gives the part its final name. It goes on being served from the part.
func seal(ctx context.Context, part *store.Partial) error {
	f, err := part.Seal(ctx)
	if err != nil {
		return err
	}
	return f.Close()
}

// fetch brings what the part lacks, from the devices around and from the origin.
func (c *content) fetch(ctx context.Context, part *store.Partial) (fetch.Stats, error) {
	n := c.node
	opt := fetch.Options{Limits: n.cfg.Limits, Log: n.log, Warm: true}
	opt.Limits.Own = c.limit()
	if seat := c.share(part); seat != nil {
		opt.Site, opt.Self, opt.Warm = seat, n.cfg.Swarm.ID(), n.cfg.Swarm.Alone()
	}
	if part.Bitmap().Full() {
		return fetch.Stats{Resumed: part.Manifest().Length()}, nil
	}
	origin, err := n.origin(c.newest())
	switch {
	case err != nil:
		n.log.Warn("no origin can be used, devices must have the content", slog.Any("root", c.root), slog.Any("err", err))
	case origin != nil:
		defer origin.Close()
		opt.Origin = origin
	}
	meter, seen, told := n.metrics.transfers.Begin(c.fetched), n.watch.begin(c), c.progress()
	opt.Watch, opt.Progress = seen.show, func(s fetch.Stats) {
		meter.Update(s)
		seen.update(s)
		c.members(s.Members)
		told(s)
	}
	stats, err := fetch.File(ctx, n.metrics.transfers.Part(arriving{part, c, c.current()}), opt)
	meter.End(stats, err)
	seen.end(stats)
	return stats, err
}

// fetched counts what nobody has asked for yet.
func (c *content) fetched(n int64) {
	c.mu.Lock()
	wanted := c.fill != nil && c.fill.wanted
	c.mu.Unlock()
	if !wanted {
		c.node.metrics.prefetched.Add(float64(n))
		c.node.watch.ahead(n)
	}
}

// newest is the item as the catalogue has it now: its origins may have changed since the content was opened.
func (c *content) newest() *Item {
	if item, err := c.node.cfg.Catalogue.Find(c.root); err == nil && item.Manifest.Content == c.item.Manifest.Content {
		return item
	}
	return c.item
}

// progress tells how a fetch goes, once a while.
func (c *content) progress() func(fetch.Stats) {
	var last time.Duration
	return func(s fetch.Stats) {
		if s.Elapsed-last < progressEvery {
			return
		}
		last = s.Elapsed
		c.node.tell(Event{
			Event: Progress, Root: c.root, Name: c.item.Name, Bytes: s.Content, Have: s.Resumed + s.Useful(),
			Resumed: s.Resumed, Seconds: s.Elapsed.Seconds(), From: &s.From, Waste: s.Waste, Ahead: c.unasked(),
		})
	}
}

// arriving is a part that lets readers have each piece the moment it is stored.
type arriving struct {
	*store.Partial
	c      *content
	number int
}

// Put implements fetch.Part.
func (a arriving) Put(i int, b []byte) (fresh bool, err error) {
	fresh, err = a.Partial.Put(i, b)
	if err == nil {
		a.c.mark(a.number, i)
	}
	return fresh, err
}
