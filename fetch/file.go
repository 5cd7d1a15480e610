package fetch

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Part is where the pieces go. Package store has the real one; there is one in memory in fetchtest.
type Part interface {
	Manifest() *piecehash.Manifest
	// Bitmap returns a copy of the set of pieces that are stored.
	Bitmap() piecehash.Bitmap
	// Put checks piece i and stores it; fresh is false when it was there already. The error of wrong bytes is a
	// *piecehash.Mismatch; any other error ends the fetch.
	Put(i int, b []byte) (fresh bool, err error)
}

// Options says how to fetch one file.
type Options struct {
	Self   PeerID // this device; needed with Site
	Site   Site   // nil: there is no LAN
	Origin Origin // nil: the origin may not be used
	Warm   bool   // LAN links are up already, nothing waits for them
	// Delay keeps the origin closed for so long while there is somebody to wait for; 0 = not at all.
	Delay time.Duration
	// Patience is how long the fetch goes on without a single byte before it gives up; 0 = DefaultPatience. While members
	// show progress it is WaitingFactor times as long.
	Patience time.Duration
	// Limits bound what arrives; the zero value does not.
	Limits Limits
	// Progress, if set, is called about ten times a second from File's goroutine.
	Progress func(Stats)
	// Watch, if set, is called about once a second and at the end, from File's goroutine, with a picture of all sources.
	Watch func(View)
	Log   *slog.Logger // nil: silent
}

const (
	// DefaultPatience is how long a fetch goes on without a byte.
	DefaultPatience = 30 * time.Second
	// WaitingFactor is how many times its patience a fetch waits while members seem to draw what it lacks: on a thin line one
	// piece takes minutes, and what a member only says is not believed for ever.
	WaitingFactor = 10

	siteChance = 5 * time.Second // what the LAN gets to show up in when the origin is out for good
	tick       = 100 * time.Millisecond
	eventQueue = 256
)

// File gets what part lacks and returns when it is complete, when ctx ends, or when it gives up. It leaves no goroutine
// behind. The returned Stats are valid also beside an error. The error is that of ctx, of part, or has a fault kind:
// unavailable when no source delivers, untrusted when the only sources lie.
func File(ctx context.Context, part Part, opt Options) (Stats, error) {
	m := part.Manifest()
	have := part.Bitmap()
	r := &run{
		opt: opt, part: part, m: m, start: time.Now(),
		events: make(chan event, eventQueue),
		peers:  make(map[PeerID]Joined),
		knows:  make(map[PeerID]*probation),
		asks:   make(map[askKey]*transfer),
		draws:  make(map[int]*transfer),
		watch:  newWatcher(opt.Watch),
		core: NewCore(Config{
			Self: opt.Self, Content: m.Content, Have: have,
			Origin: opt.Origin != nil, Warm: opt.Warm, Delay: opt.Delay,
			Seed: maphash.String(maphash.MakeSeed(), string(opt.Self)),
		}),
	}
	if r.opt.Patience <= 0 {
		r.opt.Patience = DefaultPatience
	}
	if r.opt.Log == nil {
		r.opt.Log = slog.New(slog.DiscardHandler)
	}
	for i := range have.Len() {
		if have.Has(i) {
			r.resumed += m.PieceSize(i)
		}
	}
	err := r.loop(ctx)
	r.watch.end(time.Since(r.start), r)
	return r.stats(), err
}

// run is one fetch. All fields but events and count belong to the goroutine of File.
type run struct {
	opt     Options
	part    Part
	m       *piecehash.Manifest
	core    *Core
	start   time.Time
	resumed int64

	peers map[PeerID]Joined
	knows map[PeerID]*probation // of these, those who were asked
	asks  map[askKey]*transfer
	draws map[int]*transfer
	watch *watcher // nil when nobody looks
	nodes int      // caching nodes among peers, as far as the origin was told

	events chan event
	count  counters
	moved  time.Duration // when the last byte came
	fatal  error         // part cannot store
	worst  error         // the worst thing a source did, of equals the newest, for the message when all else fails
	wg     sync.WaitGroup
}

type askKey struct {
	peer  PeerID
	piece int
}

// event is something that happened to a transfer; it is applied by the loop.
type event interface {
	apply(r *run, now time.Duration)
}

func (r *run) loop(ctx context.Context) error {
	inner, cancel := context.WithCancel(ctx)
	defer r.drain()
	defer cancel()
	var heard <-chan Heard
	if r.opt.Site != nil {
		heard = r.opt.Site.Hear()
	}
	timer := time.NewTimer(tick)
	defer timer.Stop()
	var ticked time.Duration
	for {
		now := time.Since(r.start)
		if now-ticked >= tick {
			ticked = now
			r.flush(now)
			r.watch.tick(now, r)
			if r.opt.Progress != nil {
				r.opt.Progress(r.stats())
			}
		}
		wake := r.step(inner, now)
		if r.core.Done() {
			return nil
		}
		if err := r.givenUp(now); err != nil {
			return err
		}
		timer.Reset(min(wake, ticked+tick) - now)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case h, ok := <-heard:
			if !ok {
				heard = nil
				break
			}
			r.hear(time.Since(r.start), h)
		case e := <-r.events:
			e.apply(r, time.Since(r.start))
		case <-timer.C:
		}
	}
}

