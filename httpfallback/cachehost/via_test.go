package cachehost_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/httpfallback/cachehost"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

const piece = 16 << 10

// web serves one content at BASE/content/ROOT, as a node or as an origin does, and counts what it sends.
type web struct {
	*httptest.Server
	sent atomic.Int64
	gets atomic.Int64
}

func newWeb(t *testing.T, m *piecehash.Manifest, data []byte, change func(w http.ResponseWriter, r *http.Request) bool) *web {
	s := new(web)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			s.gets.Add(1)
		}
		if change != nil && change(w, r) {
			return
		}
		if r.URL.Path != "/content/"+m.Root().String() {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(&counted{w, &s.sent}, r, "", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// stage is one fetch of a content by way of nodes.
type stage struct {
	data   []byte
	m      *piecehash.Manifest
	origin *web
	gate   *httpfallback.Gate
	log    bytes.Buffer
}

func newStage(t *testing.T, pieces int) *stage {
	s := new(stage)
	s.data, s.m = fetchtest.Content(uint64(pieces), int64(pieces)*piece-7, piece)
	s.origin = newWeb(t, s.m, s.data, nil)
	s.gate = httpfallback.NewGate(httpfallback.GateConfig{})
	t.Cleanup(func() { s.gate.Close() })
	return s
}

func (s *stage) hosts(t *testing.T, bases ...string) *cachehost.Hosts {
	h, err := cachehost.New(cachehost.Config{Source: cachehost.Static, Static: bases, Log: slog.New(slog.NewTextHandler(&s.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// get fetches the content as a device that shares nothing does.
func (s *stage) get(t *testing.T, h *cachehost.Hosts, opt fetch.Options) fetch.Stats {
	t.Helper()
	o, err := httpfallback.NewOrigin(httpfallback.OriginConfig{
		Gate: s.gate, Content: s.m.Content, URLs: []string{httpfallback.ContentURL(s.origin.URL, s.m.Root())},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	v := h.NewVia(s.m.Content, o)
	defer v.Close()
	opt.Origin = v
	part := fetchtest.NewPart(s.m)
	stats, err := fetch.File(t.Context(), part, opt)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for i := range s.m.Pieces() {
		got = append(got, part.Piece(i)...)
	}
	if !bytes.Equal(got, s.data) {
		t.Error("what was fetched is not the content")
	}
	return stats
}

// TestViaIsAnOrigin: with a node, without one, and with one that has died.
func TestViaIsAnOrigin(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"node", "origin", "dead node"} {
		t.Run(way, func(t *testing.T) {
			fetchtest.TestOrigin(t, func(t *testing.T, data []byte, m *piecehash.Manifest) fetch.Origin {
				s := &stage{data: data, m: m, gate: httpfallback.NewGate(httpfallback.GateConfig{})}
				s.origin = newWeb(t, m, data, nil)
				o, err := httpfallback.NewOrigin(httpfallback.OriginConfig{
					Gate: s.gate, Content: m.Content, URLs: []string{httpfallback.ContentURL(s.origin.URL, m.Root())},
				})
				if err != nil {
					t.Fatal(err)
				}
				var h *cachehost.Hosts
				switch way {
				case "node":
					h = s.hosts(t, newWeb(t, m, data, nil).URL)
				case "origin":
					h = s.hosts(t)
				default:
					h = s.hosts(t, closedPort(t))
				}
				v := h.NewVia(m.Content, o)
				t.Cleanup(func() { v.Close(); o.Close(); s.gate.Close() })
				return v
			})
		})
	}
}

// closedPort is the URL of a port where nobody listens.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// mute is the URL of a listener that takes connections and never answers.
func mute(t *testing.T) (url string, taken *atomic.Int64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken = new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			taken.Add(1)
			go func() { io.Copy(io.Discard, c); c.Close() }()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return "http://" + l.Addr().String(), taken
}

// TestAllComesFromANode that has the content: the origin gives nothing, the bytes are counted as a cache's, and its limit holds
// nobody back.
func TestAllComesFromANode(t *testing.T) {
	t.Parallel()
	s := newStage(t, 100)
	node := newWeb(t, s.m, s.data, nil)
	var last fetch.View
	stats := s.get(t, s.hosts(t, node.URL), fetch.Options{Watch: func(v fetch.View) { last = v }})
	n := int64(len(s.data))
	if stats.From != (fetch.From{Cache: n}) || stats.Uses.Cache.Useful != n || stats.Waste != 0 || s.origin.sent.Load() != 0 || node.sent.Load() != n || s.gate.Total() != 0 {
		t.Errorf("%+v; the origin sent %d bytes, the node %d, the content has %d", stats, s.origin.sent.Load(), node.sent.Load(), n)
	}
	if last.Caches != n || last.Others != 0 {
		t.Errorf("the picture says %+v", last)
	}
}

// TestTheLimitOfCaches holds for what comes by HTTP.
func TestTheLimitOfCaches(t *testing.T) {
	t.Parallel()
	s := newStage(t, 64)
	stats := s.get(t, s.hosts(t, newWeb(t, s.m, s.data, nil).URL), fetch.Options{Limits: fetch.Limits{Caches: fetch.NewLimit(2 << 20)}})
	if stats.Elapsed < 300*time.Millisecond { // 1 MiB takes 500 ms, of which 100 may come at once
		t.Errorf("%d bytes took %v", stats.From.Cache, stats.Elapsed)
	}
}

// TestDeadAddresses: a port where nobody listens, and one where nobody answers. Each costs one connection in the life of the
// process, whatever is fetched; the answers of the living are not waited for in vain.
func TestDeadAddresses(t *testing.T) {
	t.Parallel()
	s := newStage(t, 40)
	silent, taken := mute(t)
	node := newWeb(t, s.m, s.data, nil)
	h := s.hosts(t, silent, closedPort(t), node.URL)
	for range 3 {
		if stats := s.get(t, h, fetch.Options{}); stats.From.Origin != 0 || stats.Waste != 0 {
			t.Errorf("%+v", stats)
		}
	}
	if n := taken.Load(); n > 1 {
		t.Errorf("the one that never answers was connected to %d times", n)
	}
	if n := strings.Count(s.log.String(), "does not answer"); n > 2 {
		t.Errorf("%d words about two nodes:\n%s", n, s.log.String())
	}
	dead := s.hosts(t, silent)
	before := taken.Load()
	for range 3 {
		if stats := s.get(t, dead, fetch.Options{}); stats.From.Cache != 0 || stats.From.Origin != int64(len(s.data)) {
			t.Errorf("%+v", stats)
		}
	}
	if n := taken.Load() - before; n != 1 {
		t.Errorf("with no other node it was connected to %d times", n)
	}
}

// TestALiarIsDropped, loudly, and nothing of it is kept. It is told which piece was wrong.
func TestALiarIsDropped(t *testing.T) {
	t.Parallel()
	s := newStage(t, 40)
	bad := bytes.Clone(s.data)
	bad[20*piece] ^= 1
	complaints := make(chan string, 10)
	liar := newWeb(t, s.m, bad, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		complaints <- r.URL.String()
		w.WriteHeader(http.StatusAccepted)
		return true
	})
	h := s.hosts(t, liar.URL)
	stats := s.get(t, h, fetch.Options{})
	select {
	case got := <-complaints:
		if want := "/complain/" + s.m.Root().String() + "?piece=20"; got != want {
			t.Errorf("it was told %q, want %q", got, want)
		}
	default:
		t.Error("it was told nothing")
	}
	if stats.Waste < piece || stats.From.Origin == 0 {
		t.Errorf("%+v", stats)
	}
	if !strings.Contains(s.log.String(), "level=ERROR msg=\"caching node dropped: it sent bytes that are not the content\"") {
		t.Errorf("the log says\n%s", s.log.String())
	}
	asked := liar.gets.Load()
	if stats := s.get(t, h, fetch.Options{}); stats.From.Cache != 0 || liar.gets.Load() != asked {
		t.Errorf("it was asked again: %+v", stats)
	}
}

// TestOnlyLiars: without an origin the error is what it is, and not that nobody is there.
func TestOnlyLiars(t *testing.T) {
	t.Parallel()
	s := newStage(t, 4)
	h := s.hosts(t, newWeb(t, s.m, make([]byte, len(s.data)), nil).URL)
	_, err := fetch.File(t.Context(), fetchtest.NewPart(s.m), fetch.Options{Origin: h.NewVia(s.m.Content, nil)})
	if !fault.Is(err, fault.Untrusted) {
		t.Errorf("error %v", err)
	}
}

// TestAnswersThatAreNoContent go to the next node, and the origin gives nothing.
func TestAnswersThatAreNoContent(t *testing.T) {
	t.Parallel()
	status := func(code int, head ...string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			for _, h := range head {
				k, v, _ := strings.Cut(h, ": ")
				w.Header().Set(k, v)
			}
			w.WriteHeader(code)
			return true
		}
	}
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"403":                    status(http.StatusForbidden),
		"404":                    status(http.StatusNotFound),
		"503":                    status(http.StatusServiceUnavailable),
		"503 for an hour":        status(http.StatusServiceUnavailable, "Retry-After: 3600"),
		"a redirect to the liar": status(http.StatusFound, "Location: /elsewhere"),
		"another length":         status(http.StatusOK, "Content-Length: 5"),
		"503 to a GET, 200 before": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				return false
			}
			return status(http.StatusServiceUnavailable, "Retry-After: 60")(w, r)
		},
		"breaks off": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				return false
			}
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, 40)
			node, odd := newWeb(t, s.m, s.data, nil), newWeb(t, s.m, s.data, answer)
			h := s.hosts(t, node.URL, odd.URL)
			if stats := s.get(t, h, fetch.Options{}); stats.From.Cache != int64(len(s.data)) || stats.Waste != 0 {
				t.Errorf("%+v\n%s", stats, s.log.String())
			}
			if strings.Contains(s.log.String(), "does not answer") || strings.Contains(s.log.String(), "dropped") {
				t.Errorf("it has answered, but the log says\n%s", s.log.String())
			}
		})
	}
}

