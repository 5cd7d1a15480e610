package piece

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/upload"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// A peer that sends payload, but less than minRate over a window, is not worth waiting for; one that has sent nothing of
// an answer for patience is taken for gone. Both end only the request: fetch has others to ask.
const (
	rateWindow     = 10 * time.Second
	minRate        = 16 << 10 // bytes per second, over the whole link
	patience       = 30 * time.Second
	heldTime       = time.Second // a sink that takes so long is held by a limit
	zstdBelow      = 12_500_000  // bytes per second (100 Mbit/s): on faster links compression costs more than it saves
	maxOutstanding = 256         // requests on one link
)

// ErrLinkGone is the error of requests over a connection that has ended.
var ErrLinkGone = errors.New("the link is gone")

var (
	errSlow   = errors.New("the peer sends too slowly")
	errSilent = errors.New("the peer does not answer")
)

// Line is what an Asker needs of its connection.
type Line struct {
	Open   func(ctx context.Context) (conn.Stream, error) // a stream for pieces
	Begin  func(f func()) bool                            // runs f in a goroutine that the connection waits for; false when it ends
	Fail   func()                                         // ends the connection
	Late   func(n int)                                    // counts payload that came after its request was cancelled
	Memory *Memory
}

// Asker asks a peer for pieces, over one stream for all requests, which the first one opens. It is safe for concurrent
// use.
type Asker struct {
	line    Line
	arrived atomic.Int64 // payload bytes
	pace    pace
	unpack  expander // the reader's

	writing sync.Mutex // guards writes to the stream; taken before mu

	mu     sync.Mutex // guards the rest
	stream conn.Stream
	gone   error // why there will be no answers any more
	open   map[uint32]*request
	last   uint32
}

// NewAsker returns the asker of a connection. It ends with it.
func NewAsker(l Line) *Asker { return &Asker{line: l, open: make(map[uint32]*request)} }

// Arrived returns the payload bytes that have come.
func (a *Asker) Arrived() int64 { return a.arrived.Load() }

// request is one piece that was asked for. buf, filled and the fields of the answer belong to the asker's reader while
// the request is open, and to Fetch afterwards.
type request struct {
	piece  int
	buf    []byte
	filled atomic.Int64  // how much of buf is there
	news   chan struct{} // cap 1: filled has grown
	end    chan error    // cap 1: nil when buf is full
	held   bool          // the reader is writing to buf; guarded by asker.mu
}

// Fetch gets piece i of size bytes of the content that has the number room on the connection. It keeps the contract of
// fetch.Peer.
func (a *Asker) Fetch(ctx context.Context, room uint32, i, size int, sink fetch.Sink) error {
	q := &request{piece: i, news: make(chan struct{}, 1), end: make(chan error, 1), buf: a.line.Memory.pool.get(size)}
	id, err := a.ask(ctx, room, q)
	if err != nil {
		a.line.Memory.pool.put(q.buf)
		return err
	}
	err = a.follow(ctx, q, sink)
	wanted, held := a.drop(id, q)
	if wanted && err != nil {
		a.cancel(id)
	}
	if err == nil {
		err = sink.Piece(i, q.buf)
	}
	if !held { // else the reader is still in it: leave it to the garbage collector
		a.line.Memory.pool.put(q.buf)
	}
	return err
}

// ask registers the request and sends it.
func (a *Asker) ask(ctx context.Context, room uint32, q *request) (uint32, error) {
	s, err := a.connect(ctx)
	if err != nil {
		return 0, err
	}
	id, err := a.register(q)
	if err != nil {
		return 0, err
	}
	m := wire.Request{ID: id, Room: room, Piece: q.piece, Zstd: a.pace.slow()}
	if err := a.write(s, wire.EncodeAsk(&m)); err != nil {
		a.drop(id, q)
		return 0, err
	}
	return id, nil
}

func (a *Asker) register(q *request) (uint32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone != nil {
		return 0, a.gone
	}
	if len(a.open) >= maxOutstanding {
		return 0, &fetch.BusyError{RetryAfter: upload.ShortWait}
	}
	a.last++
	a.open[a.last] = q
	return a.last, nil
}

// write sends one message. A message that cannot be sent whole ends the link.
func (a *Asker) write(s conn.Stream, b []byte) error {
	a.writing.Lock()
	defer a.writing.Unlock()
	err := conn.Send(s, b)
	if err != nil {
		a.line.Fail()
		return fmt.Errorf("ask for a piece: %w", err)
	}
	return nil
}

