package piece

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/upload"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// Bounds of serving one peer.
const (
	maxPending = 16          // requests that wait; more are answered busy
	tired      = time.Second // a request that has waited so long is answered busy: the piece may be elsewhere by now
	stall      = 250 * time.Millisecond
	// leastTurn is how long a request waits for its first turn however long it took to read its piece: longer than a copy of
	// the piece that is on its way holds it up.
	leastTurn = 800 * time.Millisecond
)

// Source is where pieces are read from.
type Source interface {
	// Has reports whether piece i may be served.
	Has(i int) bool
	// ReadPiece returns piece i, in buf if that is large enough. Only checked pieces are returned.
	ReadPiece(i int, buf []byte) ([]byte, error)
}

// Content is what Serve needs of one content.
type Content struct {
	m       *piecehash.Manifest
	source  Source
	squeeze squeeze
	copies  []uint8 // of each piece; they belong to the scheduler (upload.Part)
}

// NewContent returns the content with its pieces.
func NewContent(m *piecehash.Manifest, s Source) *Content {
	return &Content{m: m, source: s, copies: make([]uint8, m.Pieces())}
}

// Service is what Serve needs of the process and of the connection.
type Service struct {
	Scheduler *upload.Scheduler
	Flow      *upload.Flow // of the connection
	Memory    *Memory
	Lookup    func(room uint32) *Content // by the peer's number; nil if there is none
	Sent      func(payload, wire int)    // counts a slice
	Log       *slog.Logger
}

// server answers one peer's requests. read takes them and refuses what must be, write sends the pieces in order.
type server struct {
	Service
	stream conn.Stream
	wake   chan struct{} // cap 1: write has something to do
	queued chan struct{} // cap 1: tire has something to wait for

	writing sync.Mutex // held for each message as a whole

	mu      sync.Mutex // guards the rest
	pending []pending
	current *wire.Request // being answered
	dropped bool          // the peer has cancelled current
	stop    func()        // ends current's wait for its turn; nil while it has none
}

// pending is a request with the content that it was found to mean. Its piece is promised to the scheduler.
type pending struct {
	*wire.Request
	content *Content
	since   time.Time
}

func (p *pending) size() int64 { return p.content.m.PieceSize(p.Piece) }

// part says what n bytes of the piece, from off on, are to the scheduler.
func (p *pending) part(off, n int) upload.Part {
	size := p.size()
	return upload.Part{Copies: &p.content.copies[p.Piece], Size: size, Begun: off > 0, Last: int64(off+n) == size}
}

// Serve answers the requests on a stream that the peer has opened, until it ends or ctx does. The error is
// wire.ErrMalformed when the peer broke the rules; that a stream ends is none.
func Serve(ctx context.Context, s conn.Stream, service Service) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	service.Flow.Hold()
	defer service.Flow.LetGo()
	v := &server{Service: service, stream: s, wake: make(chan struct{}, 1), queued: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		if err := v.write(ctx); err != nil && ctx.Err() == nil {
			v.Log.LogAttrs(ctx, slog.LevelDebug, "upload ended", slog.String("err", err.Error()))
		}
	})
	wg.Go(func() { v.tire(ctx) })
	err := v.read()
	cancel()
	wg.Wait()
	v.forget(func(pending) bool { return true })
	if errors.Is(err, wire.ErrMalformed) {
		return err
	}
	return nil
}

func (v *server) read() error {
	r := conn.Reader(v.stream)
	for {
		b, err := r.Next()
		if err != nil {
			return err
		}
		m, err := wire.DecodeAsk(b)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *wire.Request:
			err = v.request(m)
		case *wire.Cancel:
			v.cancel(m.ID)
		}
		if err != nil {
			return err
		}
	}
}

// request queues a request, or refuses it at once. A peer that does not read its refusals is not read any more.
func (v *server) request(m *wire.Request) error {
	c := v.Lookup(m.Room)
	if c == nil || m.Piece >= c.m.Pieces() || !c.source.Has(m.Piece) {
		return v.refuse(&wire.NotHere{ID: m.ID})
	}
	if wait := v.queue(pending{m, c, time.Now()}); wait > 0 {
		return v.refuse(&wire.Busy{ID: m.ID, Retry: wait})
	}
	signal(v.wake)
	signal(v.queued)
	return nil
}

// signal wakes whoever reads c, a channel of capacity 1, now or when it next looks.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// queue takes a request in, or says how long the peer should stay away.
func (v *server) queue(p pending) (wait time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	only := len(v.pending) == 0 && v.current == nil
	if len(v.pending) >= maxPending || !v.Scheduler.Promise(p.size(), only) {
		return v.Flow.Wait(len(v.pending)+1, p.content.m.PieceLength())
	}
	v.pending = append(v.pending, p)
	return 0
}

// refuse writes an answer without payload; it does not wait behind pieces, but between two slices.
func (v *server) refuse(m wire.Answer) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	return conn.Send(v.stream, wire.EncodeAnswer(m))
}

func (v *server) cancel(id uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.current != nil && v.current.ID == id {
		v.dropped = true
		if v.stop != nil {
			v.stop()
		}
	}
	v.forgetLocked(func(p pending) bool { return p.ID == id })
}

// tire answers busy what has waited for too long, until ctx ends. A requester that hears nothing cannot tell a thin uplink
// from a dead device, and would fetch from the origin what this device has. While nothing waits it sleeps: a node has many
// links, and most are idle.
func (v *server) tire(ctx context.Context) {
	timer := time.NewTimer(tired)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.queued:
		case <-timer.C:
		}
		answers, oldest := v.overdue(time.Now())
		for _, m := range answers {
			if v.refuse(m) != nil {
				return // read and write see it too
			}
		}
		timer.Stop()
		if !oldest.IsZero() {
			timer.Reset(time.Until(oldest.Add(tired)))
		}
	}
}

