package swarm_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm"
	"github.com/dunlin-project/dunlin/swarm/swarmtest"
)

// lacking is a holding that lacks one piece.
func lacking(m *piecehash.Manifest, data []byte, lacks int) *fetchtest.Part {
	p := fetchtest.NewPart(m)
	for i := range m.Pieces() {
		if i != lacks {
			p.Put(i, data[m.Offset(i):m.Offset(i)+m.PieceSize(i)])
		}
	}
	return p
}

func TestPeerContract(t *testing.T) {
	t.Parallel()
	const lacks = 5
	data, m := fetchtest.Content(1, 20*256<<10+1, 256<<10)
	lan := swarmtest.Start(t, 2, nil)
	join(t, lan.Nodes[0], lacking(m, data, lacks))
	p := next[fetch.Joined](t, join(t, lan.Nodes[1], fetchtest.NewPart(m)).Hear()).Peer
	fetchtest.TestPeer(t, m, lacks, func(*testing.T) fetch.Peer { return p })
}

// lying holds every piece with one bit flipped.
type lying struct{ *fetchtest.Part }

func (l lying) ReadPiece(i int, buf []byte) ([]byte, error) {
	b, err := l.Part.ReadPiece(i, buf)
	if err == nil {
		b[len(b)/2] ^= 1
	}
	return b, err
}

func TestLiarIsBanned(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 3<<20, 256<<10)
	lan := swarmtest.Start(t, 2, nil)
	join(t, lan.Nodes[0], lying{fetchtest.FullPart(m, data)})
	r := join(t, lan.Nodes[1], fetchtest.NewPart(m))
	ch := r.Hear()
	j := next[fetch.Joined](t, ch)
	sink := &storeSink{part: fetchtest.NewPart(m)}
	err := j.Peer.Fetch(t.Context(), 2, sink)
	var bad *piecehash.Mismatch
	if !errors.As(err, &bad) || bad.Piece != 2 {
		t.Fatalf("got %v, want the mismatch of piece 2", err)
	}
	if l := next[fetch.Left](t, ch); l.ID != j.ID {
		t.Errorf("%v left", l.ID)
	}
	for len(lan.Nodes[1].Peers()) > 0 {
		time.Sleep(time.Millisecond)
	}
	// Neither side's dials bring it back.
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if len(lan.Nodes[1].Peers()) > 0 {
			t.Fatal("the liar is back")
		}
	}
	if err := j.Peer.Fetch(t.Context(), 3, sink); err == nil {
		t.Error("the old peer still gives pieces")
	}
}

// TestSinkErrorIsNoBan: a full disk is not the peer's fault.
func TestSinkErrorIsNoBan(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 1<<20, 256<<10)
	lan := swarmtest.Start(t, 2, nil)
	join(t, lan.Nodes[0], fetchtest.FullPart(m, data))
	p := next[fetch.Joined](t, join(t, lan.Nodes[1], fetchtest.NewPart(m)).Hear()).Peer
	full := errors.New("the disk is full")
	if err := p.Fetch(t.Context(), 0, &fetchtest.Collector{M: m, Fail: full}); err != full {
		t.Errorf("got %v", err)
	}
	if err := p.Fetch(t.Context(), 0, &fetchtest.Collector{M: m}); err != nil {
		t.Error(err)
	}
}

// TestEverythingIsHeard: what one says, the other hears, whoever came first.
func TestEverythingIsHeard(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 40*256<<10, 256<<10)
	lan := swarmtest.Start(t, 3, nil)
	first := join(t, lan.Nodes[0], fetchtest.NewPart(m))
	first.Say(fetch.SayClaim{First: 3, Count: 2, Rate: 5, Done: 6}) // before anybody hears
	first.Say(fetch.SayClaim{First: 30, Count: 2})
	first.Say(fetch.SayRelease{First: 30, Count: 2})
	first.Say(fetch.SayHave{First: 10, Count: 5})

	second := join(t, lan.Nodes[1], lacking(m, data, 0))
	ch := second.Hear()
	j := next[fetch.Joined](t, ch)
	if j.ID != lan.Nodes[0].ID() || j.Have.Count() != 5 || !j.Have.Has(14) || j.RTT <= 0 {
		t.Errorf("joined: %v with %d pieces, rtt %v", j.ID, j.Have.Count(), j.RTT)
	}
	says := []fetch.Saying{
		fetch.SayClaim{First: 3, Count: 2, Rate: 5, Done: 6},
		fetch.SayHave{First: 20, Count: 1},
		fetch.SayClaim{First: 8, Count: 1, Done: 1},
		fetch.SayRelease{First: 8, Count: 1},
	}
	for i, s := range says {
		if i > 0 {
			first.Say(s)
		}
		if got := next[fetch.Said](t, ch); got.What != s || got.ID != j.ID {
			t.Errorf("heard %+v, want %+v", got.What, s)
		}
	}
	first.Say(fetch.SayHave{First: 39, Count: 2}) // nonsense is not said
	first.Say(fetch.SayHave{First: 21, Count: 1})
	if got := next[fetch.Said](t, ch).What; got != (fetch.SayHave{First: 21, Count: 1}) {
		t.Errorf("heard %+v", got)
	}
}

