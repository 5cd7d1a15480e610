package swarm_test

import (
	"sync"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/swarm"
	"github.com/dunlin-project/dunlin/swarm/swarmtest"
)

// ear keeps what a room hears.
type ear struct {
	mu    sync.Mutex
	heard []fetch.Heard
}

func listenTo(r *swarm.Room) *ear {
	e := &ear{}
	ch := r.Hear()
	go func() {
		for h := range ch {
			e.mu.Lock()
			e.heard = append(e.heard, h)
			e.mu.Unlock()
		}
	}()
	return e
}

func (e *ear) count(what func(fetch.Heard) bool) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.heard {
		if what(h) {
			n++
		}
	}
	return n
}

// joined counts the members that have joined and not left.
func (e *ear) joined() int {
	return e.count(func(h fetch.Heard) bool { _, ok := h.(fetch.Joined); return ok }) -
		e.count(func(h fetch.Heard) bool { _, ok := h.(fetch.Left); return ok })
}

// said counts the claims and first copies of a device, by the first piece.
func (e *ear) said(id fetch.PeerID, relayed bool, first int) int {
	return e.count(func(h fetch.Heard) bool {
		s, ok := h.(fetch.Said)
		if !ok || s.ID != id || s.Relayed != relayed {
			return false
		}
		switch w := s.What.(type) {
		case fetch.SayHave:
			return w.First == first && w.Drawn
		case fetch.SayClaim:
			return w.First == first
		}
		return false
	})
}

// eventually waits until all is as it must become, and says what is missing when it does not.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// bridged runs n nodes of which those up to the bridge know each other, and those from it on, and nobody else.
func bridged(t *testing.T, n, bridge int) (linked func(i, j int) bool, lan *swarmtest.LAN) {
	t.Helper()
	linked = func(i, j int) bool { return (i <= bridge && j <= bridge) || (i >= bridge && j >= bridge) }
	return linked, swarmtest.Start(t, n, func(i int, c *swarm.Config) {
		var peers []string
		for j, k := 0, 0; j < n; j++ {
			if j == i {
				continue
			}
			if linked(i, j) {
				peers = append(peers, c.Peers[k])
			}
			k++
		}
		c.Peers = peers
	})
}

// TestTwoSubnetsWithABridge: three devices on either side of one that both have as their static peer. Claims and first
// copies cross, once, and nobody hears its own side from the other.
func TestTwoSubnetsWithABridge(t *testing.T) {
	t.Parallel()
	const n, bridge = 7, 3
	_, m := fetchtest.Content(1, 200*256<<10, 256<<10)
	linked, lan := bridged(t, n, bridge)
	rooms, ears := make([]*swarm.Room, n), make([]*ear, n)
	for i, node := range lan.Nodes {
		rooms[i] = join(t, node, fetchtest.NewPart(m))
		ears[i] = listenTo(rooms[i])
	}
	for i, e := range ears {
		want := 3
		if i == bridge {
			want = 6
		}
		eventually(t, "everybody knows its neighbours", func() bool { return e.joined() == want })
	}
	for i, e := range ears {
		if i != bridge {
			eventually(t, "everybody knows that there are seven", func() bool {
				return e.count(func(h fetch.Heard) bool { c, ok := h.(fetch.Crowd); return ok && c.Size == n }) > 0
			})
		}
	}
	for _, sayer := range []int{0, 6, bridge} {
		first := 8 * sayer
		rooms[sayer].Say(fetch.SayClaim{First: first, Count: 4})
		rooms[sayer].Say(fetch.SayHave{First: first + 1, Count: 1, Drawn: true})
		id := lan.Nodes[sayer].ID()
		for i, e := range ears {
			if i != sayer {
				eventually(t, "everybody hears it", func() bool {
					far := !linked(sayer, i)
					return e.said(id, far, first) == 1 && e.said(id, far, first+1) == 1
				})
			}
		}
	}
	time.Sleep(100 * time.Millisecond) // what went in circles would be here by now
	for _, sayer := range []int{0, 6, bridge} {
		id := lan.Nodes[sayer].ID()
		for i, e := range ears {
			far := 0
			if i != sayer && !linked(sayer, i) {
				far = 2
			}
			if got := e.said(id, true, 8*sayer) + e.said(id, true, 8*sayer+1); got != far {
				t.Errorf("node %d heard %d words of %d from others, want %d", i, got, sayer, far)
			}
		}
	}
	// Who is gone says nothing any more; its claims end by themselves.
	lan.Stop(0)
	eventually(t, "the bridge notices", func() bool { return ears[bridge].joined() == 5 })
}

