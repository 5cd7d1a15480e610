package cachenode

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/publicweb"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

const pieceLength = 64 << 10

// world is a node with its origin and clients, all in memory but the store. It works inside and outside of virtual time.
type world struct {
	t      *testing.T
	node   *Node
	dir    string
	store  *store.Store
	data   []byte
	m      *piecehash.Manifest
	origin fetch.Origin                    // nil: there is none
	others map[piecehash.Root]fetch.Origin // of other content
	drawn  atomic.Int64                    // requests to it
	pipes  *pipes
	client *http.Client
	stop   func()

	mu     sync.Mutex
	events []Event // guarded by mu
}

// catalogue is a Catalogue that says what it is told to.
type catalogue map[piecehash.Root]any // an *Item or an error

func (c catalogue) Find(root piecehash.Root) (*Item, error) {
	switch v := c[root].(type) {
	case *Item:
		return v, nil
	case error:
		return nil, v
	}
	return nil, ErrUnknown
}

func (c catalogue) Refresh(context.Context) (out []piecehash.Root) {
	for root := range c {
		out = append(out, root)
	}
	return out
}

// newWorld has content of n bytes. Nothing runs yet.
func newWorld(t *testing.T, n int64) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "store"), pipes: newPipes()}
	w.data, w.m = fetchtest.Content(uint64(n), n, pieceLength)
	s, err := store.Open(w.dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.store = s
	w.client = &http.Client{Transport: &http.Transport{DialContext: w.pipes.dial, DisableCompression: true}}
	return w
}

// line gives the world an origin behind a line of so many bytes per second.
func (w *world) line(rate float64) *fetchtest.WebServer {
	o := &fetchtest.WebServer{M: w.m, Data: w.data, Line: fetchtest.NewPipe(rate)}
	w.origin = o
	return o
}

// counted counts the requests to an origin.
type counted struct {
	fetch.Origin
	n *atomic.Int64
}

func (c counted) Fetch(ctx context.Context, first, count int, why fetch.Reason, sink fetch.Sink) error {
	c.n.Add(1)
	return c.Origin.Fetch(ctx, first, count, why, sink)
}

func (counted) Close() error { return nil }

// run starts the node; change may be nil. stop ends it, which a test inside a bubble must do itself.
func (w *world) run(change func(*Config)) {
	w.t.Helper()
	gate := httpfallback.NewGate(httpfallback.GateConfig{})
	cfg := Config{
		Store: w.store, Gate: gate, Catalogue: catalogue{w.m.Root(): &Item{Manifest: w.m, Name: "update.bin"}},
		Tell: func(e Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		},
	}
	if change != nil {
		change(&cfg)
	}
	n, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	n.origin = func(item *Item) (originCloser, error) {
		if o := w.others[item.Manifest.Root()]; o != nil {
			return counted{o, &w.drawn}, nil
		}
		if w.origin == nil {
			return nil, nil
		}
		return counted{w.origin, &w.drawn}, nil
	}
	w.node = n
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	srv := publicweb.NewServer(n, slog.New(slog.DiscardHandler))
	wg.Go(func() {
		if err := n.Run(ctx); err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
	wg.Go(func() { _ = publicweb.Serve(ctx, srv, func() error { return srv.Serve(w.pipes) }) })
	_ = n.lives.Await(ctx) // which ends only after it
	w.stop = sync.OnceFunc(func() {
		cancel()
		w.client.CloseIdleConnections()
		wg.Wait()
		gate.Close()
	})
	w.t.Cleanup(w.stop)
}

func (w *world) told(kind string) (out []Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Event == kind {
			out = append(out, e)
		}
	}
	return out
}

func (w *world) url(root piecehash.Root) string { return "http://node/content/" + root.String() }

// ask sends a request with header fields, name after name with its value.
func (w *world) ask(method string, root piecehash.Root, header ...string) *http.Response {
	w.t.Helper()
	req, err := http.NewRequest(method, w.url(root), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp
}

// wants checks that an answer has the status and exactly these bytes.
func wants(t *testing.T, what string, resp *http.Response, status int, body []byte) {
	t.Helper()
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || !bytes.Equal(got, body) {
		t.Errorf("%s: status %d with %d bytes (%v), want %d with %d", what, resp.StatusCode, len(got), err, status, len(body))
	}
}

// fill puts the content into the store, all but some pieces; with none missing it is sealed.
func (w *world) fill(missing ...int) {
	w.t.Helper()
	p, err := w.store.Begin(context.Background(), w.m)
	if err != nil {
		w.t.Fatal(err)
	}
	skip := make(map[int]bool)
	for _, i := range missing {
		skip[i] = true
	}
	for i := range w.m.Pieces() {
		if skip[i] {
			continue
		}
		if _, err := p.Put(i, w.piece(i)); err != nil {
			w.t.Fatal(err)
		}
	}
	if len(missing) == 0 {
		f, err := p.Seal(context.Background())
		if err != nil {
			w.t.Fatal(err)
		}
		f.Close()
	}
	if err := p.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) piece(i int) []byte { return w.data[w.m.Offset(i):][:w.m.PieceSize(i)] }

// pipes is a listener in memory.
type pipes struct {
	ch   chan net.Conn
	done chan struct{}
	once sync.Once
}

func newPipes() *pipes { return &pipes{ch: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case p.ch <- b:
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.done:
		return nil, errors.New("nobody listens")
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.ch:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }
