package page

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/history"
)

// subject is whom the tests' pages are about.
type subject struct {
	look  Look
	moved atomic.Int64 // bytes, of everything
	peers []Peer
}

func (s *subject) Look() Look { return s.look }

func (s *subject) Counters() Counters {
	c := Counters{Peers: append([]Peer{}, s.peers...)}
	for i := range c.Total {
		c.Total[i] = s.moved.Load()
	}
	for i := range c.Peers {
		c.Peers[i].Received, c.Peers[i].Sent = s.moved.Load(), s.moved.Load()
	}
	return c
}

func newPage(t *testing.T, s Subject) *Page {
	t.Helper()
	p, err := New(Config{Listen: "127.0.0.1:0", Subject: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// ask has the handler answer a request as a browser on this machine makes it, but for what change does.
func ask(p *Page, method, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:7682"+path, nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	p.Handler().ServeHTTP(w, r)
	return w
}

// TestEverythingIsBounded: a thousand of each make no large page.
func TestEverythingIsBounded(t *testing.T) {
	t.Parallel()
	s := hostileLook(Device)
	long := strings.Repeat("long ", 10000)
	for i := range 1000 {
		v := &fetch.View{}
		for range 1000 {
			v.Sources = append(v.Sources, fetch.Source{ID: fetch.PeerID(long), Bytes: 1})
		}
		s.look.Facts = append(s.look.Facts, Fact{Name: long, Value: long})
		s.look.Transfers = append(s.look.Transfers, Transfer{Name: long, Sources: v})
		s.look.Items = append(s.look.Items, Item{Name: long, Title: long, Detail: long})
		s.look.Decisions = append(s.look.Decisions, Decision{What: long, Why: long})
		s.peers = append(s.peers, Peer{ID: fetch.PeerID(fmt.Sprint(i)), Addr: long})
	}
	p := newPage(t, s)
	p.sample(time.Now())
	page := ask(p, "GET", "/", nil).Body
	if page.Len() > 400<<10 {
		t.Errorf("the page has %d bytes", page.Len())
	}
	if data := ask(p, "GET", "/data.json", nil).Body; data.Len() > 400<<10 {
		t.Errorf("the data has %d bytes", data.Len())
	}
	if !strings.Contains(page.String(), "And 952 more.") || !strings.Contains(page.String(), "And 993 more.") {
		t.Error("it does not say how many are left out")
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	s := &subject{look: Look{Kind: Device}, peers: []Peer{{ID: "a", Since: time.Unix(1, 0)}}}
	p := newPage(t, s)
	at := func(sec float64) time.Time { return p.born.Add(time.Duration(sec * float64(time.Second))) }
	p.sample(at(0))
	for i := range 10 {
		s.moved.Add(1 << 20)
		p.sample(at(float64(i + 1)))
	}
	snap := p.snapshot(time.Now())
	if snap.Now.Origin != 1<<20 || snap.Peers[0].In != 1<<20 || snap.Peers[0].Out != 1<<20 {
		t.Errorf("%+v %+v", snap.Now, snap.Peers)
	}
	for i := range 4 {
		p.sample(at(float64(i + 11)))
	}
	if snap = p.snapshot(time.Now()); snap.Now.In() != 0 {
		t.Errorf("nothing has moved for four seconds: %+v", snap.Now)
	}
	s.moved.Store(3 << 20) // another connection, which begins to count at 0; and other counters
	s.peers = []Peer{{ID: "a", Since: time.Unix(2, 0)}}
	p.sample(at(15))
	if snap = p.snapshot(time.Now()); snap.Peers[0].In != 1<<20 || snap.Now.Origin != 0 {
		t.Errorf("after a new connection: %+v %+v", snap.Peers[0], snap.Now)
	}
}

// TestSaved: what a device has kept, and what a node has given away, without what the origin gave for it.
func TestSaved(t *testing.T) {
	t.Parallel()
	a := history.Amounts{}
	a[history.FromOrigin], a[history.FromPeers], a[history.Kept] = 25, 75, 99
	a[history.ToDevices], a[history.ByHTTP], a[history.Ahead] = 10, 5, 99
	if s := sumOf(a, Device); s.Delivered != 99 || s.Saved != 74 {
		t.Errorf("device: %+v", s)
	}
	if s := sumOf(a, Node); s.Delivered != 15 || s.Saved != -10 {
		t.Errorf("node that has fetched ahead: %+v", s)
	}
}

func TestListenIsLoopbackOnly(t *testing.T) {
	t.Parallel()
	for addr, good := range map[string]bool{
		"127.0.0.1:7682": true, "127.9.9.9:0": true, "[::1]:7682": true, "[::ffff:127.0.0.1]:80": true,
		"0.0.0.0:7682": false, "[::]:7682": false, ":7682": false, "10.0.0.7:7682": false, "localhost:7682": false, "127.0.0.1": false,
		"[::1%lo]:80": false, "": false, "off": false, "[fe80::1]:80": false,
	} {
		err := CheckListen(addr)
		if good != (err == nil) || err != nil && !fault.Is(err, fault.Usage) {
			t.Errorf("%q: %v", addr, err)
		}
		if _, err := New(Config{Listen: addr, Subject: &subject{}}); !good && !fault.Is(err, fault.Usage) {
			t.Errorf("New with %q: %v", addr, err)
		}
	}
}

func TestATakenPort(t *testing.T) {
	t.Parallel()
	first := newPage(t, &subject{})
	addr := strings.TrimSuffix(strings.TrimPrefix(first.URL(), "http://"), "/")
	if _, err := New(Config{Listen: addr, Subject: &subject{}}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a chosen port that is taken: %v", err)
	}
	second, err := New(Config{Listen: addr, Elsewhere: true, Subject: &subject{}})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if second.URL() == first.URL() || !strings.HasPrefix(second.URL(), "http://127.0.0.1:") {
		t.Errorf("%s and %s", first.URL(), second.URL())
	}
}

// TestRun serves over a socket while counters move, from several readers at once, and leaves its history on the disk.
func TestRun(t *testing.T) {
	t.Parallel()
	s := hostileLook(Node)
	file := t.TempDir() + "/history.json"
	p, err := New(Config{Listen: "127.0.0.1:0", Subject: s, History: file})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	readers := make(chan error, 4)
	for range cap(readers) {
		go func() {
			for range 5 {
				s.moved.Add(1 << 20)
				for _, path := range []string{"", "data.json", "data.json?sections=1"} {
					res, err := http.Get(p.URL() + path)
					if err != nil {
						readers <- err
						return
					}
					if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
						readers <- fmt.Errorf("%s: %s, %w", path, res.Status, err)
						return
					}
					res.Body.Close()
				}
			}
			readers <- nil
		}()
	}
	for range cap(readers) {
		if err := <-readers; err != nil {
			t.Error(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	now := time.Now()
	got := history.Open(file, nil).Hours(now.Add(-2*time.Hour), now.Add(2*time.Hour))
	if got[history.ByHTTP] != 20<<20 {
		t.Errorf("the history has %d bytes, want %d", got[history.ByHTTP], 20<<20)
	}
	if c, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(p.URL(), "http:"), "/")); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}

func TestRoundUp(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]int64{
		0: 1 << 10, 1: 1 << 10, 1 << 10: 1 << 10, 1<<10 + 1: 2 << 10, 300 << 10: 500 << 10, 501 << 10: 1 << 20, 7 << 20: 10 << 20,
		120 << 30: 200 << 30, 1 << 50: 2000 << 40,
	} {
		if got := roundUp(n); got != want {
			t.Errorf("%d: %d, want %d", n, got, want)
		}
	}
}
