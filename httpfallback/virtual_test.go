package httpfallback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// memoryNet is a network of pipes, so that real HTTP runs in virtual time. Hosts are names.
type memoryNet map[string]http.HandlerFunc

// gate returns a gate whose connections go through the net. It must be made and closed inside the bubble.
func (n memoryNet) gate(t *testing.T, cfg GateConfig) *Gate {
	t.Cleanup(func() { time.Sleep(2 * time.Second) }) // last of all: handlers notice that the other side has gone
	g := newGate(t, cfg)
	servers := make(map[string]*pipeListener)
	for host, h := range n {
		l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		s := &http.Server{Handler: h}
		servers[host] = l
		go s.Serve(l)
		t.Cleanup(func() { s.Close() })
	}
	g.ways.configured.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
		host, _, _ := net.SplitHostPort(addr)
		l := servers[host]
		if l == nil {
			return nil, errors.New("no such host")
		}
		ours, theirs := net.Pipe()
		select {
		case l.conns <- theirs:
			return ours, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return g
}

type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	close(l.done)
	return nil
}
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// slow makes a handler that hijacks and drips.
func slow(say func(c net.Conn, first, end int)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		first, end := asked(req)
		say(c, first, end)
	}
}

// drip writes b in steps of n bytes each second and then hangs until the other side closes.
func drip(c net.Conn, b []byte, n int) {
	for len(b) > 0 {
		if _, err := c.Write(b[:min(n, len(b))]); err != nil {
			return
		}
		b = b[min(n, len(b)):]
		time.Sleep(time.Second)
	}
	io.Copy(io.Discard, c)
}

func TestStalls(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(31, 4*piece, piece)
	tests := []struct {
		name string
		say  http.HandlerFunc
		ok   bool
		took time.Duration // of virtual time, at most
	}{
		{"never answers", slow(func(c net.Conn, _, _ int) { io.Copy(io.Discard, c) }), false, 16 * time.Second},
		{"head, then silence", slow(func(c net.Conn, first, end int) {
			io.WriteString(c, head206(first, end, len(data)))
			io.Copy(io.Discard, c)
		}), false, 16 * time.Second},
		{"1 B/s", slow(func(c net.Conn, first, end int) {
			io.WriteString(c, head206(first, end, len(data)))
			drip(c, data[first:end], 1)
		}), false, 16 * time.Second},
		{"header at 1 B/s", slow(func(c net.Conn, first, end int) { drip(c, []byte(head206(first, end, len(data))), 1) }), false, 16 * time.Second},
		{"error page at 1 B/s", slow(func(c net.Conn, _, _ int) {
			io.WriteString(c, "HTTP/1.1 500 No\r\nContent-Length: 9000\r\n\r\n")
			drip(c, data[:9000], 1)
		}), false, 80 * time.Second},
		{"redirect at 1 B/s", slow(func(c net.Conn, _, _ int) {
			io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 9000\r\n\r\n")
			drip(c, data[:9000], 1)
		}), false, 16 * time.Second},
		{"2 KiB/s is slow but an origin", slow(func(c net.Conn, first, end int) {
			io.WriteString(c, head206(first, end, len(data)))
			drip(c, data[first:end], 2<<10)
		}), true, 40 * time.Second},
		{"the end of the body never comes", slow(func(c net.Conn, first, end int) {
			fmt.Fprintf(c, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\nTransfer-Encoding: chunked\r\n\r\n", first, end-1, len(data))
			fmt.Fprintf(c, "%x\r\n%s\r\n", end-first, data[first:end])
			io.Copy(io.Discard, c)
		}), true, 2 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := memoryNet{"web": tt.say}.gate(t, GateConfig{})
				o := newOrigin(t, g, m, "http://web/f")
				start := time.Now()
				err := o.Fetch(t.Context(), 0, 4, fetch.Own, &fetchtest.Sink{M: m})
				if tt.ok && err != nil || !tt.ok && !fault.Is(err, fault.Unavailable) {
					t.Errorf("error %v", err)
				}
				if took := time.Since(start); took > tt.took {
					t.Errorf("took %v, want at most %v", took, tt.took)
				}
				// It is not asked again soon: who calls without a pause gets the same answer and sends nothing.
				if before := g.Total(); !tt.ok {
					if err := o.Fetch(t.Context(), 0, 4, fetch.Own, &fetchtest.Sink{M: m}); !fault.Is(err, fault.Unavailable) {
						t.Errorf("second fetch: %v", err)
					}
					if g.Total() != before && tt.name != "error page at 1 B/s" {
						t.Errorf("a stalling server was asked again at once")
					}
				}
				settled(t, g)
			})
		})
	}
}

