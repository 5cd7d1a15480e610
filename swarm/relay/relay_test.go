package relay

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// net is some devices and the links between them. A word takes one step for each link.
type net struct {
	t     *testing.T
	nodes []*node
	now   time.Duration
	sent  int // words that went over a link, the sayer's own not counted
}

type node struct {
	id    fetch.PeerID
	relay *Relay
	links []int
	heard map[wordID]int // how often it was delivered
	hops  int            // most steps that a word took to come here
}

type wordID struct {
	sayer fetch.PeerID
	seq   uint64
}

func (w Word) id() wordID { return wordID{w.Sayer, w.Seq} }

func newNet(t *testing.T, n int) *net {
	w := &net{t: t}
	for i := range n {
		id := fetch.PeerID(fmt.Sprintf("device-%04d", i))
		w.nodes = append(w.nodes, &node{id: id, relay: New(id, 1000), heard: make(map[wordID]int)})
	}
	return w
}

func (w *net) link(a, b int) {
	if a == b || slices.Contains(w.nodes[a].links, b) {
		return
	}
	for _, e := range [][2]int{{a, b}, {b, a}} {
		x, y := w.nodes[e[0]], w.nodes[e[1]]
		x.links = append(x.links, e[1])
		x.relay.Joined(y.id)
	}
}

func (w *net) mesh(ids ...int) {
	for i, a := range ids {
		for _, b := range ids[i+1:] {
			w.link(a, b)
		}
	}
}

// tell lets everybody say whom it is linked to.
func (w *net) tell() {
	for _, x := range w.nodes {
		for _, j := range x.links {
			w.nodes[j].relay.Linked(x.id, true, x.relay.Links(), nil)
		}
	}
}

// say plays a word of node i to its end.
func (w *net) say(i int, what fetch.Saying) Word {
	type letter struct {
		from, to, steps int
		word            Word
	}
	word := w.nodes[i].relay.Say(what)
	var post []letter
	for _, j := range w.nodes[i].links {
		post = append(post, letter{i, j, 1, word})
	}
	for ; len(post) > 0; post = post[1:] {
		l := post[0]
		x := w.nodes[l.to]
		deliver, forward := x.relay.Heard(w.now, w.nodes[l.from].id, l.word)
		if l.from != i {
			w.sent++
		}
		if deliver {
			x.heard[word.id()]++
			x.hops = max(x.hops, l.steps)
		}
		for _, id := range forward {
			j := slices.IndexFunc(w.nodes, func(o *node) bool { return o.id == id })
			post = append(post, letter{l.to, j, l.steps + 1, l.word.Passed()})
		}
		if w.sent > 1e6 {
			w.t.Fatal("the word goes in circles")
		}
	}
	return word
}

// wantAll checks that everybody but the sayer has heard the word once.
func (w *net) wantAll(sayer int, word Word) {
	w.t.Helper()
	for i, x := range w.nodes {
		want := 1
		if i == sayer {
			want = 0
		}
		if x.heard[word.id()] != want {
			w.t.Fatalf("node %d of %d heard word %d of %d %d times, want %d", i, len(w.nodes), word.Seq, sayer, x.heard[word.id()], want)
		}
	}
}

func upTo(n int) (out []int) {
	for i := range n {
		out = append(out, i)
	}
	return out
}

func claimOf(first int) fetch.SayClaim { return fetch.SayClaim{First: first, Count: 4} }

func TestAFullMeshPassesOnNothing(t *testing.T) {
	t.Parallel()
	w := newNet(t, 64)
	w.mesh(upTo(64)...)
	w.tell()
	w.wantAll(3, w.say(3, claimOf(0)))
	if w.sent > 0 {
		t.Errorf("%d words passed on", w.sent)
	}
	if n := w.nodes[0].relay.Size(); n != 0 {
		t.Errorf("a crowd of %d, want none", n)
	}
}