// overdue drops the requests that have waited for too long. It returns the answers to them, and since when the oldest of
// the others has waited, zero if there is none.
func (v *server) overdue(now time.Time) (answers []*wire.Busy, oldest time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.forgetLocked(func(p pending) bool {
		late := now.Sub(p.since) >= tired
		if late {
			answers = append(answers, &wire.Busy{ID: p.ID, Retry: v.Flow.Wait(len(v.pending), p.content.m.PieceLength())})
		}
		return late
	})
	if len(v.pending) > 0 {
		oldest = v.pending[0].since
	}
	return answers, oldest
}

// forget drops the pending requests that match, with their promises.
func (v *server) forget(match func(pending) bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.forgetLocked(match)
}

func (v *server) forgetLocked(match func(pending) bool) {
	v.pending = slices.DeleteFunc(v.pending, func(p pending) bool {
		if match(p) {
			v.Scheduler.Kept(p.size())
			return true
		}
		return false
	})
}

// write answers until the stream ends.
func (v *server) write(ctx context.Context) error {
	for {
		if p, ok := v.next(); ok {
			err := v.answer(ctx, p)
			v.Scheduler.Kept(p.size())
			if err != nil {
				return err
			}
			continue
		}
		select {
		case <-v.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (v *server) next() (p pending, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current, v.dropped = nil, false
	if len(v.pending) == 0 {
		return p, false
	}
	parts := make([]upload.Part, len(v.pending))
	for i := range v.pending {
		parts[i] = v.pending[i].part(0, 0)
	}
	i := v.Scheduler.Best(parts)
	p = v.pending[i]
	v.pending = slices.Delete(v.pending, i, i+1)
	v.current = p.Request
	return p, true
}

func (v *server) wanted() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.dropped
}

// answer sends one piece, slice by slice, each in the process's turn. The piece is read when its first slice is due;
// when others wait for the memory and this peer does not read, it is given up and read again.
func (v *server) answer(ctx context.Context, r pending) error {
	m, c := r.Request, r.content
	if !c.source.Has(m.Piece) { // it was left since
		return v.refuse(&wire.NotHere{ID: m.ID})
	}
	p := &loan{memory: v.Memory, content: c, piece: m.Piece}
	defer p.release()
	frame := v.Memory.pool.get(wire.MaxMessage + 3)
	defer v.Memory.pool.put(frame)
	size, off := int(c.m.PieceSize(m.Piece)), 0
	defer func() {
		if off < size {
			v.Flow.GiveUp(r.part(off, 0))
		}
	}()
	for off < size && v.wanted() {
		data, err := p.bytes(ctx)
		if err != nil {
			return v.missing(ctx, m, off, err)
		}
		n := min(wire.MaxSlice, size-off)
		b := wire.AppendSlice(frame[:0], c.squeeze.slice(m, off, data[off:off+n]))
		if ok, err := v.turn(ctx, r, off, n, len(b)); !ok {
			return err
		}
		if err := v.push(b, p); err != nil {
			return err
		}
		v.Sent(n, len(b))
		off += n
	}
	return nil
}

// turn waits for the turn of n bytes of the piece from off on, which are size bytes on the wire. It reports false when the
// request is over: cancelled, or answered busy, because a first slice has waited for as long as a request may. The order of
// turns may leave a request behind for ever, and a requester that hears nothing takes this device for dead.
func (v *server) turn(ctx context.Context, r pending, off, n, size int) (ok bool, err error) {
	wait, stop := context.WithCancel(ctx)
	if off == 0 {
		wait, stop = context.WithTimeout(ctx, max(tired-time.Since(r.since), leastTurn)) // reading the piece may have taken its time
	}
	defer stop()
	if !v.stoppable(stop) {
		return false, nil
	}
	defer v.stoppable(nil)
	err = v.Flow.Turn(wait, size, r.part(off, n))
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, err
	case !v.wanted():
		return false, nil
	default:
		return false, v.refuse(&wire.Busy{ID: r.ID, Retry: v.Flow.Wait(1, r.content.m.PieceLength())})
	}
}

// stoppable says how a cancel ends the wait for a turn, and reports false when it has come already.
func (v *server) stoppable(stop func()) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stop = stop
	return !v.dropped
}

// missing answers a request whose piece cannot be read. In the middle of a piece there is no way to say so.
func (v *server) missing(ctx context.Context, m *wire.Request, off int, err error) error {
	if ctx.Err() != nil || off > 0 {
		return err
	}
	v.Log.LogAttrs(ctx, slog.LevelWarn, "piece cannot be served", slog.Int("piece", m.Piece), slog.String("err", err.Error()))
	return v.refuse(&wire.NotHere{ID: m.ID})
}

// push writes a frame. A peer that does not take it within conn.WriteTimeout is given up; one that merely stalls loses the
// piece's memory to others that wait for it.
func (v *server) push(b []byte, p *loan) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	size := len(b)
	for deadline := time.Now().Add(conn.WriteTimeout); ; {
		if err := v.stream.SetWriteDeadline(time.Now().Add(stall)); err != nil {
			return err
		}
		n, err := v.stream.Write(b)
		b = b[n:]
		if len(b) == 0 {
			return nil
		}
		if !timedOut(err) || time.Now().After(deadline) {
			v.Flow.Return(len(b), size)
			return err
		}
		p.yield()
	}
}

func timedOut(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}