// TestOneAfterTheOther: a node that breaks in the middle costs no byte of the origin while there is another.
func TestOneAfterTheOther(t *testing.T) {
	t.Parallel()
	s := newStage(t, 600)
	var nodes []*web
	for range 2 {
		nodes = append(nodes, newWeb(t, s.m, s.data, nil))
	}
	var once atomic.Bool
	stats := s.get(t, s.hosts(t, nodes[0].URL, nodes[1].URL), fetch.Options{
		Limits: fetch.Limits{Total: fetch.NewLimit(8 << 20)},
		Progress: func(now fetch.Stats) {
			if now.From.Cache > int64(len(s.data))/3 && once.CompareAndSwap(false, true) {
				for _, n := range nodes {
					if n.gets.Load() > 0 {
						n.CloseClientConnections()
						n.Listener.Close()
					}
				}
			}
		},
	})
	if stats.From.Origin != 0 || nodes[0].gets.Load() == 0 || nodes[1].gets.Load() == 0 {
		t.Errorf("%+v; the nodes were asked %d and %d times", stats, nodes[0].gets.Load(), nodes[1].gets.Load())
	}
}

// TestANodeMoves: a node that announces another address is asked there, in the middle of a content.
func TestANodeMoves(t *testing.T) {
	t.Parallel()
	s := newStage(t, 600)
	old, young := newWeb(t, s.m, s.data, nil), newWeb(t, s.m, s.data, nil)
	h, err := cachehost.New(cachehost.Config{Source: cachehost.LAN})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	at := func(w *web) netip.AddrPort { return netip.MustParseAddrPort(strings.TrimPrefix(w.URL, "http://")) }
	h.Found("node", at(old))
	var once atomic.Bool
	stats := s.get(t, h, fetch.Options{
		Limits: fetch.Limits{Total: fetch.NewLimit(8 << 20)},
		Progress: func(now fetch.Stats) {
			if now.From.Cache > int64(len(s.data))/4 && once.CompareAndSwap(false, true) {
				h.Found("node", at(young))
				old.CloseClientConnections()
				old.Listener.Close()
			}
		},
	})
	if young.gets.Load() == 0 || stats.From.Origin > int64(len(s.data))/2 {
		t.Errorf("%+v; it was asked %d times where it is now", stats, young.gets.Load())
	}
}

// TestLayers come from nodes, too.
func TestLayers(t *testing.T) {
	t.Parallel()
	s := newStage(t, 40)
	node := newWeb(t, s.m, s.data, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/layer/"+s.m.Root().String() {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(s.m.Layer())))
		w.Write(s.m.Layer())
		return true
	})
	m, err := s.hosts(t, closedPort(t), node.URL).Layer(t.Context(), s.m.Content)
	if err != nil || m.Content != s.m.Content {
		t.Errorf("%v, %v", m, err)
	}
	if _, err := s.hosts(t).Layer(t.Context(), s.m.Content); !fault.Is(err, fault.Unavailable) {
		t.Errorf("of nobody: %v", err)
	}
}