// TestNothingIsPassedOnBeforeTheListsAreThere: while links are being made everywhere it would be for nothing.
func TestNothingIsPassedOnBeforeTheListsAreThere(t *testing.T) {
	t.Parallel()
	w := newNet(t, 3)
	w.link(0, 1)
	w.link(1, 2)
	w.say(0, claimOf(0))
	if w.sent > 0 {
		t.Errorf("%d words passed on", w.sent)
	}
	w.tell()
	w.wantAll(0, w.say(0, claimOf(8)))
}

// TestALargeSite: with 12 links each a word reaches all within a few steps, and each device takes it once.
func TestALargeSite(t *testing.T) {
	t.Parallel()
	for _, size := range []int{70, 300, 1000} {
		w := newNet(t, size)
		rng := rand.New(rand.NewPCG(1, uint64(size)))
		for i := range size {
			for len(w.nodes[i].links) < 12 {
				w.link(i, rng.IntN(size))
			}
		}
		w.tell()
		for k := range 5 {
			i := rng.IntN(size)
			w.wantAll(i, w.say(i, fetch.SayHave{First: k, Count: 1, Drawn: true}))
		}
		for i, x := range w.nodes {
			if x.hops > 5 {
				t.Errorf("%d devices: node %d was %d steps away", size, i, x.hops)
			}
		}
		if most := 5 * size * 16; w.sent > most {
			t.Errorf("%d devices: %d words for 5 said, more than %d", size, w.sent, most)
		}
		if n := w.nodes[0].relay.Size(); n < min(size/2, 80) || n > size {
			t.Errorf("a crowd of %d, there are %d", n, size)
		}
	}
}

// TestTwoSubnetsWithABridge: every word crosses once for each device of the other side, and only the bridge passes on.
func TestTwoSubnetsWithABridge(t *testing.T) {
	t.Parallel()
	w := newNet(t, 41)
	w.mesh(upTo(21)...)
	w.mesh(upTo(41)[20:]...) // 20 is the bridge
	w.tell()
	for k, what := range []fetch.Saying{claimOf(0), fetch.SayHave{First: 1, Count: 1, Drawn: true}, fetch.SayRelease{First: 0, Count: 4}} {
		w.wantAll(5, w.say(5, what))
		if w.sent != 20*(k+1) {
			t.Errorf("%d words were passed on after %d, want 20 each", w.sent, k+1)
		}
	}
	w.wantAll(30, w.say(30, claimOf(8)))
	w.wantAll(20, w.say(20, claimOf(12)))
	if w.sent != 80 {
		t.Errorf("%d words were passed on, want 80: none of the bridge's own", w.sent)
	}
}

func TestARing(t *testing.T) {
	t.Parallel()
	const size = 2*MaxHops + 3
	w := newNet(t, size)
	for i := range size {
		w.link(i, (i+1)%size)
	}
	w.tell()
	w.wantAll(0, w.say(0, claimOf(0)))
	w = newNet(t, size+2) // two are too far away
	for i := range size + 2 {
		w.link(i, (i+1)%(size+2))
	}
	w.tell()
	word := w.say(0, claimOf(0))
	heard := 0
	for _, x := range w.nodes {
		heard += x.heard[word.id()]
	}
	if heard != size-1 {
		t.Errorf("%d have heard it, want %d", heard, size-1)
	}
}

// pair is a device with two neighbours that are not linked to each other: what "a" sends may go to "b".
func pair() *Relay {
	r := New("self", 0)
	for _, id := range []fetch.PeerID{"a", "b"} {
		r.Joined(id)
		r.Linked(id, true, nil, nil)
	}
	return r
}

func word(sayer string, seq int, what fetch.Saying) Word {
	return Word{Sayer: fetch.PeerID(sayer), Seq: uint64(seq), Hops: MaxHops, What: what}
}

