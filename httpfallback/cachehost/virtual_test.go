package cachehost

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

const piece = 16 << 10

// node is a caching node in virtual time.
type node struct {
	dead   atomic.Bool  // takes connections and never answers
	gone   atomic.Bool  // takes none
	silent atomic.Bool  // sends nothing of content
	pace   atomic.Int64 // nanoseconds that a piece takes
	status atomic.Int32 // of a look; 0 is 200
	again  time.Duration
	looks  atomic.Int32
	asked  atomic.Int32 // for content
}

// world is some nodes by their base URLs, an origin, and one content.
type world struct {
	nodes  map[string]*node
	origin atomic.Int32 // pieces that it gave
	thin   atomic.Int64 // nanoseconds that it takes for a piece
	data   []byte
	m      *piecehash.Manifest
}

func newWorld(names ...string) *world {
	w := &world{nodes: make(map[string]*node)}
	for _, n := range names {
		w.nodes["http://"+n] = new(node)
	}
	w.data, w.m = fetchtest.Content(11, 8*piece, piece)
	return w
}

func (w *world) at(url string) *node {
	base, _, _ := strings.Cut(url, "/content/")
	return w.nodes[base]
}

// hosts knows all nodes by the settings.
func (w *world) hosts(t *testing.T) *Hosts {
	cfg := Config{Source: Static}
	for base := range w.nodes {
		cfg.Static = append(cfg.Static, base)
	}
	h := newHosts(t, cfg)
	h.head = func(ctx context.Context, url string) (httpfallback.Answer, error) {
		n := w.at(url)
		n.looks.Add(1)
		switch {
		case n.gone.Load():
			return httpfallback.Answer{}, errors.New("connection refused")
		case n.dead.Load():
			<-ctx.Done()
			return httpfallback.Answer{}, ctx.Err()
		case n.status.Load() != 0:
			return httpfallback.Answer{Status: int(n.status.Load()), Length: -1, Again: n.again}, nil
		}
		return httpfallback.Answer{Status: http.StatusOK, Length: int64(len(w.data))}, nil
	}
	h.open = func(url string, _ piecehash.Content) (source, error) { return &nodeSource{w, w.at(url)}, nil }
	return h
}

// nodeSource is the content at a node.
type nodeSource struct {
	w *world
	n *node
}

func (s *nodeSource) Free() (time.Time, bool) { return time.Time{}, true }
func (s *nodeSource) Close() error            { return nil }

