package urlcache

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
)

const (
	readSize = 128 << 10 // bytes that are read, written, and given to readers at once
	attempts = 3         // in a row that bring nothing
	backoff  = 200 * time.Millisecond
)

// errEnding is the error of a cache that is not running.
var errEnding = fault.New(fault.Unavailable, "this cache is ending")

// errIdle ends a stream that nobody waits for.
var errIdle = errors.New("nobody reads")

// stream brings a run of slices, one after the other. It belongs to one goroutine.
type stream struct {
	g    *generation
	what run
	at   int64     // the next byte
	hash hash.Hash // of the slice that at is in
	room int64     // bytes that are accounted for it
	buf  []byte
}

func (g *generation) newStream(what run) *stream {
	return &stream{g: g, what: what, at: g.offset(what.first), hash: sha256.New(), buf: make([]byte, readSize)}
}

// fetch brings a run, with as many requests as it takes.
func (g *generation) fetch(ctx context.Context, what run) {
	s := g.newStream(what)
	s.end(ctx, s.bring(ctx))
}

// bring asks and reads until all has come, or nothing comes any more.
func (s *stream) bring(ctx context.Context) error {
	for failed := 0; ; {
		before := s.at
		r, err := s.open(ctx)
		if err == nil {
			err = s.read(r)
			r.Close()
		}
		if failed++; s.at > before {
			failed = 1
		}
		if !fault.Is(err, fault.Unavailable) || failed >= attempts || s.g.isPlain() || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(backoff << failed):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// last is the last byte of the run.
func (s *stream) last() int64 {
	i := s.what.first + s.what.count - 1
	return s.g.offset(i) + s.g.length(i) - 1
}

// open asks for what is still to come, of this version and no other.
func (s *stream) open(ctx context.Context) (*httpfallback.Reply, error) {
	g := s.g
	h := g.e.c.header(nil)
	if !g.isPlain() {
		h.Set("Range", rangeField(s.at, s.last()))
		h.Set("If-Range", g.is.validator())
	}
	r, err := g.e.c.ask(ctx, http.MethodGet, g.e.url, h)
	if err != nil {
		return nil, err
	}
	if err := s.fits(r); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// fits checks that an answer is the bytes that were asked for, of this generation.
func (s *stream) fits(r *httpfallback.Reply) error {
	switch r.Status {
	case http.StatusOK, http.StatusPartialContent:
	case http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable, http.StatusNotFound, http.StatusGone:
		return errChanged
	default:
		return fault.New(fault.Unavailable, "get %.100q: status %d", s.g.e.url, r.Status)
	}
	size, whole, err := partOf(r, s.at, s.last())
	switch {
	case err != nil:
		return fault.New(fault.Untrusted, "get %.100q: %w", s.g.e.url, err)
	case size != s.g.is.Size || !s.g.is.is(r.Header, !whole):
		return errChanged
	case whole && s.at > 0: // the same bytes, but from the beginning
		s.g.setPlain()
		return errPlain
	}
	return nil
}

// errPlain is the error of an origin that answers a range with all of the file.
var errPlain = errors.New("the origin serves no ranges")

// read takes a body in. The error is that of the body (unavailable), of the disk (errNoRoom), errIdle or errChanged; it is nil
// when the run is there.
func (s *stream) read(r *httpfallback.Reply) error {
	for end := s.last() + 1; s.at < end; {
		i := int(s.at / s.g.e.c.slice)
		stop := s.g.offset(i) + s.g.length(i)
		n, err := r.Read(s.buf[:min(int64(len(s.buf)), stop-s.at)])
		if n > 0 {
			kept, err := s.put(i, s.buf[:n])
			if kept {
				r.Keep(int64(n))
			}
			if err != nil {
				return err
			}
		}
		switch {
		case s.at == end:
		case errors.Is(err, io.EOF):
			return fault.New(fault.Unavailable, "get %.100q: the body ended early: %w", s.g.e.url, io.ErrUnexpectedEOF)
		case err != nil:
			return fault.Wrap(fault.Unavailable, err)
		case s.at == stop && s.g.isIdle():
			return errIdle
		}
	}
	_, _ = r.Read(s.buf[:1]) // the end of the body: only then is the connection free for the next request
	return nil
}

// put writes bytes of slice i. What is there already is passed over.
func (s *stream) put(i int, b []byte) (kept bool, err error) {
	g := s.g
	f, plain := g.flight(i)
	switch {
	case f == nil && plain:
		s.at += int64(len(b))
		return false, nil
	case f == nil: // the generation has ended
		return false, errIdle
	}
	if s.at == g.offset(i) {
		s.hash.Reset()
		if err := s.takeRoom(i); err != nil {
			return false, err
		}
	}
	if _, err := g.data.WriteAt(b, s.at); err != nil {
		return false, g.e.c.pause(err)
	}
	s.hash.Write(b)
	s.at += int64(len(b))
	if s.at < g.offset(i)+g.length(i) {
		g.grow(i, f, s.at-g.offset(i))
		return true, nil
	}
	if err := g.settle(i, sum(s.hash.Sum(nil))); err != nil {
		return true, g.e.c.pause(err)
	}
	s.room = 0
	return true, nil
}

// takeRoom accounts for slice i.
func (s *stream) takeRoom(i int) error {
	s.giveRoom()
	n := s.g.length(i)
	if err := s.g.e.c.take(s.g, n); err != nil {
		return err
	}
	s.room = n
	return nil
}

func (s *stream) giveRoom() {
	if s.room > 0 {
		s.g.e.c.shrink(s.g, s.room)
		s.room = 0
	}
}

// end lands what has not come, and says why to those who wait for it.
func (s *stream) end(ctx context.Context, err error) {
	g, c := s.g, s.g.e.c
	s.giveRoom()
	if ctx.Err() != nil {
		err = errEnding
	}
	if errors.Is(err, errChanged) {
		c.changed(g)
	}
	if said := g.landed(s.what, err); said != nil && !errors.Is(err, errEnding) {
		c.log.Warn("slices could not be fetched", slog.String("url", label(g.e.url)), slog.Any("err", err))
	}
	c.closeDone(g)
}

// landed ends a stream, and returns what is said to those who wait.
func (g *generation) landed(what run, err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.streams--
	g.confirm()
	switch {
	case err == nil:
		g.brought++
	case errors.Is(err, errIdle), errors.Is(err, errPlain):
		err = nil
	case g.streams > 0 && fault.Is(err, fault.Unavailable): // perhaps the origin does not like so many: those who wait look again
		g.width = g.streams
		err = nil
	}
	for i := what.first; i < what.first+what.count; i++ {
		if g.flights[i] != nil {
			g.land(i, err)
		}
	}
	g.wake()
	if len(g.readers) > 0 {
		_ = g.plan() // a reader who waits for what cannot come will ask, and be told
	}
	return err
}

// flight returns what is on its way as slice i, nil for nothing.
func (g *generation) flight(i int) (f *flight, plain bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.flights[i], g.plain
}

// grow notes that n bytes of slice i are in the file.
func (g *generation) grow(i int, f *flight, n int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flights[i] != f { // the generation has just ended
		return
	}
	f.n = n
	close(f.more)
	f.more = make(chan struct{})
}

func (g *generation) isIdle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.readers) == 0
}

func (g *generation) isPlain() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.plain
}

func (g *generation) setPlain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.plain = true
}