// drain waits for the transfers, which have been cancelled, and takes what they still report.
func (r *run) drain() {
	done := make(chan struct{})
	go func() { r.wg.Wait(); close(done) }()
	for {
		select {
		case <-r.events:
		case <-done:
			for _, t := range r.draws {
				r.noteCut(t)
			}
			return
		}
	}
}

// step asks the core what to do and does it.
func (r *run) step(ctx context.Context, now time.Duration) (wake time.Duration) {
	actions, wake := r.core.Decide(now)
	for _, a := range actions {
		switch a := a.(type) {
		case Tell:
			if r.opt.Site != nil {
				r.opt.Site.Say(a.What)
			}
		case Ask:
			r.startAsk(ctx, a)
		case Draw:
			r.startDraw(ctx, a)
		case Cut:
			r.cutDraw(a.ID)
		case Cancel:
			r.cancelAsk(askKey{a.Peer, a.Piece})
		}
	}
	return wake
}

func (r *run) hear(now time.Duration, h Heard) {
	switch h := h.(type) {
	case Joined:
		r.cancelAsks(h.ID)
		r.peers[h.ID] = h
		r.watch.joined(h.ID, h.Role)
		r.opt.Log.Debug("member joined", "peer", string(h.ID), "pieces", h.Have.Count())
	case Left:
		delete(r.peers, h.ID)
		delete(r.knows, h.ID)
		r.watch.left(h.ID, Gone)
		r.cancelAsks(h.ID)
		r.opt.Log.Debug("member left", "peer", string(h.ID))
	}
	r.linked()
	r.core.Hear(now, h)
}

// cancelAsk forgets a request at once: what it still reports is stale.
func (r *run) cancelAsk(k askKey) {
	if t := r.asks[k]; t != nil {
		delete(r.asks, k)
		t.cancel()
	}
}

// cutDraw breaks an origin range off.
func (r *run) cutDraw(id int) {
	if t := r.draws[id]; t != nil {
		delete(r.draws, id)
		t.cancel()
		r.noteCut(t)
	}
}

// noteCut logs that the rest of an origin range is not wanted: the origin may have counted more of it than has come.
func (r *run) noteCut(t *transfer) {
	if got := t.got.Load(); got < t.size {
		r.opt.Log.Debug("origin range cut", "missing", t.size-got)
	}
}

func (r *run) cancelAsks(id PeerID) {
	for k := range r.asks {
		if k.peer == id {
			r.cancelAsk(k)
		}
	}
}

// givenUp says why the fetch cannot go on.
func (r *run) givenUp(now time.Duration) error {
	if r.fatal != nil {
		return fmt.Errorf("store %v: %w", r.m.Root(), r.fatal)
	}
	moved := min(max(r.moved, r.core.OthersMoved()), r.moved+(WaitingFactor-1)*r.opt.Patience)
	if !r.hopeless(now) && now-moved < r.opt.Patience {
		return nil
	}
	if r.worst != nil {
		return fmt.Errorf("fetch %v: no source delivers it, the worst of what they said: %w", r.m.Root(), r.worst)
	}
	return fault.WithHint(fault.New(fault.Unavailable, "fetch %v: no source delivers it", r.m.Root()),
		"check that the origin answers and that other devices of this network have the content")
}

// hopeless reports whether there is nobody left who could deliver, so that patience is of no use.
func (r *run) hopeless(now time.Duration) bool {
	if len(r.peers) > 0 || len(r.draws) > 0 || r.opt.Origin != nil && !r.core.origin.dead {
		return false
	}
	return r.opt.Site == nil || now > siteChance && r.core.origin.dead
}

func (r *run) stats() Stats {
	s := r.count.stats()
	s.Content, s.Resumed = r.m.Length(), r.resumed
	s.Members = len(r.peers)
	s.Elapsed = time.Since(r.start)
	return s
}

// flush tells the core of bytes that arrived since it was last told.
func (r *run) flush(now time.Duration) {
	if t := time.Now(); r.opt.Limits.Total.exhausted(t) || r.opt.Limits.Own.exhausted(t) {
		r.core.Limited(now)
	}
	for k, t := range r.asks {
		r.flushAsk(now, k, t)
	}
	for id, t := range r.draws {
		r.flushDraw(now, id, t)
	}
}

func (r *run) flushAsk(now time.Duration, k askKey, t *transfer) {
	if n := t.fresh(); n > 0 || t.held.Load() > 0 {
		r.moved = now
		r.core.AskProgress(now, k.peer, k.piece, n)
	}
}

func (r *run) flushDraw(now time.Duration, id int, t *transfer) {
	if n := t.fresh(); n > 0 || t.held.Load() > 0 {
		r.moved = now
		r.core.DrawProgress(now, id, n)
	}
}

// keep remembers what must not be lost of a failed transfer.
func (r *run) keep(err error) {
	var bad *piecehash.Mismatch
	var put *putError
	switch {
	case err == nil || errors.Is(err, context.Canceled):
	case errors.As(err, &put):
		r.fatal = put.err
	case errors.As(err, &bad):
		r.worst = fault.WorstOf(fault.Wrap(fault.Untrusted, err), r.worst)
	default:
		r.worst = fault.WorstOf(fault.Wrap(fault.Unavailable, err), r.worst)
	}
}