func (s *nodeSource) Fetch(ctx context.Context, first, count int, _ fetch.Reason, sink fetch.Sink) error {
	s.n.asked.Add(1)
	for i := first; i < first+count; i++ {
		for s.n.silent.Load() || s.n.dead.Load() {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case <-time.After(time.Duration(s.n.pace.Load())):
		case <-ctx.Done():
			return ctx.Err()
		}
		if s.n.gone.Load() {
			return fault.New(fault.Unavailable, "connection reset")
		}
		if err := s.w.give(ctx, i, sink); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) give(ctx context.Context, i int, sink fetch.Sink) error {
	b := w.data[w.m.Offset(i) : w.m.Offset(i)+w.m.PieceSize(i)]
	sink.Progress(ctx, len(b))
	return sink.Piece(i, b)
}

// Fetch implements fetch.Origin for the origin itself.
func (w *world) Fetch(ctx context.Context, first, count int, _ fetch.Reason, sink fetch.Sink) error {
	for i := first; i < first+count; i++ {
		w.origin.Add(1)
		time.Sleep(time.Duration(w.thin.Load()))
		if err := w.give(ctx, i, sink); err != nil {
			return err
		}
	}
	return nil
}

// get fetches all pieces and returns how long that took.
func (w *world) get(t *testing.T, v *Via) time.Duration {
	t.Helper()
	began := time.Now()
	s := &fetchtest.Sink{M: w.m}
	if err := v.Fetch(t.Context(), 0, w.m.Pieces(), fetch.Own, s); err != nil {
		t.Errorf("fetch: %v", err)
	}
	if n := len(s.Order()); n != w.m.Pieces() {
		t.Errorf("%d pieces were handed over, want %d", n, w.m.Pieces())
	}
	return time.Since(began)
}

// TestADeadNodeCostsOneTimeout for a whole process, however many contents are fetched: at once, and later. When it is back it is
// used again, and nobody has waited for that.
func TestADeadNodeCostsOneTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a")
		h, n := w.hosts(t), w.nodes["http://a"]
		n.dead.Store(true)
		var wg sync.WaitGroup
		began := time.Now()
		for range 20 {
			wg.Go(func() { w.get(t, h.NewVia(w.m.Content, w)) })
		}
		wg.Wait()
		if took := time.Since(began); took != answerWithin || n.looks.Load() != 1 || n.asked.Load() != 0 {
			t.Errorf("20 fetches took %v, with %d looks and %d requests; want one timeout of %v", took, n.looks.Load(), n.asked.Load(), answerWithin)
		}
		for end := time.Now().Add(time.Hour); time.Now().Before(end); time.Sleep(time.Second) {
			if took := w.get(t, h.NewVia(w.m.Content, w)); took != 0 {
				t.Fatalf("a later fetch took %v", took)
			}
		}
		// 15 s, doubling to 10 min: 7 looks in the first half hour, then one in 10 to 12.5 min.
		if looks := n.looks.Load(); looks < 8 || looks > 12 {
			t.Errorf("%d looks in an hour", looks)
		}
		n.dead.Store(false)
		time.Sleep(mostPause * 3 / 2)
		given := w.origin.Load()
		w.get(t, h.NewVia(w.m.Content, w)) // has it looked at
		synctest.Wait()
		w.get(t, h.NewVia(w.m.Content, w))
		if w.origin.Load() != given+int32(w.m.Pieces()) || n.asked.Load() != 1 {
			t.Errorf("after it came back it was asked %d times, the origin gave %d pieces", n.asked.Load(), w.origin.Load()-given)
		}
	})
}

// TestANodeDiesInTheMiddle: its connection breaks, or just stays silent. What is left comes from elsewhere, at most two looks
// later, and a fetch after that waits for nothing.
func TestANodeDiesInTheMiddle(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		die  func(n *node)
		most time.Duration
	}{
		"breaks":      {func(n *node) { n.gone.Store(true) }, 0},
		"falls quiet": {func(n *node) { n.dead.Store(true) }, 2*quietFor + answerWithin},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld("a")
				h, n := w.hosts(t), w.nodes["http://a"]
				v, s := h.NewVia(w.m.Content, w), &fetchtest.Sink{M: w.m}
				s.After = func(i int) {
					if i == 2 {
						c.die(n)
					}
				}
				began := time.Now()
				if err := v.Fetch(t.Context(), 0, 8, fetch.Own, s); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > c.most || w.origin.Load() != 5 || len(s.Order()) != 8 {
					t.Errorf("took %v, the origin gave %d of 5 pieces, %v were handed over", took, w.origin.Load(), s.Order())
				}
				if took := w.get(t, h.NewVia(w.m.Content, w)); took != 0 {
					t.Errorf("the next fetch took %v", took)
				}
			})
		})
	}
}

// TestASlowNodeIsNotDead: it fetches what it does not have, and is waited for as long as it says that it is there.
func TestASlowNodeIsNotDead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a")
		h, n := w.hosts(t), w.nodes["http://a"]
		n.silent.Store(true)
		time.AfterFunc(12*time.Second, func() { n.silent.Store(false) })
		w.get(t, h.NewVia(w.m.Content, w))
		if w.origin.Load() != 0 || n.asked.Load() != 1 || n.looks.Load() < 4 {
			t.Errorf("the origin gave %d pieces; the node was asked %d times and looked at %d", w.origin.Load(), n.asked.Load(), n.looks.Load())
		}
	})
}