func TestLeaveAndComeBack(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 2<<20, 256<<10)
	lan := swarmtest.Start(t, 2, nil)
	seed := join(t, lan.Nodes[0], fetchtest.FullPart(m, data))
	r := join(t, lan.Nodes[1], fetchtest.NewPart(m))
	ch := r.Hear()
	for range 5 {
		j := next[fetch.Joined](t, ch)
		if !j.Have.Full() {
			t.Error("a seed lacks something")
		}
		if err := j.Peer.Fetch(t.Context(), 1, &fetchtest.Collector{M: m}); err != nil {
			t.Error(err)
		}
		seed.Close()
		next[fetch.Left](t, ch)
		if err := j.Peer.Fetch(t.Context(), 1, &fetchtest.Collector{M: m}); err == nil {
			t.Error("who left still serves")
		}
		seed = join(t, lan.Nodes[0], fetchtest.FullPart(m, data))
	}
	if _, err := lan.Nodes[0].Join(fetchtest.FullPart(m, data)); err == nil {
		t.Error("the same content can be joined twice")
	}
}

// TestStrangersContent: devices that share different things connect and say only that.
func TestStrangersContent(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 1<<20, 256<<10)
	other, m2 := fetchtest.Content(2, 1<<20, 256<<10)
	lan := swarmtest.Start(t, 2, nil)
	join(t, lan.Nodes[0], fetchtest.FullPart(m, data))
	ch := join(t, lan.Nodes[1], fetchtest.FullPart(m2, other)).Hear()
	next[fetch.Noticed](t, ch)
	next[fetch.Answered](t, ch)
}

// TestReconnect: a node that comes back with its key is found again.
func TestReconnect(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 1<<20, 256<<10)
	var cfg swarm.Config
	lan := swarmtest.Start(t, 2, func(i int, c *swarm.Config) {
		if i == 0 {
			cfg = *c
		}
	})
	join(t, lan.Nodes[0], fetchtest.FullPart(m, data))
	ch := join(t, lan.Nodes[1], fetchtest.NewPart(m)).Hear()
	next[fetch.Joined](t, ch)
	lan.Stop(0)
	next[fetch.Left](t, ch)
	n, err := swarm.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	join(t, n, fetchtest.FullPart(m, data))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	p := next[fetch.Joined](t, ch).Peer
	if err := p.Fetch(t.Context(), 0, &fetchtest.Collector{M: m}); err != nil {
		t.Error(err)
	}
}

// gate is a holding whose reads wait.
type gate struct {
	*fetchtest.Part
	open  chan struct{}
	reads atomic.Int32
}

func (g *gate) ReadPiece(i int, buf []byte) ([]byte, error) {
	g.reads.Add(1)
	<-g.open
	return g.Part.ReadPiece(i, buf)
}

// TestCancel: what is not wanted any more is not sent.
func TestCancel(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 8<<20, 1<<20)
	lan := swarmtest.Start(t, 2, nil)
	g := &gate{Part: fetchtest.FullPart(m, data), open: make(chan struct{})}
	join(t, lan.Nodes[0], g)
	p := next[fetch.Joined](t, join(t, lan.Nodes[1], fetchtest.NewPart(m)).Hear()).Peer
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if err := p.Fetch(ctx, i, &fetchtest.Collector{M: m}); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
	for g.reads.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	wg.Wait()
	time.Sleep(100 * time.Millisecond) // the cancels are on their way
	close(g.open)
	if err := p.Fetch(t.Context(), 7, &fetchtest.Collector{M: m}); err != nil {
		t.Fatal(err)
	}
	if n := lan.Nodes[0].Served(); n >= 3<<20 {
		t.Errorf("%d bytes were served, though three of five pieces were cancelled before they were read", n)
	}
	if n := g.reads.Load(); n != 2 {
		t.Errorf("%d pieces were read", n)
	}
}

