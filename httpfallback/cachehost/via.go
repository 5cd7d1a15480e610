package cachehost

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// noPatience lets an attempt at a node end with its first failure: there are others, and the origin.
const noPatience = time.Millisecond

// source is one content at one node. httpfallback.Origin is.
type source interface {
	fetch.Origin
	io.Closer
	Free() (at time.Time, ok bool)
}

// Via is one content by way of the caching nodes. It implements fetch.Origin and fetch.Via; its methods are safe for concurrent
// use.
type Via struct {
	hosts   *Hosts
	content piecehash.Content
	origin  fetch.Origin // nil: there is none
	log     *slog.Logger
	until   time.Time // the origin waits for the nodes

	mu     sync.Mutex // guards the rest
	places map[*host]*place
	nodes  int               // that are members of the site
	runs   map[*passage]bool // under way
	left   []source          // of places that have moved
	lie    error             // of a node that sent a wrong piece
	told   []<-chan struct{} // closed when a member has been told of its wrong piece
}

// place is the content at one node.
type place struct {
	base  string
	src   source    // nil until it was asked whether it has the content
	until time.Time // it does not, or not now: not asked again before
	no    bool      // it does not
	slow  float64   // bytes per second, when the node was so slow that the origin is tried instead; 0: it was not
	fair  bool      // the origin was no quicker
}

var _ fetch.Via = (*Via)(nil)

// NewVia returns a content by way of the nodes. origin, which stays the caller's, is asked for what no node delivers; nil is none.
func (h *Hosts) NewVia(c piecehash.Content, origin fetch.Origin) *Via {
	return &Via{
		hosts: h, content: c, origin: origin, log: h.log, until: time.Now().Add(h.insist),
		places: make(map[*host]*place), runs: make(map[*passage]bool),
	}
}