// TestACrawlingNode: one that trickles does not hold up an update where the origin is quick, and is used where that is no quicker.
// What the device's own limits hold back is not held against it.
func TestACrawlingNode(t *testing.T) {
	t.Parallel()
	const perPiece = 5500 * time.Millisecond // 2.9 KiB/s: two pieces until it is judged
	for name, c := range map[string]struct {
		pace, thin, hold time.Duration
		origin           int32 // pieces it gives in two fetches
	}{
		"quick origin": {perPiece, 0, 0, 6 + 8},
		"thin line":    {perPiece, perPiece, 0, 6},
		"own limit":    {0, 0, perPiece, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld("a")
				h, n := w.hosts(t), w.nodes["http://a"]
				n.pace.Store(int64(c.pace))
				w.thin.Store(int64(c.thin))
				v := h.NewVia(w.m.Content, w)
				for range 2 {
					s := &fetchtest.Sink{M: w.m, Hold: func(context.Context, int) { time.Sleep(c.hold) }}
					if err := v.Fetch(t.Context(), 0, 8, fetch.Own, s); err != nil || len(s.Order()) != 8 {
						t.Errorf("%v, pieces %v", err, s.Order())
					}
				}
				if got := w.origin.Load(); got != c.origin {
					t.Errorf("the origin gave %d pieces, want %d", got, c.origin)
				}
			})
		})
	}
}

// TestRefusals: a node that does not have a content, may not give it or cannot now is left alone for this content, as long as it
// says within bounds, and is no worse for others.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		again  time.Duration
		pause  time.Duration
	}{
		"forbidden":        {http.StatusForbidden, 0, absentFor},
		"unknown":          {http.StatusNotFound, 0, absentFor},
		"a redirect":       {http.StatusFound, 0, absentFor},
		"busy":             {http.StatusServiceUnavailable, 20 * time.Second, 20 * time.Second},
		"busy, no word":    {http.StatusServiceUnavailable, 0, laterFor},
		"broken":           {http.StatusInternalServerError, 0, laterFor},
		"too many from us": {http.StatusTooManyRequests, 7 * time.Second, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld("a", "b")
				h := w.hosts(t)
				order := h.order(time.Now(), w.m.Root())
				n, other := w.nodes[order[0].name], w.nodes[order[1].name]
				n.status.Store(int32(c.status))
				n.again = c.again
				v := h.NewVia(w.m.Content, w)
				w.get(t, v)
				time.Sleep(c.pause - time.Second)
				w.get(t, v)
				if n.looks.Load() != 1 || n.asked.Load() != 0 || other.asked.Load() != 2 || w.origin.Load() != 0 {
					t.Errorf("looked at %d times, asked %d; the other was asked %d times, the origin gave %d", n.looks.Load(), n.asked.Load(), other.asked.Load(), w.origin.Load())
				}
				if h.isDead(order[0]) {
					t.Error("a refusal counts as death")
				}
				n.status.Store(0)
				time.Sleep(2 * time.Second)
				w.get(t, v)
				if n.asked.Load() != 1 {
					t.Errorf("asked %d times when its time was over", n.asked.Load())
				}
			})
		})
	}
}

// TestLinkedNodes: while a node is a member of the site nothing is asked by HTTP, and what is under way is cut.
func TestLinkedNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a")
		h, n := w.hosts(t), w.nodes["http://a"]
		v := h.NewVia(w.m.Content, w)
		n.silent.Store(true)
		time.AfterFunc(time.Second, func() { v.Linked(1) })
		if took := w.get(t, v); took != time.Second || w.origin.Load() != 8 {
			t.Errorf("took %v, the origin gave %d pieces", took, w.origin.Load())
		}
		n.silent.Store(false)
		w.get(t, v)
		if w.origin.Load() != 16 || n.asked.Load() != 1 || h.isDead(h.static[0]) {
			t.Errorf("linked: the origin gave %d pieces, the node was asked %d times", w.origin.Load(), n.asked.Load())
		}
		v.Linked(0)
		w.get(t, v)
		if w.origin.Load() != 16 || n.asked.Load() != 2 {
			t.Errorf("link gone: the origin gave %d pieces, the node was asked %d times", w.origin.Load(), n.asked.Load())
		}
	})
}