// TestBusy: requests over the cap are answered at once.
func TestBusy(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 32<<20, 1<<20)
	lan := swarmtest.Start(t, 2, nil)
	g := &gate{Part: fetchtest.FullPart(m, data), open: make(chan struct{})}
	open := sync.OnceFunc(func() { close(g.open) })
	defer open()
	join(t, lan.Nodes[0], g)
	p := next[fetch.Joined](t, join(t, lan.Nodes[1], fetchtest.NewPart(m)).Hear()).Peer
	var busy, served atomic.Int32
	var wg sync.WaitGroup
	for i := range m.Pieces() {
		wg.Go(func() {
			err := p.Fetch(t.Context(), i, &fetchtest.Collector{M: m})
			var b *fetch.BusyError
			switch {
			case err == nil:
				served.Add(1)
			case errors.As(err, &b) && b.RetryAfter > 0:
				if busy.Add(1) == 15 {
					open()
				}
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if busy.Load()+served.Load() != 32 || served.Load() < 1 || served.Load() > 17 {
		t.Errorf("%d served, %d busy", served.Load(), busy.Load())
	}
}

// unreadable holds pieces that cannot be read, as after damage on disk.
type unreadable struct{ *fetchtest.Part }

func (unreadable) ReadPiece(int, []byte) ([]byte, error) { return nil, errors.New("bit rot") }

func TestUnreadablePieceIsAbsent(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 1<<20, 256<<10)
	lan := swarmtest.Start(t, 2, nil)
	join(t, lan.Nodes[0], unreadable{fetchtest.FullPart(m, data)})
	p := next[fetch.Joined](t, join(t, lan.Nodes[1], fetchtest.NewPart(m)).Hear()).Peer
	for range 3 {
		if err := p.Fetch(t.Context(), 1, &fetchtest.Collector{M: m}); !errors.Is(err, fetch.ErrAbsent) {
			t.Errorf("got %v", err)
		}
	}
}

// joinedBy waits until that member has joined.
func joinedBy(t *testing.T, ch <-chan fetch.Heard, id fetch.PeerID) fetch.Joined {
	t.Helper()
	for {
		if j := next[fetch.Joined](t, ch); j.ID == id {
			return j
		}
	}
}

// TestUploadRate: the limit holds over all requesters together.
func TestUploadRate(t *testing.T) {
	t.Parallel()
	const limit = 2 << 20
	data, m := fetchtest.Content(1, 4<<20, 256<<10)
	lan := swarmtest.Start(t, 3, func(i int, c *swarm.Config) {
		if i == 0 {
			c.UploadRate = limit
			c.Peers = nil // it is dialled: of two links that begin at the same moment one goes, and its requests with it
		}
	})
	join(t, lan.Nodes[0], fetchtest.FullPart(m, data))
	var wg sync.WaitGroup
	var peers []fetch.Peer
	for k := 1; k < 3; k++ {
		peers = append(peers, joinedBy(t, join(t, lan.Nodes[k], fetchtest.NewPart(m)).Hear(), lan.Nodes[0].ID()).Peer)
	}
	start := time.Now()
	for _, p := range peers {
		wg.Go(func() {
			for i := range 8 {
				if err := p.Fetch(t.Context(), i, &fetchtest.Collector{M: m}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// 4 MiB at 2 MiB/s, less the burst. Only too fast is wrong: a busy machine may be slower.
	if d := time.Since(start); d < 1800*time.Millisecond {
		t.Errorf("4 MiB took %v at 2 MiB/s", d)
	}
}

func TestLayer(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 3000*16<<10, 16<<10) // a layer of two parts
	lan := swarmtest.Start(t, 3, nil)
	join(t, lan.Nodes[1], fetchtest.FullPart(m, data))
	got, err := lan.Nodes[0].Layer(t.Context(), m.Content)
	if err != nil || !bytes.Equal(got.Layer(), m.Layer()) {
		t.Error("not the layer", err)
	}
	other, err := piecehash.NewContent(piecehash.Root{1}, 1<<30, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lan.Nodes[0].Layer(t.Context(), other); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
	if m, err := lan.Nodes[0].Layer(t.Context(), smallContent(t)); err != nil || m.Pieces() != 1 {
		t.Error("content of one piece has no layer to ask for", err)
	}
}

func smallContent(t *testing.T) piecehash.Content {
	t.Helper()
	_, m := fetchtest.Content(3, 1000, 256<<10)
	return m.Content
}

// TestOffIsOff: without an address nothing listens and nobody can be told where.
func TestOffIsOff(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 1<<20, 256<<10)
	lan := swarmtest.Start(t, 2, func(i int, c *swarm.Config) {
		if i == 1 {
			c.Listen = nil
		}
	})
	if a := lan.Nodes[1].Addrs(); len(a) != 0 {
		t.Errorf("it can be reached at %v", a)
	}
	join(t, lan.Nodes[0], fetchtest.FullPart(m, data)) // but it can fetch
	p := next[fetch.Joined](t, join(t, lan.Nodes[1], fetchtest.NewPart(m)).Hear()).Peer
	if err := p.Fetch(t.Context(), 0, &fetchtest.Collector{M: m}); err != nil {
		t.Error(err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]swarm.Config{
		"short key":      {Key: make([]byte, 5)},
		"long group":     {Group: strings.Repeat("x", 300)},
		"negative rate":  {UploadRate: -1},
		"negative limit": {Limits: swarm.Limits{Links: -1}},
		"no multiaddr":   {Peers: []string{"10.0.0.1:7680"}},
		"no id":          {Peers: []string{"/ip4/10.0.0.1/tcp/7680"}},
		"no address":     {Peers: []string{"/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"}},
		"udp":            {Peers: []string{"/ip4/10.0.0.1/udp/7680/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"}},
		"port 0":         {Peers: []string{"/ip4/10.0.0.1/tcp/0/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"}},
	} {
		if _, err := swarm.New(c); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: got %v, want a usage error", name, err)
		}
	}
}
