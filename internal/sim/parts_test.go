package sim

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

type recorder struct {
	s   *site
	got []int
	at  []time.Duration
}

func (r *recorder) happen(arg int) { r.got = append(r.got, arg) }

func (r *recorder) left(chunk) {}

func (r *recorder) arrived(c chunk) {
	r.got = append(r.got, c.n)
	r.at = append(r.at, r.s.now)
}

func TestQueue(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	type planned struct {
		at  time.Duration
		arg int
	}
	var want []planned
	var q queue
	r := &recorder{}
	for i := range 3000 {
		p := planned{time.Duration(rng.IntN(200)), i}
		want = append(want, p)
		q.push(p.at, r, p.arg)
		if i%3 == 2 { // take some out on the way
			e := q.pop()
			want = slices.DeleteFunc(want, func(p planned) bool { return p.arg == e.arg })
		}
	}
	slices.SortStableFunc(want, func(a, b planned) int { return int(a.at - b.at) })
	for _, p := range want {
		if e := q.pop(); e.at != p.at || e.arg != p.arg {
			t.Fatalf("event %d at %v, want %d at %v", e.arg, e.at, p.arg, p.at)
		}
	}
	if len(q.heap) > 0 {
		t.Error("events are left")
	}
}

func TestFifo(t *testing.T) {
	t.Parallel()
	var f fifo[int]
	next, in := 0, 0
	for range 200 {
		for range 7 {
			f.push(in)
			in++
		}
		for range 6 {
			if *f.first() != next || f.pop() != next {
				t.Fatalf("not %d", next)
			}
			next++
		}
	}
	if f.len() != in-next {
		t.Errorf("%d are left, want %d", f.len(), in-next)
	}
}

// drain lets a site's events happen until none are left.
func drain(s *site) {
	for len(s.q.heap) > 0 {
		e := s.q.pop()
		s.now = e.at
		e.do.happen(e.arg)
	}
}

// TestLineIsShared: two flows get half each, and one whose other end is slow leaves the rest to the other.
func TestLineIsShared(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	run := func(down float64) (a, b time.Duration) {
		s := &site{slice: defaultSlice}
		l := &line{s: s, rate: 8 * mib}
		ra, rb := &recorder{s: s}, &recorder{s: s}
		fa := &flow{line: l, to: &pipe{rate: 100 * mib}, delay: time.Millisecond, owner: ra}
		fb := &flow{line: l, to: &pipe{rate: down}, delay: time.Millisecond, owner: rb}
		fa.give(chunk{nil, 4 * mib})
		fb.give(chunk{nil, 4 * mib})
		drain(s)
		for _, r := range []*recorder{ra, rb} {
			sum := 0
			for _, n := range r.got {
				sum += n
			}
			if sum != 4*mib {
				t.Errorf("%d bytes arrived", sum)
			}
		}
		return ra.at[len(ra.at)-1], rb.at[len(rb.at)-1]
	}
	near := func(what string, got time.Duration, want float64) {
		t.Helper()
		if math.Abs(got.Seconds()-want) > 0.05*want {
			t.Errorf("%s: %v, want %.2f s", what, got, want)
		}
	}
	a, b := run(100 * mib)
	near("of equals the first", a, 1)
	near("of equals the second", b, 1)
	a, b = run(mib)
	near("beside a slow one", a, 4./7)
	near("the slow one", b, 4)
}

// asked makes a device of a site that is asked for pieces: each list by a device of its own, all at the same time. It returns
// who got which, in the order of arrival.
func asked(t *testing.T, up float64, lists ...[]int) (s *site, order [][2]int) {
	t.Helper()
	sc := Scenario{Devices: len(lists) + 1, Length: 32 << 20, Piece: 1 << 20}.defaults()
	sc.Shape = func(n int, _ *rand.Rand, d *Device) {
		d.Start = -1
		if n == 0 {
			d.Up = up
		}
	}
	s = newSite(sc, 0, 1, flaw{})
	h := s.devices[0]
	for i := range h.store {
		h.store[i] = s.truth(i)
	}
	h.state = seeding
	for i, pieces := range lists {
		d := s.devices[i+1]
		d.state = running
		d.core = fetch.NewCore(fetch.Config{Self: d.id, Content: s.content, Have: d.has()})
		s.connect(h, d).up()
		for _, p := range pieces {
			d.startAsk(fetch.Ask{Peer: h.id, Piece: p})
		}
	}
	for len(s.q.heap) > 0 {
		e := s.q.pop()
		s.now = e.at
		e.do.happen(e.arg)
		for i, pieces := range lists {
			for _, p := range pieces {
				if got := [2]int{i, p}; s.devices[i+1].store[p] != 0 && !slices.Contains(order, got) {
					order = append(order, got)
				}
			}
		}
	}
	return s, order
}

// TestFirstCopiesGoFirst: of nine devices that ask at the same time, eight for the same piece, the one with another
// piece does not wait for the eight.
func TestFirstCopiesGoFirst(t *testing.T) {
	t.Parallel()
	same := []int{3}
	_, order := asked(t, 100*Mbit, same, same, same, same, same, same, same, same, []int{7})
	if at := slices.Index(order, [2]int{8, 7}); at < 0 || at > 1 || len(order) != 9 {
		t.Errorf("order of arrival %v: the first copy of another piece came late", order)
	}
}

// TestBusy: on a thin uplink each gets the piece that it is being served, and whose second piece has waited for a second is
// told so.
func TestBusy(t *testing.T) {
	t.Parallel()
	s, order := asked(t, 10*Mbit, []int{0, 10}, []int{1, 11}, []int{2, 12}, []int{3, 13})
	if len(order) != 4 {
		t.Errorf("%v were served by an uplink that carries one piece in a second", order)
	}
	u := &s.devices[0].up
	if u.promised != 0 || u.all != 0 {
		t.Errorf("%d bytes are still promised, %d have not arrived", u.promised, u.all)
	}
	for _, d := range s.devices[1:] {
		if len(d.asks) > 0 {
			t.Errorf("device %d was never answered", d.n)
		}
	}
}
