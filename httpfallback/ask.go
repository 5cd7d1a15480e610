package httpfallback

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// Ask is a request for a file that no manifest describes: whoever sends it must judge what comes back.
type Ask struct {
	Method string // GET or HEAD
	URL    string
	// Header is sent with the request, and with those that follow redirects. Accept-Encoding is always identity.
	Header http.Header
	// Allow returns an error for a URL that must not be asked: that of the request, or of a redirect. Only an address that
	// stands in an allowed URL itself may be one that is not public: a name must lead to the public Internet.
	Allow func(*url.URL) error
}

// Reply is the answer to an Ask. It holds a stream of the gate until Close.
type Reply struct {
	Status int
	Header http.Header
	// Length is that of the body, in bytes; -1 when the server has not said it.
	Length int64

	body io.Reader
	end  func()
	book func(n int64, useful bool) // nil: nobody counts

	once       sync.Once // Close
	read, kept atomic.Int64
}

// NewReply returns an answer that did not come through a gate: one of a server in memory.
func NewReply(status int, header http.Header, length int64, body io.ReadCloser) *Reply {
	return &Reply{Status: status, Header: header, Length: length, body: body, end: func() { body.Close() }}
}

// Read reads the body. It takes as long as the gate's limit says, and fails when the server stalls.
func (r *Reply) Read(b []byte) (int, error) {
	n, err := r.body.Read(b)
	r.read.Add(int64(n))
	return n, err
}

// Keep says that n of the bytes that were read were of use. What is not kept is booked as waste by Close.
func (r *Reply) Keep(n int64) {
	r.kept.Add(n)
	if r.book != nil {
		r.book(n, true)
	}
}

// Close ends the answer. Unless the body was read to its end the connection goes with it. A second call does nothing.
func (r *Reply) Close() {
	r.once.Do(func() {
		r.end()
		if r.book != nil {
			r.book(r.read.Load()-r.kept.Load(), false)
		}
	})
}

// Ask sends a request and follows redirects as far as Allow lets it. Whatever status the last server answers is no error:
// errors are of connections that failed (unavailable), of a URL that is none (usage), of what Allow refuses, and of a gate
// that is closed (both refused). The body is read through the Reply.
func (g *Gate) Ask(ctx context.Context, ask Ask) (*Reply, error) {
	u, err := parseURL(ask.URL)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err)
	}
	t, err := g.permit(u, ask.Allow)
	if err != nil {
		return nil, err
	}
	release, err := g.admit(ctx, g.asks)
	if err != nil {
		return nil, err
	}
	s := newStream(ctx)
	detach := s.attach(ctx)
	end := func() {
		detach()
		s.close()
		release()
	}
	s.watch.begin()
	resp, err := g.askOn(s.ctx, t, ask)
	if err != nil {
		err = s.reason(err)
		end()
		g.metrics.requests.WithLabelValues(outcome(ctx, err)).Inc()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, asFault(err)
	}
	s.watch.renew()
	s.take(resp)
	g.metrics.requests.WithLabelValues(answered(resp)).Inc()
	return &Reply{
		Status: resp.StatusCode, Header: resp.Header, Length: resp.ContentLength,
		body: &metered{ctx, g, s}, end: end, book: func(n int64, useful bool) { g.judge(fetch.Own, n, useful) },
	}, nil
}

func answered(resp *http.Response) string {
	if resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusNotModified {
		return outcomeDone
	}
	return outcomeRefused
}

// permit makes the target of a URL that is allowed.
func (g *Gate) permit(u *url.URL, allow func(*url.URL) error) (target, error) {
	if err := allow(u); err != nil {
		return target{}, fault.Wrap(fault.Refused, err)
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return target{u, g.ways.configured}, nil
	}
	return target{u, g.ways.led[public]}, nil
}

// askOn sends the request and those that redirects make of it.
func (g *Gate) askOn(ctx context.Context, t target, ask Ask) (*http.Response, error) {
	for hop := 0; ; hop++ {
		resp, _, err := g.send(ctx, ask.Method, t, ask.Header.Clone())
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", ask.Method, label(t.url), err)
		}
		if !isRedirect(resp.StatusCode) {
			return resp, nil
		}
		drain(resp, func(n int) { g.count(n) })
		if hop == maxRedirects {
			return nil, fmt.Errorf("%s %s: more than %d redirects", ask.Method, label(t.url), maxRedirects)
		}
		u, err := redirection(resp)
		next := t
		if err == nil {
			next, err = g.permit(u, ask.Allow)
		}
		if err != nil {
			return nil, fmt.Errorf("follow redirect of %s: %w", label(t.url), err)
		}
		t = next
	}
}

func redirection(resp *http.Response) (*url.URL, error) {
	loc, err := resp.Location()
	if err != nil {
		return nil, err
	}
	return parseURL(loc.String())
}

// count counts bytes of a body that are of no use.
func (g *Gate) count(n int) {
	g.came(fetch.Own, n)
	g.judge(fetch.Own, int64(n), false)
}

// metered is the body of a stream, counted and limited.
type metered struct {
	ctx context.Context
	g   *Gate
	s   *stream
}

func (m *metered) Read(b []byte) (int, error) {
	n, err := m.s.read(b[:min(len(b), m.g.limit.Step(readSize))])
	if n > 0 {
		m.g.arrived(m.ctx, fetch.Own, n)
	}
	if err != nil && err != io.EOF {
		err = fault.Wrap(fault.Unavailable, broken(m.s.reason(err)))
	}
	return n, err
}
