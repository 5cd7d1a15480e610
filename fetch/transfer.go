package fetch

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// transfer is one request that is under way. It is the Sink of its source.
type transfer struct {
	r      *run
	cancel context.CancelFunc
	kind   *tally        // of the source
	tally  *tally        // of the newest bytes: those of a draw may come by way of a caching node. Only the source's goroutine uses it
	given  *atomic.Int64 // the counter of the source itself; nil when nobody looks
	got    atomic.Int64  // bytes that arrived
	limits []*Limit      // on them
	held   atomic.Int32  // a limit holds it: that nothing arrives is our own doing
	told   int64         // of these, what the core knows; belongs to the loop

	key        askKey     // of a request; the zero value for a draw
	from       Joined     // the member that was asked; the zero value for a draw
	probation  *probation // of that member; nil for a draw
	size, warn int64      // of a draw: its length, and when the core wants to know
	warned     atomic.Bool
}

// fresh returns the bytes that the core has not been told of.
func (t *transfer) fresh() int64 {
	n := t.got.Load() - t.told
	t.told += n
	return n
}

// Progress implements Sink. It counts what has arrived step by step, as the limits let it through: what they hold back is
// still on its way, else the core would ask for more and more to wait in memory.
func (t *transfer) Progress(ctx context.Context, n int) { t.take(ctx, n, t.limits, t.kind) }

// CacheProgress implements CacheSink.
func (t *transfer) CacheProgress(ctx context.Context, n int) {
	t.r.count.via.Add(int64(n))
	t.take(ctx, n, t.r.opt.Limits.of(Cache), &t.r.count.cache)
}

func (t *transfer) take(ctx context.Context, n int, limits []*Limit, kind *tally) {
	t.tally = kind
	for n > 0 {
		k := step(n, limits)
		kind.arrived.Add(int64(k))
		t.arrived(k)
		if n -= k; len(limits) > 0 && ctx.Err() == nil {
			t.held.Add(1)
			hold(ctx, k, limits)
			t.held.Add(-1)
		}
	}
}

func (t *transfer) arrived(n int) {
	if t.given != nil {
		t.given.Add(int64(n))
	}
	got := t.got.Add(int64(n))
	if got == int64(n) { // a request that has begun is not moved to another holder, and of a range the wait was of interest
		t.post(nudge{})
	}
	if t.warn > 0 && t.size-got <= t.warn && t.warned.CompareAndSwap(false, true) {
		t.post(nudge{})
	}
}

// Piece implements Sink.
func (t *transfer) Piece(i int, b []byte) error {
	fresh, err := t.put(i, b)
	if err != nil {
		var bad *piecehash.Mismatch
		if errors.Is(err, errLiar) {
			return err // what has come of it counts as cut
		}
		if errors.As(err, &bad) {
			t.tally.corrupt.Add(int64(len(b)))
			t.complain(i)
			return err
		}
		return &putError{err}
	}
	if !fresh {
		t.tally.duplicate.Add(int64(len(b)))
		return nil
	}
	t.tally.useful.Add(int64(len(b)))
	t.post(stored{t, i})
	return nil
}

// put stores a piece. What an origin has sent wrong it may send right in the same range, from another mirror.
func (t *transfer) put(i int, b []byte) (fresh bool, err error) {
	if t.probation == nil {
		return t.r.part.Put(i, b)
	}
	return t.probation.put(func() (bool, error) { return t.r.part.Put(i, b) })
}

// post hands an event to the loop; after the end of the fetch drain takes it.
func (t *transfer) post(e event) { t.r.events <- e }

// putError marks the error of a Part, so that it is never taken for the fault of a source.
type putError struct{ err error }

func (e *putError) Error() string { return e.err.Error() }
func (e *putError) Unwrap() error { return e.err }