// TestTheOriginWaits for a node that may deliver, for as long as it is told; and not where there is none, or none that has the content.
func TestTheOriginWaits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		nodes  []string
		change func(n *node)
		waits  bool
	}{
		"dead":    {[]string{"a"}, func(n *node) { n.gone.Store(true) }, true},
		"busy":    {[]string{"a"}, func(n *node) { n.status.Store(http.StatusServiceUnavailable) }, true},
		"unknown": {[]string{"a"}, func(n *node) { n.status.Store(http.StatusNotFound) }, false},
		"nobody":  {nil, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(c.nodes...)
				h := w.hosts(t)
				h.insist = time.Minute
				for _, n := range w.nodes {
					c.change(n)
				}
				v, began := h.NewVia(w.m.Content, w), time.Now()
				err := v.Fetch(t.Context(), 0, 8, fetch.Own, &fetchtest.Sink{M: w.m})
				if c.waits != fault.Is(err, fault.Unavailable) || c.waits == (err == nil) || (w.origin.Load() > 0) == c.waits {
					t.Fatalf("%v, the origin gave %d pieces", err, w.origin.Load())
				}
				stats, err := fetch.File(t.Context(), fetchtest.NewPart(w.m), fetch.Options{Origin: v, Patience: 2 * time.Minute})
				if err != nil || stats.From.Origin != int64(len(w.data)) || c.waits != (time.Since(began) >= time.Minute) || time.Since(began) > 90*time.Second {
					t.Errorf("%v after %v: %+v", err, time.Since(began), stats)
				}
			})
		})
	}
}

// TestANodeComesInTime: the origin waits for it, and gives nothing.
func TestANodeComesInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a")
		h, n := w.hosts(t), w.nodes["http://a"]
		h.insist = 2 * time.Minute
		n.dead.Store(true)
		time.AfterFunc(20*time.Second, func() { n.dead.Store(false) })
		stats, err := fetch.File(t.Context(), fetchtest.NewPart(w.m), fetch.Options{Origin: h.NewVia(w.m.Content, w), Patience: 3 * time.Minute})
		if err != nil || stats.From.Origin != 0 || w.origin.Load() != 0 || stats.Elapsed >= h.insist {
			t.Errorf("%v: %+v", err, stats)
		}
	})
}

// TestFirstLook: discovery gets its moment once, and no longer than until a node is found.
func TestFirstLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("192.0.2.1:7681")
		settings := w.hosts(t)
		h := newHosts(t, Config{})
		h.head, h.open = settings.head, settings.open
		if took := w.get(t, h.NewVia(w.m.Content, w)); took != firstLook {
			t.Errorf("with nobody there it took %v", took)
		}
		if took := w.get(t, h.NewVia(w.m.Content, w)); took != 0 {
			t.Errorf("the second time it took %v", took)
		}
		h = newHosts(t, Config{})
		h.head, h.open = settings.head, settings.open
		given := w.origin.Load()
		time.AfterFunc(50*time.Millisecond, func() { h.Found("node", addr("192.0.2.1:7681")) })
		if took := w.get(t, h.NewVia(w.m.Content, w)); took != 50*time.Millisecond || w.origin.Load() != given {
			t.Errorf("a node was found; it took %v, and the origin gave %d pieces", took, w.origin.Load()-given)
		}
	})
}

// TestNobodyDelivers: without an origin the error says that it is the nodes.
func TestNobodyDelivers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a")
		h := w.hosts(t)
		w.nodes["http://a"].gone.Store(true)
		err := h.NewVia(w.m.Content, nil).Fetch(t.Context(), 0, 1, fetch.Own, &fetchtest.Sink{M: w.m})
		if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "no caching node delivers it") {
			t.Errorf("error %v", err)
		}
	})
}
