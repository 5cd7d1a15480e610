package httpfallback

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/piecehash"
)

const piece = 16 << 10

// web is a good server with an access log: the bytes of bodies that it wrote.
type web struct {
	*httptest.Server
	data     []byte
	log      atomic.Int64
	requests atomic.Int64

	mu    sync.Mutex // guards conns
	conns map[string]bool
}

func newWeb(t testing.TB, data []byte) *web {
	w := &web{data: data, conns: make(map[string]bool)}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

func (w *web) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	w.requests.Add(1)
	w.mu.Lock()
	w.conns[req.RemoteAddr] = true
	w.mu.Unlock()
	rw.Header().Set("ETag", `"one"`)
	http.ServeContent(&logged{rw, &w.log}, req, "", time.Time{}, bytes.NewReader(w.data))
}

func (w *web) connections() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.conns)
}

type logged struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (l *logged) Write(b []byte) (int, error) {
	n, err := l.ResponseWriter.Write(b)
	l.n.Add(int64(n))
	return n, err
}

// serve starts a server with the handler.
func serve(t testing.TB, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

// raw starts a server that says what it likes after each request.
func raw(t testing.TB, say func(c net.Conn, req *http.Request)) string {
	return serve(t, func(w http.ResponseWriter, req *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		say(c, req)
	})
}

// asked returns the range of a request, end exclusive.
func asked(req *http.Request) (first, end int) {
	if _, err := fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-%d", &first, &end); err != nil {
		return 0, 0
	}
	return first, end + 1
}

func head206(first, end, total int) string {
	return fmt.Sprintf("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n",
		first, end-1, total, end-first)
}

func newGate(t testing.TB, cfg GateConfig) *Gate {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	g := NewGate(cfg)
	t.Cleanup(func() { g.Close() })
	return g
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimRight(b, "\n"))
	return len(b), nil
}

func newOrigin(t testing.TB, g *Gate, m *piecehash.Manifest, urls ...string) *Origin {
	o, err := NewOrigin(OriginConfig{Gate: g, Content: m.Content, URLs: urls})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

// settled checks that the gate's books are closed: every byte was judged.
func settled(t testing.TB, g *Gate) (useful, waste int64) {
	t.Helper()
	for _, c := range g.Counts() {
		useful += c.Useful
		waste += c.Waste
	}
	if useful+waste != g.Total() {
		t.Errorf("%d useful and %d wasted bytes do not make the total of %d", useful, waste, g.Total())
	}
	return useful, waste
}

var _ fetch.Sink = (*fetchtest.Sink)(nil)

// newPlainServer serves the file of w whole, whatever range is asked.
func newPlainServer(t testing.TB, w *web) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		req.Header.Del("Range")
		w.ServeHTTP(rw, req)
	}))
	t.Cleanup(s.Close)
	return s
}
