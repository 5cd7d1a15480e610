package table

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// fakeLink is a link that does nothing.
type fakeLink struct {
	peer    peer.ID
	dialled bool
	idle    bool
}

func (l *fakeLink) Peer() peer.ID { return l.peer }
func (l *fakeLink) Dialled() bool { return l.dialled }
func (l *fakeLink) Idle() bool    { return l.idle }

// at is a moment of a table test, in milliseconds after its beginning.
func at(ms int) time.Time {
	return time.Unix(1_000_000_000, 0).Add(time.Duration(ms) * time.Millisecond)
}

// The table's own id is "m": "a" is lower, "z" higher.
func testTable() *Table { return New("m", NewBans()) }

// dials ticks the table and returns who it dials.
func dials(t *Table, ms int) (out []peer.ID) {
	t.Tick(at(ms))
	for _, a := range t.Take() {
		if d, ok := a.(Dial); ok {
			out = append(out, d.ID)
		}
	}
	slices.Sort(out)
	return out
}

func wantDials(t *testing.T, tab *Table, ms int, want ...peer.ID) {
	t.Helper()
	if got := dials(tab, ms); !slices.Equal(got, want) {
		t.Errorf("after %d ms: dials %v, want %v", ms, got, want)
	}
}

func closed(t *Table) (out []Link) {
	for _, a := range t.Take() {
		if c, ok := a.(Close); ok {
			out = append(out, c.Link)
		}
	}
	return out
}

func TestLowerIDDialsFirst(t *testing.T) {
	t.Parallel()
	tab := testTable()
	tab.Found(at(0), "a", "a:1", false)
	tab.Found(at(0), "z", "z:1", false)
	tab.Found(at(0), "m", "m:1", false) // ourselves
	wantDials(t, tab, 0, "z")
	wantDials(t, tab, 299)
	wantDials(t, tab, 300, "a")
	wantDials(t, tab, 1000) // both are under way
}

// TestStaticPeerIsDialledSoon by the higher id too: the other side may not know of us. After a link it does.
func TestStaticPeerIsDialledSoon(t *testing.T) {
	t.Parallel()
	tab := testTable()
	tab.Found(at(0), "a", "a:1", true)
	wantDials(t, tab, 49)
	wantDials(t, tab, 50, "a")
	l := &fakeLink{peer: "a", dialled: true}
	if !tab.Linked(at(60), l) {
		t.Fatal("the only link does not stay")
	}
	tab.Unlinked(at(9000), l)
	wantDials(t, tab, 9299)
	wantDials(t, tab, 9300, "a")
}

func TestHigherIDDoesNotDialWhatIsLinked(t *testing.T) {
	t.Parallel()
	tab := testTable()
	tab.Found(at(0), "a", "a:1", false)
	if !tab.Linked(at(100), &fakeLink{peer: "a"}) {
		t.Fatal("the only link does not stay")
	}
	tab.Found(at(200), "a", "a:2", false)
	wantDials(t, tab, 5000)
}

func TestRetriesBackOffForEver(t *testing.T) {
	t.Parallel()
	tab := testTable()
	tab.Found(at(0), "z", "z:1", true)
	now := 0
	for i, wait := range []int{0, 250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000} {
		if wait > 0 {
			wantDials(t, tab, now+wait-1)
		}
		now += wait
		if got := dials(tab, now); len(got) != 1 {
			t.Fatalf("attempt %d at %d ms: %v", i, now, got)
		}
		tab.Failed(at(now), "z")
	}
	wantDials(t, tab, now+24*3600*1000, "z")
}

func TestTwoConnections(t *testing.T) {
	t.Parallel()
	// For each case two links to the same peer come up, the second after the given time.
	for _, c := range []struct {
		peer          peer.ID
		first, second bool // dialled by us
		after         int  // ms
		stays         bool // the second
	}{
		{"a", false, true, 50, false},   // a is lower: the one that it dialled stays
		{"a", true, false, 50, true},    //
		{"z", true, false, 50, false},   // z is higher: the one that we dialled stays
		{"z", false, true, 50, true},    //
		{"a", false, false, 50, true},   // dialled again: it has lost the first
		{"a", true, true, 50, true},     //
		{"z", true, false, 6000, true},  // z dials although there is one: it has lost it
		{"a", false, true, 6000, true},  //
		{"z", true, false, 4000, false}, // still the simultaneous start
	} {
		tab := testTable()
		first, second := &fakeLink{peer: c.peer, dialled: c.first}, &fakeLink{peer: c.peer, dialled: c.second}
		tab.Linked(at(0), first)
		if got := tab.Linked(at(c.after), second); got != c.stays {
			t.Errorf("%+v: the second stays: %v", c, got)
		}
		if got := closed(tab); c.stays != slices.Contains(got, Link(first)) {
			t.Errorf("%+v: closed %v", c, got)
		}
	}
}

