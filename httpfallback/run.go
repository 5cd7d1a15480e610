package httpfallback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// readSize is the most that one read takes, in bytes. Under a low rate it is less: then all streams move.
const readSize = 128 << 10

// run is one Fetch: what is still to come, and the piece that is on its way. It belongs to the goroutine of that Fetch.
type run struct {
	o    *Origin
	why  fetch.Reason
	sink fetch.Sink

	first     int // asked for
	next, end int // next is the piece that is being filled
	buf       *[]byte
	fill      int     // bytes of piece next that are in buf
	from      *mirror // who sent them
	mark      int64   // the furthest position that counted as progress
	rewound   bool    // mark was set back to where a stream without ranges begins
}

func (o *Origin) begin(first, end int, why fetch.Reason, sink fetch.Sink) *run {
	return &run{
		o: o, why: why, sink: sink,
		first: first, next: first, end: end,
		buf: o.buffers.Get().(*[]byte), mark: o.content.Offset(first),
	}
}

// position is how far into the file the run has come.
func (r *run) position() int64 {
	if r.next == r.o.content.Pieces() {
		return r.o.content.Length()
	}
	return r.o.content.Offset(r.next) + int64(r.fill)
}

// moved reports whether the run has come further since it last did. Bytes fetched once more do not count, else a server
// that breaks every connection could keep us busy for ever.
func (r *run) moved() bool {
	if at := r.position(); at >= r.mark+minProgress || r.next == r.end {
		r.mark = at
		return true
	}
	return false
}

// finish books what is left over and gives the buffer back.
func (r *run) finish() {
	r.discard()
	r.o.buffers.Put(r.buf)
}

// discard throws the unfinished piece away.
func (r *run) discard() {
	r.o.gate.judge(r.why, int64(r.fill), false)
	r.fill = 0
}

// changeTo makes m the mirror in use. A piece is never put together from two mirrors: were it wrong, nobody could say
// who lied.
func (r *run) changeTo(m *mirror) {
	if r.from != m {
		r.discard()
		r.from = m
	}
}

// attempt gets as much of the rest as one request to m brings. The error is a *sinkError, a *failure, that of the gate or
// that of ctx.
func (r *run) attempt(ctx context.Context, m *mirror) (err error) {
	if r.o.isSequential(m) {
		err = r.readOn(ctx, m)
	} else {
		err = r.readRange(ctx, m)
	}
	r.o.gate.metrics.requests.WithLabelValues(outcome(ctx, err)).Inc()
	return err
}

func outcome(ctx context.Context, err error) string {
	var status *answerError
	switch {
	case err == nil:
		return outcomeDone
	case errors.As(err, new(*sinkError)) || ctx.Err() != nil:
		return outcomeCut
	case errors.As(err, &status):
		return outcomeRefused
	default:
		return outcomeBroken
	}
}

// readRange asks m for exactly the bytes that are missing.
func (r *run) readRange(ctx context.Context, m *mirror) error {
	release, err := r.o.gate.admit(ctx, r.o.gate.slots)
	if err != nil {
		return err
	}
	defer release()
	c := r.o.content
	end := c.Offset(r.end-1) + c.PieceSize(r.end-1)
	s, err := r.open(ctx, m, r.position(), end)
	if err != nil {
		return err
	}
	defer s.close()
	defer s.attach(ctx)()
	if err := r.sameVersion(m, s.version); err != nil {
		return err
	}
	if err := r.read(ctx, m, s, r.end); err != nil {
		return err
	}
	s.expectEnd(r.spent)
	return nil
}

