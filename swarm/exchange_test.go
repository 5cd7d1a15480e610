package swarm_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/swarm"
	"github.com/dunlin-project/dunlin/swarm/swarmtest"
)

// storeSink checks pieces and puts them into a part, as fetch does.
type storeSink struct {
	part *fetchtest.Part
	room *swarm.Room

	mu       sync.Mutex
	progress int
}

func (s *storeSink) Progress(_ context.Context, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress += n
}

func (s *storeSink) Piece(i int, b []byte) error {
	if _, err := s.part.Put(i, b); err != nil {
		return err
	}
	if s.room != nil {
		s.room.Say(fetch.SayHave{First: i, Count: 1})
	}
	return nil
}

func join(t testing.TB, n *swarm.Node, h swarm.Holding) *swarm.Room {
	t.Helper()
	r, err := n.Join(h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// next waits for the next event of the wanted type and skips others.
func next[T fetch.Heard](t testing.TB, ch <-chan fetch.Heard) T {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case h, ok := <-ch:
			if !ok {
				t.Fatal("the room has ended")
			}
			if x, ok := h.(T); ok {
				return x
			}
		case <-timeout:
			var zero T
			t.Fatalf("no %T in time", zero)
		}
	}
}

func TestExchange(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 5<<20+77, 256<<10)
	lan := swarmtest.Start(t, 3, nil)
	join(t, lan.Nodes[0], fetchtest.FullPart(m, data))

	// Node 1 takes everything from node 0, node 2 from node 1, as it comes.
	parts := []*fetchtest.Part{fetchtest.NewPart(m), fetchtest.NewPart(m)}
	var wg sync.WaitGroup
	for k, part := range parts {
		r := join(t, lan.Nodes[k+1], part)
		wg.Go(func() { download(t, r, part, lan.Nodes[k].ID()) })
	}
	wg.Wait()
	for _, part := range parts {
		for i := range m.Pieces() {
			if want := data[m.Offset(i) : m.Offset(i)+m.PieceSize(i)]; !bytes.Equal(part.Piece(i), want) {
				t.Fatalf("piece %d differs", i)
			}
		}
	}
	for i, want := range []int64{int64(len(data)), int64(len(data)), 0} {
		if got := lan.Nodes[i].Served(); got != want {
			t.Errorf("node %d served %d bytes, want %d", i, got, want)
		}
	}
}

// download gets every piece from one member, as soon as it has it.
func download(t testing.TB, r *swarm.Room, part *fetchtest.Part, from fetch.PeerID) {
	sink := &storeSink{part: part, room: r}
	var src fetch.Peer
	get := func(first, count int) {
		for i := first; i < first+count; i++ {
			if part.Piece(i) != nil {
				continue
			}
			if err := src.Fetch(t.Context(), i, sink); err != nil {
				t.Errorf("fetch %d: %v", i, err)
				return
			}
		}
	}
	for h := range r.Hear() {
		switch h := h.(type) {
		case fetch.Joined:
			if h.ID != from {
				continue
			}
			src = h.Peer
			for i := range h.Have.Len() {
				if h.Have.Has(i) {
					get(i, 1)
				}
			}
		case fetch.Said:
			if s, ok := h.What.(fetch.SayHave); ok && h.ID == from {
				get(s.First, s.Count)
			}
		}
		if part.Bitmap().Full() {
			return
		}
	}
}