// TestBothEndsAgree: whichever order the two connections of a simultaneous start come up in at each end, both keep the
// same one.
func TestBothEndsAgree(t *testing.T) {
	t.Parallel()
	for order := range 4 {
		low, high := New("a", NewBans()), New("b", NewBans())
		// Connection 0 was dialled by a, connection 1 by b.
		ends := func(tab *Table, other peer.ID, dialled [2]bool, swap bool) int {
			seq := []int{0, 1}
			if swap {
				seq = []int{1, 0}
			}
			var stays int
			for i, k := range seq {
				if tab.Linked(at(10*i), &fakeLink{peer: other, dialled: dialled[k]}) {
					stays = k
				}
			}
			return stays
		}
		x := ends(low, "b", [2]bool{true, false}, order&1 == 1)
		y := ends(high, "a", [2]bool{false, true}, order&2 == 2)
		if x != 0 || y != 0 {
			t.Errorf("order %d: a keeps %d, b keeps %d", order, x, y)
		}
	}
}

func TestReconnects(t *testing.T) {
	t.Parallel()
	tab := testTable()
	tab.Found(at(0), "z", "z:1", false)
	wantDials(t, tab, 0, "z")
	l := &fakeLink{peer: "z", dialled: true}
	tab.Linked(at(10), l)
	tab.Unlinked(at(60_000), l) // it had held: at once
	wantDials(t, tab, 60_000, "z")
	for i := range 3 { // links that do not hold: ever later
		l = &fakeLink{peer: "z", dialled: true}
		now := 61_000 + 10_000*i
		tab.Linked(at(now), l)
		tab.Unlinked(at(now+10), l)
		wantDials(t, tab, now+10)
		wantDials(t, tab, now+10+250<<i, "z")
	}
}

func TestGuestIsForgotten(t *testing.T) {
	t.Parallel()
	tab := testTable()
	l := &fakeLink{peer: "z"}
	tab.Linked(at(0), l)
	tab.Unlinked(at(100), l)
	if len(tab.peers) != 0 {
		t.Error("a peer that came to us, and whose address we do not know, is remembered")
	}
}

func TestDiscoveredPeerIsForgottenWhenNobodyAnnouncesIt(t *testing.T) {
	t.Parallel()
	tab := testTable()
	tab.Found(at(0), "z", "z:1", false)
	tab.Found(at(0), "y", "y:1", true)
	for ms := 0; ms < int(forgetAfter.Milliseconds())+60_000; ms += 10_000 {
		for _, id := range dials(tab, ms) {
			tab.Failed(at(ms), id)
		}
	}
	if tab.peers["z"] != nil || tab.peers["y"] == nil {
		t.Errorf("remembered: %v", tab.peers)
	}
}

func TestBan(t *testing.T) {
	t.Parallel()
	tab := testTable()
	tab.Found(at(0), "z", "z:1", true)
	wantDials(t, tab, 0, "z")
	l := &fakeLink{peer: "z", dialled: true}
	tab.Linked(at(1), l)
	tab.bans.Add(at(2), "z")
	tab.Banned("z")
	if got := closed(tab); !slices.Contains(got, Link(l)) {
		t.Error("the link of a banned peer stays")
	}
	tab.Unlinked(at(3), l)
	day := int(BanTime.Milliseconds())
	wantDials(t, tab, day)
	if tab.Linked(at(day), &fakeLink{peer: "z"}) || tab.Found(at(day), "z", "z:2", false) {
		t.Error("a banned peer comes in")
	}
	wantDials(t, tab, day+3, "z")
	if !tab.Linked(at(day+4), &fakeLink{peer: "z", dialled: true}) {
		t.Error("the ban does not end")
	}
}

func TestBansAreBounded(t *testing.T) {
	t.Parallel()
	b := NewBans()
	for i := range maxBans + 10 {
		b.Add(at(i), peer.ID(fmt.Sprint(i)))
	}
	if len(b.until) != maxBans || b.Has(at(0), "3") || !b.Has(at(0), peer.ID(fmt.Sprint(maxBans+9))) {
		t.Errorf("%d bans", len(b.until))
	}
}

func TestTableIsBounded(t *testing.T) {
	t.Parallel()
	tab := testTable()
	for i := range maxCandidates + 100 {
		tab.Found(at(0), peer.ID(fmt.Sprintf("p%d", i)), "x:1", false)
	}
	for i := range maxTargets + 3 {
		tab.Found(at(0), "p0", fmt.Sprintf("y:%d", i), false)
	}
	if n := len(tab.peers); n != maxCandidates {
		t.Errorf("%d candidates, at most %d", n, maxCandidates)
	}
	if k := tab.peers["p0"]; len(k.targets) != maxTargets || k.targets[maxTargets-1] != fmt.Sprintf("y:%d", maxTargets+2) {
		t.Errorf("targets %v", k.targets)
	}
}

// TestCourting: a peer counts from the moment it is found until it is linked or was tried in vain.
func TestCourting(t *testing.T) {
	t.Parallel()
	tab := testTable()
	count := func(want int) {
		t.Helper()
		if got := tab.Courting(); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	count(0)
	tab.Found(at(0), "a", "a:1", false)
	tab.Found(at(0), "z", "z:1", false)
	count(2)
	dials(tab, 0)
	count(2)
	tab.Failed(at(1), "z")
	count(1)
	tab.Linked(at(2), &fakeLink{peer: "a"})
	count(0)
}