func TestHeard(t *testing.T) {
	t.Parallel()
	drawn := fetch.SayHave{First: 3, Count: 1, Drawn: true}
	for name, c := range map[string]struct {
		before []Word // from "a", a second apart
		from   fetch.PeerID
		word   Word
		want   bool
		to     int
	}{
		"a neighbour's claim":            {nil, "a", word("a", 1, claimOf(0)), true, 1},
		"without a number":               {nil, "a", word("a", 0, claimOf(0)), true, 0},
		"a piece that came from a peer":  {nil, "a", word("a", 1, fetch.SayHave{First: 1, Count: 1}), true, 0},
		"twice":                          {[]Word{word("a", 1, drawn)}, "a", word("a", 1, drawn), true, 0},
		"another's":                      {nil, "a", word("x", 1, claimOf(0)), true, 1},
		"another's piece from a peer":    {nil, "a", word("x", 1, fetch.SayHave{First: 1, Count: 1}), false, 0},
		"another's without a number":     {nil, "a", word("x", 0, claimOf(0)), false, 0},
		"another's on its last way":      {nil, "a", Word{"x", 1, 0, claimOf(0)}, true, 0},
		"another's again":                {[]Word{word("x", 7, drawn)}, "b", word("x", 7, drawn), false, 0},
		"overtaken":                      {[]Word{word("x", 7, drawn)}, "b", word("x", 6, claimOf(0)), true, 1},
		"long overtaken":                 {[]Word{word("x", 70, drawn)}, "b", word("x", 6, claimOf(0)), false, 0},
		"a claim that was taken back":    {[]Word{word("x", 7, fetch.SayRelease{First: 0, Count: 4})}, "b", word("x", 6, claimOf(0)), false, 0},
		"a claim anew":                   {[]Word{word("x", 6, claimOf(0)), word("x", 7, fetch.SayRelease{First: 0, Count: 4})}, "a", word("x", 8, claimOf(0)), true, 1},
		"taken back too late":            {[]Word{word("x", 7, claimOf(0))}, "b", word("x", 6, fetch.SayRelease{First: 0, Count: 4}), false, 0},
		"ours, come back":                {nil, "a", word("self", 1, claimOf(0)), false, 0},
		"in a neighbour's name":          {nil, "a", word("b", 1, claimOf(0)), false, 0},
		"from nobody":                    {nil, "z", word("z", 1, claimOf(0)), false, 0},
		"the highest number there is":    {[]Word{word("x", 1<<62, drawn)}, "a", word("x", 1, claimOf(0)), false, 0},
		"one who was silent for minutes": {append([]Word{word("x", 1<<62, drawn)}, slices.Repeat([]Word{word("a", 0, drawn)}, 90)...), "a", word("x", 1, claimOf(0)), true, 1},
	} {
		r := pair()
		now := time.Duration(0)
		for _, w := range c.before {
			r.Heard(now, "a", w)
			now += time.Second
		}
		deliver, to := r.Heard(now, c.from, c.word)
		if deliver != c.want || len(to) != c.to {
			t.Errorf("%s: delivered %v and passed on to %v, want %v and %d", name, deliver, to, c.want, c.to)
		}
	}
}

// TestProgressIsPassedOnNowAndThen: leases are long, and every word of a large site comes by many ways.
func TestProgressIsPassedOnNowAndThen(t *testing.T) {
	t.Parallel()
	r := pair()
	passed := 0
	for i := range 100 {
		if ok, to := r.Heard(time.Duration(i)*10*time.Millisecond, "a", word("x", i+1, fetch.SayClaim{First: 0, Count: 4, Done: int64(i)})); ok {
			passed += len(to)
		}
	}
	if passed != 2 {
		t.Errorf("100 words in a second: %d passed on, want 2", passed)
	}
	if ok, _ := r.Heard(time.Second+time.Millisecond, "a", word("x", 200, fetch.SayClaim{First: 0, Count: 2})); !ok {
		t.Error("that it became shorter is no news")
	}
}

