package httpfallback

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// A server must bring stallQuota bytes in each stallWindow that we spend waiting for it, and begin its answer within one;
// time that a rate limit or the disk takes is not held against it. About 1 KiB/s: less is no origin.
const (
	stallWindow = 15 * time.Second
	stallQuota  = 16 << 10
	endWait     = time.Second // for the end of a body whose last byte has come
)

var errStalled = errors.New("nothing, or next to nothing, came for 15 s")

// stream is the body of one answer. It has a context of its own, because that of a server without ranges is read on by
// one Fetch after the other; attach ties it to the one that reads.
type stream struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	watch   watch
	body    io.ReadCloser
	version string

	whole bool // the file from its beginning, without a range
	next  int  // of a whole one at rest: the piece that comes next
}

func newStream(ctx context.Context) *stream {
	s := &stream{}
	s.ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	s.watch = newWatch(func() { s.cancel(errStalled) })
	return s
}

// take makes resp the answer that is read.
func (s *stream) take(resp *http.Response) {
	s.body = resp.Body
	s.version = resp.Header.Get("ETag")
	if s.version == "" {
		s.version = resp.Header.Get("Last-Modified")
	}
}

// attach breaks the stream off when ctx ends, until detach is called.
func (s *stream) attach(ctx context.Context) (detach func()) {
	stop := context.AfterFunc(ctx, func() { s.cancel(context.Cause(ctx)) })
	return func() { stop() }
}

func (s *stream) read(b []byte) (int, error) {
	s.watch.begin()
	n, err := s.body.Read(b)
	s.watch.end(n)
	return n, err
}

// expectEnd reads past the last byte: only then is the connection free for the next request. What comes instead of the
// end is counted, and the connection closed by close.
func (s *stream) expectEnd(spent func(n int)) {
	s.watch.left = endWait
	var b [1]byte
	n, _ := s.read(b[:])
	spent(n)
}

// close ends the stream. Unless its end was read, the connection goes with it.
func (s *stream) close() {
	s.watch.timer.Stop()
	s.cancel(context.Canceled)
	if s.body != nil {
		s.body.Close()
	}
}

// reason is why the stream ended when that was not the network's doing, or err.
func (s *stream) reason(err error) error {
	if errors.Is(context.Cause(s.ctx), errStalled) {
		return errStalled
	}
	return err
}

// penalty is how long a mirror is left alone after the stream failed.
func (s *stream) penalty() time.Duration {
	if errors.Is(context.Cause(s.ctx), errStalled) {
		return stallWait
	}
	return 0
}

// watch ends a stream that stalls. It runs only between begin and end.
type watch struct {
	timer *time.Timer
	left  time.Duration // to wait in this window
	got   int           // bytes in this window
	since time.Time
}

func newWatch(stalled func()) watch {
	t := time.AfterFunc(time.Hour, stalled)
	t.Stop()
	return watch{timer: t, left: stallWindow}
}

func (w *watch) begin() {
	w.since = time.Now()
	w.timer.Reset(max(w.left, 0))
}

func (w *watch) end(n int) {
	w.timer.Stop()
	w.left -= time.Since(w.since)
	w.got += n
	if w.got >= stallQuota {
		w.left, w.got = stallWindow, 0
	}
}

// renew ends a wait and begins a new window.
func (w *watch) renew() {
	w.timer.Stop()
	w.left, w.got = stallWindow, 0
}
