package urlcache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/publicweb"
)

const testSlice = 64 << 10

// origin is a web server whose one file and manners a test may change.
type origin struct {
	mu     sync.Mutex
	data   []byte
	header http.Header // sent with each answer
	asked  []*http.Request
	// answer, when it is not nil, answers in place of the origin.
	answer func(w http.ResponseWriter, r *http.Request, n int)
	active int // requests under way
	peak   int // the most of them at once
}

// data returns n bytes that depend on the seed.
func data(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

func newOrigin(b []byte) *origin {
	return &origin{data: b, header: http.Header{"Etag": {`"one"`}, "Cache-Control": {"max-age=3600"}}}
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.asked = append(o.asked, r)
	n := len(o.asked)
	b, h, answer := o.data, o.header.Clone(), o.answer
	o.active++
	o.peak = max(o.peak, o.active)
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.active--
		o.mu.Unlock()
	}()
	if answer != nil {
		answer(w, r, n)
		return
	}
	serve(w, r, h, b)
}

// serve answers as a good server does.
func serve(w http.ResponseWriter, r *http.Request, h http.Header, b []byte) {
	for name, v := range h {
		w.Header()[name] = v
	}
	changed, _ := http.ParseTime(h.Get("Last-Modified"))
	http.ServeContent(w, r, "", changed, bytes.NewReader(b))
}

// change sets the file and the header field of the origin, if a name is given.
func (o *origin) change(b []byte, field ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.data = b
	for i := 0; i < len(field); i += 2 {
		if field[i+1] == "" {
			o.header.Del(field[i])
			continue
		}
		o.header.Set(field[i], field[i+1])
	}
}

func (o *origin) set(answer func(w http.ResponseWriter, r *http.Request, n int)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer = answer
}

func (o *origin) requests() []*http.Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]*http.Request(nil), o.asked...)
}

// asks returns the requests as METHOD RANGE.
func (o *origin) asks() (out []string) {
	for _, r := range o.requests() {
		out = append(out, r.Method+" "+r.Header.Get("Range"))
	}
	return out
}

// world is a cache with an origin and clients, over real connections or, in virtual time, over pipes.
type world struct {
	t      *testing.T
	dir    string
	origin *origin
	host   string // of the origin
	cache  *Cache
	gate   *httpfallback.Gate // nil in virtual time
	client *http.Client
	node   string // the address of the cache
	stop   func()
	change func(*Cache)
}

// newWorld has a real origin on loopback behind a real gate.
func newWorld(t *testing.T, b []byte) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "urls"), origin: newOrigin(b)}
	srv := httptest.NewServer(w.origin)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	w.host = srv.Listener.Addr().String()
	w.client = &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}}
	return w
}

// run starts the cache, with the origin allowed unless others are.
func (w *world) run(allow ...string) {
	w.t.Helper()
	w.gate = httpfallback.NewGate(httpfallback.GateConfig{})
	if len(allow) == 0 {
		allow = []string{w.host}
	}
	w.runWith(w.gate, Config{Allow: origins(w.t, allow...)})
	gate, stop := w.gate, w.stop
	w.stop = func() { stop(); gate.Close() }
}

func (w *world) runWith(door Door, cfg Config) {
	w.t.Helper()
	cfg.Dir, cfg.Door = w.dir, door
	if cfg.Size == 0 {
		cfg.Size = MinSize
	}
	cfg.Log = slog.New(slog.NewTextHandler(lines{w.t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	c.setSlice(testSlice)
	if w.change != nil {
		w.change(c)
	}
	w.cache = c
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) })
	for c.lives.Enter() == nil {
		time.Sleep(time.Millisecond)
	}
	c.lives.Leave()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	srv := publicweb.NewServer(c, slog.New(slog.DiscardHandler))
	wg.Go(func() { _ = srv.Serve(l) })
	w.node = l.Addr().String()
	w.stop = sync.OnceFunc(func() {
		w.client.CloseIdleConnections()
		cancel()
		srv.Close()
		wg.Wait()
	})
	w.t.Cleanup(func() { w.stop() })
}

// setSlice makes the grid of a cache that is not used yet finer, which counts what it found anew.
func (c *Cache) setSlice(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		c.bytes -= e.bytes
		e.bytes = e.bytes / c.slice * n
		c.bytes += e.bytes
	}
	c.slice = n
}

func origins(t *testing.T, texts ...string) (out []Origin) {
	t.Helper()
	for _, text := range texts {
		o, err := ParseOrigin(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

// ask sends a request for a path at the origin, with header fields, name after name with its value.
func (w *world) ask(method, path string, header ...string) *http.Response {
	w.t.Helper()
	resp, err := w.try(method, path, header...)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp
}

func (w *world) try(method, path string, header ...string) (*http.Response, error) {
	sep := "?"
	if bytes.Contains([]byte(path), []byte("?")) {
		sep = "&"
	}
	return w.raw(method, path+sep+"cacheHostOrigin="+url.QueryEscape(w.host), header...)
}

// raw sends a request as it stands.
func (w *world) raw(method, uri string, header ...string) (*http.Response, error) {
	req, err := http.NewRequest(method, "http://"+w.node+uri, nil)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return w.client.Do(req)
}

// wants checks that an answer has the status and exactly these bytes.
func wants(t *testing.T, what string, resp *http.Response, status int, body []byte) {
	t.Helper()
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || !bytes.Equal(got, body) {
		t.Errorf("%s: status %d with %d bytes (%v), want %d with %d: %.200q", what, resp.StatusCode, len(got), err, status, len(body), text(got))
	}
}

// text is a body that is one, for messages.
func text(b []byte) string {
	if len(b) > 500 {
		return fmt.Sprintf("%d bytes", len(b))
	}
	return string(b)
}

type lines struct{ t *testing.T }

func (l lines) Write(b []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Logf("%s", bytes.TrimRight(b, "\n"))
	}
	return len(b), nil
}
