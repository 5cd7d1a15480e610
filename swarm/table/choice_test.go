package table

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// site is many tables that find each other, in virtual time; a dial is a link in the same moment.
type site struct {
	tables map[peer.ID]*Table
	links  map[[2]peer.ID]*[2]*fakeLink // by dialler and listener
	shares func(a, b peer.ID) bool
	now    time.Time
}

func newSite(n int) *site {
	s := &site{tables: make(map[peer.ID]*Table), links: make(map[[2]peer.ID]*[2]*fakeLink), now: at(0)}
	s.shares = func(peer.ID, peer.ID) bool { return true }
	for i := range n {
		id := peer.ID(fmt.Sprintf("device-%03d", i))
		s.tables[id] = New(id, NewBans())
	}
	for _, t := range s.tables {
		for id := range s.tables {
			t.Found(s.now, id, string(id), false)
		}
	}
	return s
}

// run lets the time pass.
func (s *site) run(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); s.now = s.now.Add(250 * time.Millisecond) {
		for _, id := range s.ids() {
			t := s.tables[id]
			t.Tick(s.now)
			for _, a := range t.Take() {
				switch a := a.(type) {
				case Dial:
					s.dial(id, a.ID)
				case Close:
					s.close(a.Link)
				}
			}
		}
	}
}