// A stalling first mirror costs one window, then the second serves.
func TestStallThenNextMirror(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(32, 40*piece, piece)
	synctest.Test(t, func(t *testing.T) {
		g := memoryNet{
			"slow": slow(func(c net.Conn, first, end int) {
				io.WriteString(c, head206(first, end, len(data)))
				drip(c, data[first:end], 1)
			}),
			"good": func(w http.ResponseWriter, req *http.Request) {
				http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
			},
		}.gate(t, GateConfig{})
		o := newOrigin(t, g, m, "http://slow/", "http://good/")
		start := time.Now()
		for i := range 10 {
			if err := o.Fetch(t.Context(), 4*i, 4, fetch.Own, &fetchtest.Sink{M: m}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took > stallWindow+time.Second {
			t.Errorf("took %v: the slow mirror was asked more than once", took)
		}
	})
}

// The time in which we ourselves do not read is not held against the server.
func TestOwnLimitIsNoStall(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(33, 4*piece, piece)
	synctest.Test(t, func(t *testing.T) {
		g := memoryNet{"web": func(w http.ResponseWriter, req *http.Request) {
			http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
		}}.gate(t, GateConfig{})
		s := &fetchtest.Sink{M: m, Hold: func(context.Context, int) { time.Sleep(time.Minute) }}
		if err := newOrigin(t, g, m, "http://web/").Fetch(t.Context(), 0, 4, fetch.Own, s); err != nil {
			t.Error(err)
		}
	})
}

// Back-off doubles, stays short for a while because most outages are, and doubles again.
func TestBackoffSteps(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{
		0: firstBackoff, 1: 2 * firstBackoff, 2: 4 * firstBackoff, 12: 4 * firstBackoff, 13: 8 * firstBackoff,
		16: 64 * firstBackoff, 1000: 1024 * firstBackoff,
	} {
		if got := backoff(failures); got != want {
			t.Errorf("after %d failures %v, want %v", failures, got, want)
		}
	}
}

// Back-off grows, is jittered, and ends a Fetch when its patience does.
func TestBackoff(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(34, piece, piece)
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		start := time.Now()
		healthy := start.Add(1400 * time.Millisecond)
		g := memoryNet{"web": func(w http.ResponseWriter, req *http.Request) {
			at = append(at, time.Since(start))
			if time.Now().Before(healthy) {
				w.WriteHeader(500)
				return
			}
			http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
		}}.gate(t, GateConfig{})
		o := newOrigin(t, g, m, "http://web/")
		// A server that is back within the patience is bridged.
		if err := o.Fetch(t.Context(), 0, 1, fetch.Own, &fetchtest.Sink{M: m}); err != nil {
			t.Fatalf("%v after requests at %v", err, at)
		}
		for i := 1; i < len(at); i++ {
			gap, full := at[i]-at[i-1], backoff(i-1)
			if gap < full/2 || gap > full+time.Millisecond {
				t.Errorf("request %d came %v after the one before, want %v to %v", i, gap, full/2, full)
			}
		}
		healthy = time.Now().Add(time.Hour)
		before := time.Now()
		if err := o.Fetch(t.Context(), 0, 1, fetch.Own, &fetchtest.Sink{M: m}); !fault.Is(err, fault.Unavailable) {
			t.Error(err)
		}
		if took := time.Since(before); took > defaultPatience {
			t.Errorf("gave up after %v", took)
		}
	})
}

// What a server asks for is heeded within bounds.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(35, piece, piece)
	for after, least := range map[string]time.Duration{
		"2": 2 * time.Second, "1000000000": maxRetryAfter, "99999999999999999999999": maxRetryAfter,
		"Fri, 31 Dec 2399 23:59:59 GMT": maxRetryAfter, "0": minRetryAfter, "Thu, 01 Jan 1970 00:00:00 GMT": minRetryAfter,
		"-1": 0, "soon": 0,
	} {
		synctest.Test(t, func(t *testing.T) {
			var n atomic.Int64
			g := memoryNet{"web": func(w http.ResponseWriter, req *http.Request) {
				if n.Add(1) == 1 {
					w.Header().Set("Retry-After", after)
					w.WriteHeader(503)
					return
				}
				http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
			}}.gate(t, GateConfig{})
			o, err := NewOrigin(OriginConfig{Gate: g, Content: m.Content, URLs: []string{"http://web/"}, Patience: 10 * time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if err := o.Fetch(t.Context(), 0, 1, fetch.Own, &fetchtest.Sink{M: m}); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took < least || took > least+least/4+firstBackoff {
				t.Errorf("Retry-After %q: came back after %v, want about %v", after, took, least)
			}
		})
	}
}

// The end of the caller's context ends a back-off and a wait for a slot.
func TestCancelWhileWaiting(t *testing.T) {
	t.Parallel()
	_, m := fetchtest.Content(36, piece, piece)
	synctest.Test(t, func(t *testing.T) {
		g := memoryNet{
			"down": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
			"mute": slow(func(c net.Conn, _, _ int) { io.Copy(io.Discard, c) }),
		}.gate(t, GateConfig{MaxStreams: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := newOrigin(t, g, m, "http://down/").Fetch(ctx, 0, 1, fetch.Own, &fetchtest.Sink{M: m}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		done := make(chan error, 2)
		for range 2 { // the second waits for the slot
			o := newOrigin(t, g, m, "http://mute/")
			go func() { done <- o.Fetch(ctx, 0, 1, fetch.Own, &fetchtest.Sink{M: m}) }()
		}
		for range 2 {
			if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
	})
}

// A server that was away is forgiven, and the order of the URLs holds again.
func TestForgiven(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(37, piece, piece)
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		away := true
		host := func(name string) http.HandlerFunc {
			return func(w http.ResponseWriter, req *http.Request) {
				asked = append(asked, name)
				if name == "one" && away {
					w.WriteHeader(500)
					return
				}
				http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
			}
		}
		g := memoryNet{"one": host("one"), "two": host("two")}.gate(t, GateConfig{})
		o := newOrigin(t, g, m, "http://one/", "http://two/")
		fetchOne := func() {
			t.Helper()
			if err := o.Fetch(t.Context(), 0, 1, fetch.Own, &fetchtest.Sink{M: m}); err != nil {
				t.Fatal(err)
			}
		}
		fetchOne()
		away = false
		time.Sleep(time.Minute)
		fetchOne()
		time.Sleep(forgiven)
		fetchOne()
		if got := strings.Join(asked, " "); got != "one two two one" {
			t.Errorf("asked %s", got)
		}
	})
}

func asMismatch(err error, to **piecehash.Mismatch) bool { return errors.As(err, to) }
