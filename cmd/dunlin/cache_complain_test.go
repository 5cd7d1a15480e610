package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/cachenode"
	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/httpfallback/cachehost"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm"
)

// rottenSite is a cache node that runs, its origin, and what lies on its disk.
type rottenSite struct {
	t      *testing.T
	data   []byte
	m      *piecehash.Manifest
	origin *httptest.Server
	ranges func() []string // that the origin was asked for
	dir    string
	parts  *cacheParts
}

func newRottenSite(t *testing.T) *rottenSite {
	t.Helper()
	s := &rottenSite{t: t, dir: t.TempDir()}
	s.data, s.m = fetchtest.Content(3, 3<<20, 256<<10)
	var mu sync.Mutex
	var asked []string
	s.origin = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Header.Get("Range"))
		mu.Unlock()
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.data))
	}))
	t.Cleanup(s.origin.Close)
	s.ranges = func() []string {
		mu.Lock()
		defer mu.Unlock()
		out := asked
		asked = nil
		return out
	}
	opt := cacheOptions{dir: s.dir, listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, groups: []string{"rot"}}
	item := &cachenode.Item{Manifest: s.m, Name: "update", Origins: []string{s.origin.URL + "/update"}}
	log := slog.New(slog.DiscardHandler)
	p, err := newCacheParts(opt, cachenode.Config{Listen: "127.0.0.1:0", Catalogue: cachenode.One{Item: item}, Log: log}, swarm.Config{Role: fetch.Cache}, log)
	if err != nil {
		t.Fatal(err)
	}
	s.parts = p
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx, func(ctx context.Context) error { <-ctx.Done(); return nil }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		p.close()
	})
	return s
}

func (s *rottenSite) url() string { return "http://" + s.parts.node.Addr() }

// file is where the node has the content.
func (s *rottenSite) file() string {
	return filepath.Join(s.dir, "content", "sealed", s.m.Root().String())
}

// drawn is one fetch of a device that is not the one before.
type drawn struct {
	stats fetch.Stats
	nodes []cachehost.Node // as the device knows them at the end
	log   *bytes.Buffer
}

// draw has a new device fetch the content over a link to the node, or by HTTP where that fails.
func (s *rottenSite) draw() drawn {
	s.t.Helper()
	text := new(bytes.Buffer) // read when all that writes to it has ended
	log := slog.New(slog.NewTextHandler(text, &slog.HandlerOptions{Level: slog.LevelInfo}))
	device, err := swarm.New(swarm.Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Peers: s.parts.swarm.Addrs(), Group: "rot", Log: log,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- device.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	hosts, err := cachehost.New(cachehost.Config{Source: cachehost.Static, Static: []string{s.url()}, Shares: true, Log: log})
	if err != nil {
		s.t.Fatal(err)
	}
	defer hosts.Close()
	gate := httpfallback.NewGate(httpfallback.GateConfig{})
	defer gate.Close()
	origin, err := httpfallback.NewOrigin(httpfallback.OriginConfig{Gate: gate, Content: s.m.Content, URLs: []string{s.origin.URL + "/update"}})
	if err != nil {
		s.t.Fatal(err)
	}
	defer origin.Close()
	via := hosts.NewVia(s.m.Content, origin)
	defer via.Close()
	for len(device.Peers()) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	part := fetchtest.NewPart(s.m)
	room, err := device.Join(part)
	if err != nil {
		s.t.Fatal(err)
	}
	defer room.Close()
	stats, err := fetch.File(ctx, part, fetch.Options{Self: device.ID(), Site: room, Origin: via, Log: log})
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range s.m.Pieces() {
		if !bytes.Equal(part.Piece(i), s.data[s.m.Offset(i):s.m.Offset(i)+s.m.PieceSize(i)]) {
			s.t.Errorf("piece %d is wrong", i)
		}
	}
	return drawn{stats, hosts.List(time.Now()), text}
}

// TestACacheNodeHearsOfRotOverALink: a piece that rots on a node's disk after it was first served is drawn over a link; the sender
// is banned, told, and asks its disk: the piece is dropped and fetched again, so that the node is of use to that device by HTTP
// at once, and to the next one over its link.
func TestACacheNodeHearsOfRotOverALink(t *testing.T) {
	t.Parallel()
	s := newRottenSite(t)
	resp, err := http.Get(httpfallback.ContentURL(s.url(), s.m.Root()))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for _, err := os.Stat(s.file()); err != nil; _, err = os.Stat(s.file()) {
		time.Sleep(10 * time.Millisecond)
	}
	if d := s.draw(); d.stats.From.Cache != s.m.Length() || d.stats.Waste != 0 {
		t.Fatalf("before the rot: %+v", d.stats)
	}
	s.ranges()

	const rotten = 5
	at := s.m.Offset(rotten) + 17
	f, err := os.OpenFile(s.file(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{s.data[at] ^ 1}, at); err != nil {
		t.Fatal(err)
	}
	f.Close()

	d := s.draw()
	if d.stats.Uses.Cache.Corrupt != s.m.PieceSize(rotten) {
		t.Errorf("%d bytes were wrong, want those of one piece: %+v", d.stats.Uses.Cache.Corrupt, d.stats)
	}
	log := d.log.String()
	if !strings.Contains(log, "peer banned") || !strings.Contains(log, "told of a wrong piece") || strings.Contains(log, "caching node dropped") {
		t.Errorf("the device's log says\n%s", log)
	}
	if len(d.nodes) != 1 || d.nodes[0].State != cachehost.Ready {
		t.Errorf("by HTTP the node is %+v", d.nodes)
	}
	mended := func() bool {
		b, err := os.ReadFile(s.file())
		return err == nil && bytes.Equal(b, s.data)
	}
	for until := time.Now().Add(30 * time.Second); !mended(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the node has not mended its file")
		}
	}
	if d := s.draw(); d.stats.From.Cache != s.m.Length() || d.stats.Waste != 0 || strings.Contains(d.log.String(), "peer banned") {
		t.Errorf("the next device: %+v\n%s", d.stats, d.log)
	}
}
