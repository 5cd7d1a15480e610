package swarm

import (
	"slices"
	"testing"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// quietRoom is a room of 100 pieces whose letters are read by the test.
func quietRoom(t *testing.T) *Room {
	t.Helper()
	data, m := fetchtest.Content(1, 100<<14, 1<<14)
	n, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	r := newRoom(n, fetchtest.FullPart(m, data))
	r.box = newMailbox()
	return r
}

func (r *Room) letters() (out []fetch.Heard) {
	for {
		h, ok := r.box.take(r)
		if !ok {
			return out
		}
		if j, ok := h.(fetch.Joined); ok {
			j.Peer = nil
			h = j
		}
		out = append(out, h)
	}
}

func TestHavesAreMerged(t *testing.T) {
	t.Parallel()
	r := quietRoom(t)
	l := &link{id: "a"}
	r.enter(l, piecehash.NewBitmap(100))
	r.letters()
	for i := range 10 {
		r.hears(l, []wire.Run{{First: i, Count: 1}}, nil, 0)
		r.hears(l, []wire.Run{{First: i, Count: 1}}, nil, 0) // what is known already is not said again
	}
	r.hears(l, []wire.Run{{First: 50, Count: 2}}, nil, 0)
	want := []fetch.Heard{
		fetch.Said{ID: "a", What: fetch.SayHave{First: 0, Count: 10}},
		fetch.Said{ID: "a", What: fetch.SayHave{First: 50, Count: 2}},
	}
	if got := r.letters(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestTheLatestClaimIsHeard(t *testing.T) {
	t.Parallel()
	r := quietRoom(t)
	l := &link{id: "a"}
	r.enter(l, piecehash.NewBitmap(100))
	r.letters()
	for done := range 5 {
		r.hears(l, nil, fetch.SayClaim{First: 8, Count: 8, Done: int64(done)}, 0)
	}
	r.hears(l, nil, fetch.SayRelease{First: 8, Count: 8}, 0)
	want := []fetch.Heard{
		fetch.Said{ID: "a", What: fetch.SayClaim{First: 8, Count: 8, Done: 4}},
		fetch.Said{ID: "a", What: fetch.SayRelease{First: 8, Count: 8}},
	}
	if got := r.letters(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestSlowHearer: who does not listen costs bounded memory, and hears in the end how things stand.
func TestSlowHearer(t *testing.T) {
	t.Parallel()
	r := quietRoom(t)
	a, b, c := &link{id: "a"}, &link{id: "b"}, &link{id: "c"}
	for _, l := range []*link{a, b, c} {
		r.enter(l, piecehash.NewBitmap(100))
	}
	r.letters()
	for i := range 10 * maxLetters {
		r.hears([]*link{a, b}[i%2], nil, fetch.SayClaim{First: i % 50, Count: 1, Done: int64(i)}, 0)
		if n := len(r.box.letters); n > maxLetters {
			t.Fatalf("%d letters wait", n)
		}
	}
	r.hears(a, []wire.Run{{First: 1, Count: 3}}, nil, 0)
	r.leave(c)
	var left []fetch.PeerID
	claims := make(map[fetch.PeerID]int)
	for _, h := range r.letters() {
		switch h := h.(type) {
		case fetch.Left:
			left = append(left, h.ID)
		case fetch.Joined:
			if h.ID == "a" && (h.Have.Count() != 3 || !h.Have.Has(2)) {
				t.Errorf("a has %d pieces", h.Have.Count())
			}
		case fetch.Said:
			claims[h.ID]++
		}
	}
	if !slices.Equal(left, []fetch.PeerID{"c"}) || claims["b"] != 25 || claims["a"] < 20 {
		t.Errorf("left %v, claims %v", left, claims)
	}
}

// TestClaimsOfOneMemberAreBounded.
func TestClaimsOfOneMemberAreBounded(t *testing.T) {
	t.Parallel()
	_, m := fetchtest.Content(1, 1000<<14, 1<<14)
	n, _ := New(Config{})
	r := newRoom(n, fetchtest.NewPart(m))
	l := &link{id: "a"}
	r.enter(l, piecehash.NewBitmap(1000))
	for i := range 1000 {
		r.hears(l, nil, fetch.SayClaim{First: i, Count: 1}, 0)
	}
	if n := len(r.members["a"].claims); n != maxClaims {
		t.Errorf("%d claims", n)
	}
}

// TestNoticedAndAnswered come in turns, and not after somebody has joined.
func TestNoticedAndAnswered(t *testing.T) {
	t.Parallel()
	r := quietRoom(t)
	l := &link{id: "a"}
	say := func(want ...fetch.Heard) {
		t.Helper()
		if got := r.letters(); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	r.courted(false)
	say() // nobody was noticed
	r.node.courting.Store(1)
	r.courted(true)
	r.courted(true)
	say(fetch.Noticed{})
	r.admit(l)
	r.node.courting.Store(0)
	r.courted(false)
	say() // it was asked and has not answered
	r.answered(l)
	say(fetch.Answered{})
	r.drop(l)
	say()
	r.node.courting.Store(1)
	r.courted(true)
	say(fetch.Noticed{})
	r.enter(l, piecehash.NewBitmap(100))
	r.leave(l)
	r.node.courting.Store(0)
	r.courted(false)
	for _, h := range r.letters() {
		if _, ok := h.(fetch.Answered); ok {
			t.Error("Answered after Joined")
		}
	}
}

// TestReplacedLinkDoesNotLeave: the end of the old connection is no news when the peer has a new one.
func TestReplacedLinkDoesNotLeave(t *testing.T) {
	t.Parallel()
	r := quietRoom(t)
	old, fresh := &link{id: "a"}, &link{id: "a"}
	r.enter(old, piecehash.NewBitmap(100))
	r.enter(fresh, piecehash.NewBitmap(100))
	r.letters()
	r.drop(old)
	if got := r.letters(); len(got) != 0 {
		t.Errorf("%v", got)
	}
	r.hears(old, []wire.Run{{First: 1, Count: 1}}, nil, 0)
	if got := r.letters(); len(got) != 0 {
		t.Errorf("the old link is heard: %v", got)
	}
}