// open sends the request and checks what the server says it will send. end 0 asks for the whole file without a range.
func (r *run) open(ctx context.Context, m *mirror, off, end int64) (*stream, error) {
	at := r.o.where(m)
	s := newStream(ctx)
	defer s.attach(ctx)()
	byteRange := ""
	if end > 0 {
		byteRange = fmt.Sprintf("bytes=%d-%d", off, end-1)
	} else {
		end = r.o.content.Length()
	}
	s.watch.begin()
	resp, final, err := r.o.gate.open(s.ctx, at, byteRange, r.spent)
	if err != nil {
		err = s.reason(err)
		s.close()
		return nil, r.o.strayed(m, at, &failure{err: err, wait: s.penalty()})
	}
	if err := checkRange(resp, off, end, r.o.content.Length()); err != nil {
		if errors.Is(err, errNoRanges) && byteRange != "" {
			resp.Body.Close()
			s.close()
			r.o.setSequential(ctx, m)
			return nil, &failure{err: sourced(m, err), mild: true}
		}
		// A 206 that contradicts itself is not read: what its connection brings next cannot be told.
		if resp.StatusCode != http.StatusPartialContent {
			drain(resp, r.spent)
		}
		resp.Body.Close()
		s.close()
		return nil, r.o.strayed(m, at, &failure{err: sourced(m, &answerError{err}), wait: pause(resp, time.Now())})
	}
	s.watch.renew()
	s.take(resp)
	r.o.setWhere(m, final)
	return s, nil
}

// answerError is an answer that is not the range that was asked for.
type answerError struct{ err error }

func (e *answerError) Error() string { return e.err.Error() }
func (e *answerError) Unwrap() error { return e.err }

// pause is how long a server that answered otherwise than asked is left alone. One that says itself when to come again
// is believed within bounds; a server's own trouble (5xx) may pass at any moment.
func pause(resp *http.Response, now time.Time) time.Duration {
	if d := parseRetryAfter(resp.Header.Get("Retry-After"), now); d > 0 {
		return d
	}
	if resp.StatusCode/100 == 5 || resp.StatusCode == http.StatusTooManyRequests {
		return 0
	}
	return wrongWait
}

// read fills pieces from s until piece end and hands each to the sink.
func (r *run) read(ctx context.Context, m *mirror, s *stream, end int) error {
	for r.next < end {
		size := int(r.o.content.PieceSize(r.next))
		for r.fill < size {
			n, err := s.read((*r.buf)[r.fill:min(size, r.fill+r.o.gate.limit.Step(readSize))])
			r.fill += n
			if n > 0 {
				r.count(ctx, n)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil && r.fill < size {
				return &failure{err: sourced(m, broken(s.reason(err))), wait: s.penalty()}
			}
		}
		if err := r.hand(s); err != nil {
			return err
		}
	}
	return nil
}

// hand gives the whole piece to the sink. What lies on the way of a stream without ranges is handed over once.
func (r *run) hand(s *stream) error {
	i, size := r.next, r.fill
	if s.whole && i < r.first && r.o.isDelivered(i) {
		r.discard()
		r.next++
		return nil
	}
	err := r.sink.Piece(i, (*r.buf)[:size])
	r.o.gate.judge(r.why, int64(size), err == nil)
	r.fill = 0
	if err != nil {
		return &sinkError{err}
	}
	r.o.setDelivered(i)
	r.next++
	return nil
}

// count tells the gate and the sink of n bytes of content. Either may hold us back.
func (r *run) count(ctx context.Context, n int) {
	r.o.gate.arrived(ctx, r.why, n)
	r.sink.Progress(ctx, n)
}

// spent counts bytes that are no payload: an error page, a redirect's body.
func (r *run) spent(n int) {
	r.o.gate.came(r.why, n)
	r.o.gate.judge(r.why, int64(n), false)
}

// sameVersion notices that the object changed while half a piece of the old one is in the buffer: that half is thrown
// away. Otherwise a change is no fault, every piece is checked by itself, and servers behind one name often differ in
// their tags. If-Range is not used: a server would answer with the whole file.
func (r *run) sameVersion(m *mirror, version string) error {
	changed := r.o.setVersion(m, version)
	if !changed || r.fill == 0 {
		return nil
	}
	r.discard()
	return &failure{err: sourced(m, errors.New("the file changed while it was being fetched")), mild: true}
}

// sinkError marks what the sink returned, so that it is never taken for a fault of the network.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

// sourced names the mirror in an error.
func sourced(m *mirror, err error) error { return fmt.Errorf("get %s: %w", m.name, err) }

// broken says an early end in plain words.
func broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the body ended early: %w", io.ErrUnexpectedEOF)
	}
	return err
}