func (s *site) ids() (out []peer.ID) {
	for id := range s.tables {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

func (s *site) dial(a, b peer.ID) {
	from, to := s.tables[a], s.tables[b]
	if to == nil {
		from.Failed(s.now, b)
		return
	}
	idle := !s.shares(a, b)
	pair := &[2]*fakeLink{{peer: b, dialled: true, idle: idle}, {peer: a, idle: idle}}
	s.links[[2]peer.ID{a, b}] = pair
	if !from.Linked(s.now, pair[0]) || !to.Linked(s.now, pair[1]) {
		s.close(pair[0])
	}
}

func (s *site) close(l Link) {
	for k, p := range s.links {
		if l == Link(p[0]) || l == Link(p[1]) {
			delete(s.links, k)
			for i, id := range k {
				if t := s.tables[id]; t != nil {
					t.Unlinked(s.now, p[i])
				}
			}
		}
	}
}

// leave takes a device away.
func (s *site) leave(id peer.ID) {
	delete(s.tables, id)
	for k, p := range s.links {
		if k[0] == id || k[1] == id {
			s.close(p[0])
		}
	}
}

// reach counts the devices that can be reached from one over links that count.
func (s *site) reach(from peer.ID, counts func(a, b peer.ID) bool) int {
	seen := map[peer.ID]bool{from: true}
	for todo := []peer.ID{from}; len(todo) > 0; todo = todo[1:] {
		for k := range s.links {
			for i := range k {
				if k[i] == todo[0] && !seen[k[1-i]] && counts(k[0], k[1]) {
					seen[k[1-i]] = true
					todo = append(todo, k[1-i])
				}
			}
		}
	}
	return len(seen)
}

// degrees returns the least, the most and the mean number of links.
func (s *site) degrees() (least, top int, mean float64) {
	n := make(map[peer.ID]int)
	for k := range s.links {
		n[k[0]]++
		n[k[1]]++
	}
	least = len(s.tables)
	for id := range s.tables {
		least, top, mean = min(least, n[id]), max(top, n[id]), mean+float64(n[id])/float64(len(s.tables))
	}
	return least, top, mean
}

func TestASmallSiteIsAMesh(t *testing.T) {
	t.Parallel()
	s := newSite(MeshMost)
	s.run(5 * time.Second)
	if least, top, _ := s.degrees(); least != MeshMost-1 || top != MeshMost-1 {
		t.Errorf("%d to %d links, want %d", least, top, MeshMost-1)
	}
}

// TestALargeSiteIsInOnePiece, with few links each, and stays so when a third of it leaves.
func TestALargeSiteIsInOnePiece(t *testing.T) {
	t.Parallel()
	for _, n := range []int{100, 200} {
		s := newSite(n)
		s.run(10 * time.Second)
		check := func(when string) {
			t.Helper()
			least, top, mean := s.degrees()
			if least < picks || top > mostAtOnce || mean > 16 {
				t.Errorf("%d devices, %s: %d to %d links, %.1f in the mean", n, when, least, top, mean)
			}
			if got := s.reach(s.ids()[0], s.shares); got != len(s.tables) {
				t.Errorf("%d devices, %s: %d of %d are in one piece", n, when, got, len(s.tables))
			}
		}
		check("at first")
		links := len(s.links)
		s.run(10 * time.Second)
		if len(s.links) != links {
			t.Errorf("%d devices: %d links became %d, though nothing happened", n, links, len(s.links))
		}
		for _, id := range s.ids()[:n/5] {
			s.leave(id)
		}
		s.run(20 * time.Second)
		check("later")
	}
}

// TestACacheNodeIsLinkedToAll in a large site, whoever has the lower id, and the devices have hardly more links for it.
func TestACacheNodeIsLinkedToAll(t *testing.T) {
	t.Parallel()
	const n = 200
	for _, hub := range []peer.ID{"device-000", "device-100", "device-199"} {
		s := newSite(n)
		s.tables[hub].KeepAll()
		s.run(30 * time.Second)
		of := make(map[peer.ID]int)
		for k := range s.links {
			of[k[0]]++
			of[k[1]]++
		}
		if of[hub] != n-1 {
			t.Errorf("%s has links to %d of %d devices", hub, of[hub], n-1)
		}
		for id, links := range of {
			if id != hub && links > mostAtOnce {
				t.Errorf("%s has %d links", id, links)
			}
		}
		links := len(s.links)
		s.run(30 * time.Second)
		if len(s.links) != links {
			t.Errorf("%d links became %d, though nothing happened", links, len(s.links))
		}
	}
}

// TestAContentOfFew: devices that share something that few of a large site share find each other.
func TestAContentOfFew(t *testing.T) {
	t.Parallel()
	s := newSite(100)
	few := func(id peer.ID) bool { return id[len(id)-1] == '0' } // a tenth
	s.shares = func(a, b peer.ID) bool { return few(a) && few(b) }
	sharing := func(id peer.ID) (n int) {
		for k := range s.links {
			if (k[0] == id || k[1] == id) && s.shares(k[0], k[1]) {
				n++
			}
		}
		return n
	}
	for range 30 {
		s.run(time.Second)
		for id, t := range s.tables {
			t.Thin(few(id) && sharing(id) < 8)
		}
	}
	if got := s.reach("device-000", s.shares); got != 10 {
		t.Errorf("%d of 10 are in one piece", got)
	}
	if least, top, _ := s.degrees(); least < picks/2 || top > mostAtOnce {
		t.Errorf("%d to %d links", least, top)
	}
}

// TestNobodyIsTakenBeyondTheBound, but a static peer always is.
func TestNobodyIsTakenBeyondTheBound(t *testing.T) {
	t.Parallel()
	tab := testTable()
	for i := range 200 {
		tab.Found(at(0), peer.ID(fmt.Sprintf("z%d", i)), "z:1", false)
	}
	tab.Found(at(0), "static", "s:1", true)
	tab.Tick(at(0))
	for _, a := range tab.Take() {
		if d, ok := a.(Dial); ok && d.ID != "static" {
			tab.Failed(at(0), d.ID)
		}
	}
	taken := 0
	for i := range 100 {
		if tab.Linked(at(1), &fakeLink{peer: peer.ID(fmt.Sprintf("in%d", i))}) {
			taken++
		}
	}
	if taken != mostAtOnce {
		t.Errorf("%d taken, want %d", taken, mostAtOnce)
	}
	if !tab.Linked(at(1), &fakeLink{peer: "static", dialled: true}) {
		t.Error("the static peer is not taken")
	}
	if got := len(tab.peers); got != 200+1+mostAtOnce {
		t.Errorf("%d peers remembered: refused ones too", got)
	}
}

// TestFewDialsAtOnce: a mesh is made in rounds.
func TestFewDialsAtOnce(t *testing.T) {
	t.Parallel()
	tab := testTable()
	for i := range 40 {
		tab.Found(at(0), peer.ID(fmt.Sprintf("z%d", i)), "z:1", false)
	}
	first := dials(tab, 0)
	if len(first) != maxDials || len(dials(tab, 10)) != 0 {
		t.Errorf("%d dials at once, want %d", len(first), maxDials)
	}
	for _, id := range first {
		tab.Linked(at(20), &fakeLink{peer: id, dialled: true})
	}
	if got := dials(tab, 20); len(got) != maxDials {
		t.Errorf("%d dials in the next round", len(got))
	}
}