// TestWhoLiesIsBounded: how many it speaks for, how much it claims for them, how fast it is passed on, and what becomes of
// it when nothing comes of its claims.
func TestWhoLiesIsBounded(t *testing.T) {
	t.Parallel()
	name := func(i int) string { return fmt.Sprintf("nobody-%d", i) }
	count := func(r *Relay, n int, w func(i int) Word) (heard, passed int) {
		for i := range n {
			ok, to := r.Heard(0, "a", w(i))
			if ok {
				heard++
			}
			passed += len(to)
		}
		return heard, passed
	}
	have := func(i int) fetch.Saying { return fetch.SayHave{First: i, Count: 1, Drawn: true} }
	if heard, _ := count(pair(), 1000, func(i int) Word { return word(name(i), 1, have(i)) }); heard != maxSayers {
		t.Errorf("it speaks for %d, want %d", heard, maxSayers)
	}
	if heard, _ := count(pair(), 1000, func(i int) Word { return word(name(i/maxOfSayer), i+1, claimOf(4*i)) }); heard != maxClaims {
		t.Errorf("it claims %d spans, want %d", heard, maxClaims)
	}
	if heard, _ := count(pair(), 1000, func(i int) Word { return word("x", i+1, claimOf(4*i)) }); heard != maxOfSayer {
		t.Errorf("it claims %d spans for one, want %d", heard, maxOfSayer)
	}
	if _, passed := count(pair(), 5000, func(i int) Word { return word("a", i+1, have(i)) }); passed != wordsAtOnce {
		t.Errorf("%d words passed on at once, want %d", passed, wordsAtOnce)
	}
	r := pair()
	count(r, maxBroken, func(i int) Word { return word(name(i), 1, claimOf(4*i)) })
	for k, want := range []bool{true, false, false, true} {
		now := time.Duration(k) * 25 * time.Second
		if ok, _ := r.Heard(now, "a", word("x", k+1, have(k))); ok != want {
			t.Errorf("after %v: believed %v", now, ok)
		}
	}
	if ok, _ := r.Heard(30*time.Second, "b", word("x", 9, have(0))); !ok {
		t.Error("another neighbour suffers for it")
	}
}

// TestNothingIsLeft of neighbours and sayers that are gone.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	r := pair()
	for i := range 20 {
		r.Heard(0, "a", word("x", i+1, claimOf(4*i)))
		r.Heard(0, "b", word("y", i+1, claimOf(4*i)))
	}
	a := r.nbs["a"]
	if a.claims != maxOfSayer || a.speaks != 1 {
		t.Errorf("%d claims of %d sayers", a.claims, a.speaks)
	}
	r.Joined("y") // it has got a link
	r.Left("a")
	r.Heard(2*time.Minute, "b", word("b", 1, claimOf(0)))
	if len(r.sayers) != 1 || a.claims != 0 || a.speaks != 0 || r.nbs["b"].claims != 0 || r.nbs["b"].speaks != 0 {
		t.Errorf("left: %d sayers, %+v, %+v", len(r.sayers), a, r.nbs["b"])
	}
}

func TestListsOfLinks(t *testing.T) {
	t.Parallel()
	r := pair()
	x, y := ShortOf("x"), ShortOf("y")
	r.Linked("b", false, []Short{x, y}, nil)
	if _, to := r.Heard(0, "a", word("x", 1, claimOf(0))); len(to) > 0 {
		t.Error("told to who has it from the sayer")
	}
	r.Linked("b", false, nil, []Short{x})
	if _, to := r.Heard(0, "a", word("x", 2, claimOf(8))); len(to) != 1 {
		t.Error("not told when the link is gone")
	}
	r.Linked("b", true, nil, nil)
	if _, to := r.Heard(0, "a", word("y", 1, claimOf(8))); len(to) != 1 {
		t.Error("a list that begins anew keeps what was before")
	}
	for i := range 2 * MaxLinks {
		r.Linked("b", false, []Short{ShortOf(fetch.PeerID(fmt.Sprint(i)))}, nil)
	}
	if n := len(r.nbs["b"].linked); n != MaxLinks {
		t.Errorf("%d links remembered", n)
	}
	r.Linked("nobody", true, nil, nil)
	if got, want := r.Links(), []Short{ShortOf("a"), ShortOf("b")}; !slices.Equal(got, want) {
		t.Errorf("our links: %v, want %v", got, want)
	}
}