// origin is a content at one URL of a node.
func (h *Hosts) origin(url string, c piecehash.Content) (source, error) {
	o, err := httpfallback.NewOrigin(httpfallback.OriginConfig{
		Gate: h.gate, Content: c, URLs: []string{url}, Patience: noPatience, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil { // a nil *Origin in the interface would not be nil
		return nil, err
	}
	return o, nil
}

// Close lets go of connections, when members have been told of their wrong pieces. The Via must not be used after it.
func (v *Via) Close() error {
	v.awaitTold(v.hosts.ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	var errs []error
	for _, s := range v.left {
		errs = append(errs, s.Close())
	}
	for _, p := range v.places {
		if p.src != nil {
			errs = append(errs, p.src.Close())
		}
	}
	return errors.Join(errs...)
}

// Linked implements fetch.Via. While a caching node is a member, no node is asked by HTTP, and what is being asked for is cut:
// its rest comes from the origin, in this device's turn.
func (v *Via) Linked(nodes int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.nodes = nodes
	if nodes == 0 {
		return
	}
	for p := range v.runs {
		p.cut()
	}
}

func (v *Via) isLinked() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.nodes > 0
}

// Fetch implements fetch.Origin. It asks one node after the other for what is still missing of the range, and the origin for what
// none of them delivers. Errors are those of httpfallback.Origin.
func (v *Via) Fetch(ctx context.Context, first, count int, why fetch.Reason, sink fetch.Sink) error {
	if !v.isLinked() {
		v.hosts.await(ctx)
		v.awaitTold(ctx)
	}
	at, end := first, first+count
	for tried := make(map[*host]bool); at < end; {
		o, p, err := v.pick(ctx, tried)
		if err != nil {
			return err
		}
		if o == nil {
			break
		}
		tried[o] = true
		if at, err = v.pass(ctx, o, p, at, end, why, sink); err != nil {
			return err
		}
	}
	switch {
	case at >= end:
		return nil
	case v.origin == nil:
		return v.nobody()
	case v.waits(time.Now()):
		return fault.New(fault.Unavailable, "fetch %v: the origin is not asked before %s, caching nodes have until then", v.content.Root(), v.until.Format(time.TimeOnly))
	}
	began := time.Now()
	err := v.origin.Fetch(ctx, at, end-at, why, sink)
	if err == nil {
		v.compare(ctx, float64(v.size(at, end))/time.Since(began).Seconds())
	}
	return err
}

// size is the length of pieces at to end-1, in bytes.
func (v *Via) size(at, end int) int64 {
	return v.content.Offset(end-1) + v.content.PieceSize(end-1) - v.content.Offset(at)
}

// nobody is the error where there is no origin.
func (v *Via) nobody() error {
	v.mu.Lock()
	lie := v.lie
	v.mu.Unlock()
	if lie != nil {
		return lie
	}
	return fault.WithHint(fault.New(fault.Unavailable, "fetch %v: no caching node delivers it, and there is no origin", v.content.Root()),
		"check that the caching node runs and knows the content")
}

// waits reports whether the origin is to wait for a node that may have the content. Where one is a member, or there is none, it
// is not.
func (v *Via) waits(now time.Time) bool {
	if !now.Before(v.until) || v.isLinked() {
		return false
	}
	hopeful := v.hosts.hopeful(now)
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(hopeful, func(o *host) bool { return v.places[o] == nil || !v.places[o].no })
}

// pick returns the best node that was not tried, nil if there is none.
func (v *Via) pick(ctx context.Context, tried map[*host]bool) (*host, *place, error) {
	if v.isLinked() {
		return nil, nil, nil
	}
	for _, o := range v.hosts.order(time.Now(), v.content.Root()) {
		if tried[o] {
			continue
		}
		p, err := v.place(ctx, o)
		if err != nil {
			return nil, nil, err
		}
		if p != nil {
			return o, p, nil
		}
	}
	return nil, nil, nil
}

// place returns the content at a node, nil if it is not to be asked for there now. A node is asked first whether it has it.
func (v *Via) place(ctx context.Context, o *host) (*place, error) {
	v.mu.Lock()
	p := v.places[o]
	if p == nil {
		p = new(place)
		v.places[o] = p
	}
	src, late := p.src, time.Now().Before(p.until)
	v.mu.Unlock()
	if late {
		return nil, nil
	}
	if src == nil {
		return v.enter(ctx, o, p)
	}
	if at, ok := src.Free(); !ok || time.Now().Before(at) {
		return nil, nil
	}
	return p, nil
}

// enter asks a node whether it has the content.
func (v *Via) enter(ctx context.Context, o *host, p *place) (*place, error) {
	seen, err := v.hosts.look(ctx, o, v.content)
	if err != nil || seen.dead {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if p.no = !seen.has && seen.pause == absentFor; !seen.has {
		v.pause(p, seen.pause)
		return nil, nil
	}
	if p.src == nil { // else another range was quicker
		p.base = v.hosts.base(o)
		p.src, err = v.hosts.open(httpfallback.ContentURL(p.base, v.content.Root()), v.content)
		if err != nil {
			v.pause(p, absentFor)
			return nil, nil
		}
	}
	return p, nil
}

// pause leaves a node alone for this content. v.mu is held.
func (v *Via) pause(p *place, d time.Duration) { p.until = time.Now().Add(d) }

// pass gets what it can from one node and returns how far it has come. An error ends the whole range.
func (v *Via) pass(ctx context.Context, o *host, p *place, at, end int, why fetch.Reason, sink fetch.Sink) (next int, _ error) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	run := &passage{Sink: sink, cancel: cancel, next: at}
	if !v.begin(run) {
		return at, nil
	}
	defer v.end(run)
	v.mu.Lock()
	src, base := p.src, p.base
	v.mu.Unlock()
	if src == nil { // the node has just moved to another of its addresses
		return at, nil
	}
	var watching sync.WaitGroup
	watching.Go(func() { v.watch(inner, o, p, run) })
	err := src.Fetch(inner, at, end-at, why, run)
	cancel()
	watching.Wait()
	switch {
	case run.fatal != nil:
		return run.next, run.fatal
	case ctx.Err() != nil:
		return run.next, ctx.Err()
	case err == nil || run.wasCut() || v.isTried(p):
	case fault.Is(err, fault.Untrusted):
		v.hosts.ban(ctx, o, base, err)
		v.hosts.complain(ctx, base, v.content.Root(), run.wrong)
		v.mu.Lock()
		v.lie = err
		v.mu.Unlock()
	default:
		return run.next, v.judge(ctx, o, p, base, err)
	}
	return run.next, nil
}

// judge finds out what a failure was: of the node, or about this content. Where it has only failed, the source itself says when
// it may be asked again.
func (v *Via) judge(ctx context.Context, o *host, p *place, asked string, why error) error {
	seen, err := v.hosts.look(ctx, o, v.content)
	if err != nil {
		return err
	}
	v.log.DebugContext(ctx, "caching node did not deliver", slog.String("host", asked), slog.Bool("dead", seen.dead), slog.Any("err", why))
	base := v.hosts.base(o)
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case seen.dead:
	case !seen.has:
		p.no = seen.pause == absentFor
		v.pause(p, seen.pause)
	case p.src != nil && p.base != base: // it answers at another of its addresses
		v.left = append(v.left, p.src)
		p.src = nil
	}
	return nil
}

// begin notes that a node is being asked, unless one has become a member.
func (v *Via) begin(p *passage) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.nodes > 0 {
		return false
	}
	v.runs[p] = true
	return true
}

func (v *Via) end(p *passage) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.runs, p)
}