func (r *run) startAsk(ctx context.Context, a Ask) {
	j, ok := r.peers[a.Peer]
	if !ok {
		r.core.AskEnded(time.Since(r.start), a.Peer, a.Piece, AskFailed, 0)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	k := askKey{a.Peer, a.Piece}
	t := &transfer{r: r, key: k, from: j, probation: r.probationOf(a.Peer), cancel: cancel, kind: &r.count.peers, given: r.watch.counter(a.Peer), limits: r.opt.Limits.of(j.Role)}
	if j.Role == Cache {
		t.kind = &r.count.cache
	}
	t.tally = t.kind
	r.asks[k] = t
	r.wg.Go(func() {
		defer cancel()
		err := j.Peer.Fetch(ctx, a.Piece, t)
		t.post(askEnded{k, t, err})
	})
}

func (r *run) startDraw(ctx context.Context, a Draw) {
	ctx, cancel := context.WithCancel(ctx)
	t := &transfer{r: r, cancel: cancel, kind: &r.count.origin[a.Why], warn: a.Warn, limits: only(r.opt.Limits.Own, r.opt.Limits.Total)}
	t.tally = t.kind
	for i := a.First; i < a.First+a.Count; i++ {
		t.size += r.m.PieceSize(i)
	}
	r.draws[a.ID] = t
	r.opt.Log.Debug("origin range", "first", a.First, "count", a.Count, "why", a.Why.String())
	r.wg.Go(func() {
		defer cancel()
		err := r.opt.Origin.Fetch(ctx, a.First, a.Count, a.Why, t)
		t.post(drawEnded{a.ID, t, err})
	})
}

type stored struct {
	t     *transfer
	piece int
}

func (e stored) apply(r *run, now time.Duration) {
	r.moved = now
	if r.asks[e.t.key] == e.t {
		r.flushAsk(now, e.t.key, e.t)
	}
	r.opt.Log.Debug("piece stored", "piece", e.piece, "from", string(e.t.key.peer))
	r.core.Stored(now, e.piece, e.t.key.peer)
}

// nudge only makes the loop look again; flush tells the core why.
type nudge struct{}

func (nudge) apply(r *run, now time.Duration) { r.flush(now) }

type askEnded struct {
	key askKey
	t   *transfer
	err error
}

func (e askEnded) apply(r *run, now time.Duration) {
	if r.asks[e.key] != e.t {
		return // cancelled; its peer and piece may be busy with a new request
	}
	r.flushAsk(now, e.key, e.t)
	delete(r.asks, e.key)
	var busy *BusyError
	var bad *piecehash.Mismatch
	res, retry := AskFailed, time.Duration(0)
	switch {
	case e.err == nil:
		res = AskOK
	case errors.As(e.err, &busy):
		res, retry = AskBusy, busy.RetryAfter
	case errors.Is(e.err, ErrAbsent):
		res = AskAbsent
	case errors.Is(e.err, errLiar):
		res = AskBad // the first bad piece says why; its end may come after this one
	case errors.As(e.err, &bad):
		res = AskBad
		r.watch.left(e.key.peer, Liar)
		r.opt.Log.Warn("peer sent a bad piece", "peer", string(e.key.peer), "piece", e.key.piece, "err", e.err)
	}
	if res == AskBad || res == AskFailed {
		r.keep(e.err)
	}
	r.core.AskEnded(now, e.key.peer, e.key.piece, res, retry)
}

type drawEnded struct {
	id  int
	t   *transfer
	err error
}

func (e drawEnded) apply(r *run, now time.Duration) {
	if r.draws[e.id] != e.t {
		return // cut
	}
	r.flushDraw(now, e.id, e.t)
	delete(r.draws, e.id)
	r.keep(e.err)
	res := DrawOK
	switch {
	case e.err == nil:
	case fault.Is(e.err, fault.Untrusted), fault.Is(e.err, fault.Refused), errors.As(e.err, new(*piecehash.Mismatch)):
		res = DrawDead
	default:
		res = DrawFailed
	}
	if e.err != nil {
		r.opt.Log.Info("origin range failed", "err", e.err)
	}
	r.core.DrawEnded(now, e.id, res)
}