// connect returns the stream, which the first request opens.
func (a *Asker) connect(ctx context.Context) (conn.Stream, error) {
	a.writing.Lock()
	defer a.writing.Unlock()
	a.mu.Lock()
	s, gone := a.stream, a.gone
	a.mu.Unlock()
	if s != nil || gone != nil {
		return s, gone
	}
	s, err := a.line.Open(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.stream = s
	a.mu.Unlock()
	if !a.line.Begin(func() { a.read(s) }) {
		s.Reset()
		return nil, ErrLinkGone
	}
	return s, nil
}

// follow reports what arrives to the sink until the request ends.
func (a *Asker) follow(ctx context.Context, q *request, sink fetch.Sink) error {
	watch := time.NewTicker(rateWindow)
	defer watch.Stop()
	var told int64
	start, before := time.Now(), a.arrived.Load()
	tell := func() {
		n := q.filled.Load() - told
		if n == 0 {
			return
		}
		told += n
		was := time.Now()
		sink.Progress(ctx, int(n))
		if time.Since(was) > heldTime { // by our own limit, which is not the peer's fault: a new window begins
			watch.Reset(rateWindow)
			start, before = time.Now(), a.arrived.Load()
		}
	}
	for {
		select {
		case <-q.news:
			tell()
		case err := <-q.end:
			tell()
			return err
		case <-ctx.Done():
			tell()
			return ctx.Err()
		case <-watch.C:
			now := a.arrived.Load()
			if err := tooSlow(now-before, told, time.Since(start)); err != nil {
				return err
			}
			before = now
		}
	}
}

// tooSlow judges one window in which n bytes came over the link; told of this request came so far.
func tooSlow(n, told int64, since time.Duration) error {
	switch {
	case n == 0 && since >= patience:
		return errSilent
	case n > 0 && told > 0 && n < minRate*int64(rateWindow/time.Second):
		return errSlow
	}
	return nil
}

// drop ends the request on our side. It reports whether the peer may still be answering it, and whether the reader is
// writing to its buffer.
func (a *Asker) drop(id uint32, q *request) (wanted, held bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, was := a.open[id]
	delete(a.open, id)
	a.pace.idle(len(a.open))
	return was && a.gone == nil && q.filled.Load() < int64(len(q.buf)), q.held
}

func (a *Asker) cancel(id uint32) {
	a.mu.Lock()
	s := a.stream
	a.mu.Unlock()
	if s != nil {
		_ = a.write(s, wire.EncodeAsk(&wire.Cancel{ID: id}))
	}
}

// read takes answers until the stream ends, which ends the link: there is no other way to say that one end has lost
// count.
func (a *Asker) read(s conn.Stream) {
	defer s.Reset()
	defer a.unpack.close()
	err := a.readAll(s)
	a.mu.Lock()
	a.gone = fmt.Errorf("%w: %w", ErrLinkGone, err)
	for id, q := range a.open {
		q.end <- a.gone
		delete(a.open, id)
	}
	a.mu.Unlock()
	a.line.Fail()
}

func (a *Asker) readAll(s conn.Stream) error {
	r := conn.Reader(s)
	for {
		m, size, err := r.NextAnswer()
		if err != nil {
			return err
		}
		if err := a.take(r, m, size); err != nil {
			return err
		}
		if err := s.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
	}
}

func (a *Asker) take(r *wire.Reader, m wire.Answer, size int) error {
	switch m := m.(type) {
	case *wire.Slice:
		return a.takeSlice(r, m, size)
	case *wire.Busy:
		a.finish(m.ID, &fetch.BusyError{RetryAfter: m.Retry})
	case *wire.NotHere:
		a.finish(m.ID, fetch.ErrAbsent)
	}
	return nil
}

// takeSlice reads payload straight to its place. Slices of a request that was cancelled are read and forgotten.
func (a *Asker) takeSlice(r *wire.Reader, m *wire.Slice, size int) error {
	part := size
	if m.Raw > 0 {
		part = m.Raw
	}
	a.arrived.Add(int64(part))
	a.mu.Lock()
	q := a.open[m.ID]
	if q != nil {
		q.held = true
	}
	a.mu.Unlock()
	if q == nil {
		a.line.Late(part)
		return r.SkipData(size)
	}
	if m.Offset != int(q.filled.Load()) || m.Offset+part > len(q.buf) {
		return fmt.Errorf("%w: slice of %d bytes at %d, where %d are due of %d", wire.ErrMalformed, part, m.Offset,
			q.filled.Load(), len(q.buf))
	}
	if err := a.readPart(r, q.buf[m.Offset:m.Offset+part], size, m.Raw > 0); err != nil {
		return err
	}
	a.pace.add(part)
	full := q.filled.Add(int64(part)) == int64(len(q.buf))
	a.mu.Lock()
	q.held = false
	a.mu.Unlock()
	if full {
		a.finish(m.ID, nil)
		return nil
	}
	signal(q.news)
	return nil
}

func (a *Asker) readPart(r *wire.Reader, dst []byte, size int, packed bool) error {
	if packed {
		return a.unpack.into(r, dst, size)
	}
	return r.ReadData(dst)
}

// finish ends a request with what the peer said.
func (a *Asker) finish(id uint32, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if q := a.open[id]; q != nil {
		delete(a.open, id)
		a.pace.idle(len(a.open))
		q.end <- err
	}
}

// pace measures how fast payload comes over a link while something is asked of it. It decides only whether to ask for
// compression.
type pace struct {
	mu    sync.Mutex // guards the rest
	since time.Time  // of the current window; zero while nothing is asked
	bytes int64
	rate  float64 // bytes per second, 0 unknown
}

// paceWindow is long enough for a few slices on a 10 Mbit/s link.
const paceWindow = 500 * time.Millisecond

func (p *pace) add(n int) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		p.since, p.bytes = now, 0
	}
	p.bytes += int64(n)
	if d := now.Sub(p.since); d >= paceWindow {
		sample := float64(p.bytes) / d.Seconds()
		if p.rate == 0 {
			p.rate = sample
		}
		p.rate = 0.5*p.rate + 0.5*sample
		p.since, p.bytes = now, 0
	}
}

// idle forgets the window when nothing is open, so that waiting is not taken for slowness.
func (p *pace) idle(open int) {
	if open > 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = time.Time{}
}

func (p *pace) slow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rate > 0 && p.rate < zstdBelow
}