// TestAMeshPassesOnNothing: where all have links nothing comes from others, however much is said.
func TestAMeshPassesOnNothing(t *testing.T) {
	t.Parallel()
	const n = 6
	_, m := fetchtest.Content(1, 200*256<<10, 256<<10)
	lan := swarmtest.Start(t, n, nil)
	rooms, ears := make([]*swarm.Room, n), make([]*ear, n)
	for i, node := range lan.Nodes {
		rooms[i] = join(t, node, fetchtest.NewPart(m))
		ears[i] = listenTo(rooms[i])
	}
	for _, e := range ears {
		eventually(t, "all are there", func() bool { return e.joined() == n-1 })
	}
	time.Sleep(time.Second) // the lists of links have gone round
	for k := range 50 {
		rooms[k%n].Say(fetch.SayClaim{First: k, Count: 1})
		rooms[k%n].Say(fetch.SayHave{First: k, Count: 1, Drawn: true})
	}
	for i, e := range ears {
		for k := range 50 {
			if k%n != i {
				id := lan.Nodes[k%n].ID()
				eventually(t, "it is heard", func() bool { return e.said(id, false, k) >= 1 })
			}
		}
		if got := e.count(func(h fetch.Heard) bool { s, ok := h.(fetch.Said); return ok && s.Relayed }); got > 0 {
			t.Errorf("node %d heard %d words from others", i, got)
		}
	}
}

// TestWhatOthersFilledIsTakenBack: who has no link to the claimer hears of the pieces that it drew only. That the others came
// over the LAN must not keep it waiting until the lease ends, even though the claim's own release comes after its last piece.
func TestWhatOthersFilledIsTakenBack(t *testing.T) {
	t.Parallel()
	_, m := fetchtest.Content(1, 200*256<<10, 256<<10)
	_, lan := bridged(t, 3, 1)
	rooms, ears := make([]*swarm.Room, 3), make([]*ear, 3)
	for i, node := range lan.Nodes {
		rooms[i] = join(t, node, fetchtest.NewPart(m))
		ears[i] = listenTo(rooms[i])
	}
	eventually(t, "the bridge knows both", func() bool { return ears[1].joined() == 2 })
	eventually(t, "the far one knows that there are three", func() bool {
		return ears[2].count(func(h fetch.Heard) bool { c, ok := h.(fetch.Crowd); return ok && c.Size == 3 }) > 0
	})
	eventually(t, "the bridge passes on", func() bool {
		rooms[0].Say(fetch.SayClaim{First: 190, Count: 1})
		return ears[2].said(lan.Nodes[0].ID(), true, 190) > 0
	})
	released := func(first int) int {
		return ears[2].count(func(h fetch.Heard) bool {
			s, ok := h.(fetch.Said)
			return ok && s.Relayed && s.What == (fetch.SayRelease{First: first, Count: 4})
		})
	}
	const drawn, mixed, late = 0, 8, 16
	for _, first := range []int{drawn, mixed, late} {
		rooms[0].Say(fetch.SayClaim{First: first, Count: 4})
		eventually(t, "the claim is heard", func() bool { return ears[2].said(lan.Nodes[0].ID(), true, first) > 0 })
		rooms[0].Say(fetch.SayHave{First: first, Count: 2, Drawn: true})
		rooms[0].Say(fetch.SayHave{First: first + 2, Count: 2, Drawn: first == drawn})
	}
	rooms[0].Say(fetch.SayRelease{First: late, Count: 4}) // as fetch says it: after the last piece
	for _, first := range []int{mixed, late} {
		eventually(t, "the claim that others filled is taken back", func() bool { return released(first) > 0 })
	}
	rooms[0].Say(fetch.SayClaim{First: 100, Count: 1}) // whatever was said before it is heard before it
	eventually(t, "it claims on", func() bool { return ears[2].said(lan.Nodes[0].ID(), true, 100) > 0 })
	for first, want := range map[int]int{drawn: 0, mixed: 1, late: 1} {
		if n := released(first); n != want {
			t.Errorf("the claim of piece %d was taken back %d times, want %d", first, n, want)
		}
	}
}
