package swarm

import (
	"context"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
)

// TestNothingOutlivesRun: when Run returns its goroutines have ended, the channels are closed, and what others hold of
// the node fails instead of hanging. It is not parallel: it counts goroutines.
func TestNothingOutlivesRun(t *testing.T) {
	before, _ := swarmGoroutines()
	data, m := fetchtest.Content(1, 4<<20, 256<<10)
	seed, err := New(Config{Listen: freePort()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seed.Join(fetchtest.FullPart(m, data)); err != nil {
		t.Fatal(err)
	}
	leech, err := New(Config{Peers: seed.Addrs(), Discover: true})
	if err != nil {
		t.Fatal(err)
	}
	r, err := leech.Join(fetchtest.NewPart(m))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{}, 2)
	for _, n := range []*Node{seed, leech} {
		go func() { n.Run(ctx); done <- struct{}{} }()
	}
	ch := r.Hear()
	j := heard[fetch.Joined](t, ch)
	if err := j.Peer.Fetch(t.Context(), 0, &fetchtest.Collector{M: m}); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	<-done
	for range ch { // until it is closed
	}
	if err := j.Peer.Fetch(t.Context(), 1, &fetchtest.Collector{M: m}); err == nil {
		t.Error("a piece came from nowhere")
	}
	late, err := leech.Join(fetchtest.NewPart(m))
	if err == nil {
		t.Error("the same content joined twice")
	} else if r.Close(); late != nil {
		t.Error("a room and an error")
	}
	if late, err = leech.Join(fetchtest.NewPart(m)); err != nil {
		t.Fatal(err)
	}
	if _, ok := <-late.Hear(); ok {
		t.Error("a room after the end is heard")
	}
	late.Say(fetch.SayHave{First: 0, Count: 1})
	late.Close()
	// Readers notice a moment later that their sockets are closed.
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		n, stacks := swarmGoroutines()
		if n <= before {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d goroutines more:\n%s", n-before, stacks)
		}
	}
}
