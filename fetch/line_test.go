package fetch

import (
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
)

// besides is a Core among n others of whom below rank before it.
func besides(t *testing.T, n, below int) *Core {
	t.Helper()
	c := contentOf(t, 64<<20, 1<<20)
	d := NewCore(Config{Self: "me", Content: c, Have: piecehash.NewBitmap(c.Pieces()), Origin: true, Warm: true})
	d.key = 1 << 32
	for i := range n {
		m := &member{id: PeerID(rune('a' + i)), key: d.key + uint64(i) + 1, have: piecehash.NewBitmap(c.Pieces())}
		if i < below {
			m.key = uint64(i)
		}
		d.members[m.id] = m
		d.order = insert(d.order, m)
	}
	return d
}

// TestRule4WhoseTurnItIs: a site where nobody has anything yet waits a moment only for those that rank first, because they are
// starting; later an idle line means that they died, or may not use the origin.
func TestRule4WhoseTurnItIs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		others, below int
		mine, theirs  bool // this device, another, has a piece
		want          time.Duration
	}{
		"nobody has anything":              {11, 3, false, false, 3 * coldTurn},
		"nor has the first":                {11, 0, false, false, 0},
		"a member has a piece":             {11, 3, false, true, idleLine + 3*idleTurn},
		"this device has one":              {11, 3, true, false, idleLine + 3*idleTurn},
		"a site beyond a mesh":             {meshMost, 3, false, false, idleLine + 3*idleTurn},
		"the largest that is one":          {meshMost - 1, 3, false, false, 3 * coldTurn},
		"the last of many waits no longer": {60, 60, false, false, 50 * coldTurn},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := besides(t, c.others, c.below)
			if c.mine {
				d.have.Set(0)
			}
			if c.theirs {
				d.order[0].have.Set(0)
			}
			if got := d.turn(time.Second); got != c.want {
				t.Errorf("waits %v for its turn, want %v", got, c.want)
			}
		})
	}
}

// TestRule4NobodyTakesAPlaceOnAFullLine: where one of two streams has left and the other brings as much as both did, a third
// device would only find a line that is taken.
func TestRule4NobodyTakesAPlaceOnAFullLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wide, rate float64
		crowd      int
		want       bool
	}{
		"as much as with more":            {wide: 10e6, rate: 10e6, want: true},
		"a little less: rates sway":       {wide: 10e6, rate: 8e6, want: true},
		"half":                            {wide: 10e6, rate: 5e6},
		"there were never more":           {rate: 10e6},
		"in a crowd nobody knows so much": {wide: 10e6, rate: 10e6, crowd: 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := besides(t, 3, 2)
			d.origin.wide, d.crowd = c.wide, c.crowd
			const begin = time.Second
			d.originRate.start(begin)
			for now := begin; now < 3*begin; now += 10 * time.Millisecond {
				d.originRate.add(now, int64(c.rate/100))
			}
			if got := d.lineFull(3 * begin); got != c.want {
				t.Errorf("at %.0f B/s full: %v, want %v", d.siteRate(3*begin), got, c.want)
			}
		})
	}
}

// TestRule4WhoFallsSilentFillsNoLine: the only one that draws may have lost its link, and its lease has seconds to live.
func TestRule4WhoFallsSilentFillsNoLine(t *testing.T) {
	t.Parallel()
	d := besides(t, 2, 1)
	const rate = 1e6
	d.origin.wide = rate
	m := d.order[0]
	now := time.Duration(0)
	for i := 0; now < 4*time.Second; now += claimEvery {
		d.hearClaim(now, m, SayClaim{First: 0, Count: 8, Rate: rate, Done: int64(i) * rate / 2})
		i++
	}
	for silent, want := range map[time.Duration]bool{claimEvery: true, 2*claimEvery + time.Millisecond: false} {
		if got := d.lineFull(now - claimEvery + silent); got != want {
			t.Errorf("silent for %v: full %v, want %v", silent, got, want)
		}
	}
}

// TestRule5TheNextRangeIsAskedForInTime: as early as the origin needs for its first byte, not earlier: ranges that run side by
// side end late and all at once.
func TestRule5TheNextRangeIsAskedForInTime(t *testing.T) {
	t.Parallel()
	const kib = 1 << 10
	for name, c := range map[string]struct {
		first time.Duration // until the first byte of each range so far
		rate  float64
		size  int64
		want  int64
	}{
		"nothing is known: a long round trip":          {0, 4e6, 8 << 20, 600_000},
		"an origin that answers in 100 ms":             {100 * time.Millisecond, 4e6, 8 << 20, 600_000},
		"one that answers at once: never less":         {time.Millisecond, 4e6, 8 << 20, 256 * kib},
		"one that thinks for a second: half the range": {time.Second, 4e6, 1 << 20, 512 * kib},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := besides(t, 1, 0)
			now := time.Second
			d.originRate.start(now)
			for range 200 {
				now += 10 * time.Millisecond
				d.originRate.add(now, int64(c.rate/100))
			}
			if c.first > 0 {
				for range 8 {
					d.begin(now, &draw{moved: now - c.first})
				}
			}
			got := d.warnAt(now, c.size)
			if d := got - c.want; d > c.want/8 || d < -c.want/8 {
				t.Errorf("with %d bytes left, want %d", got, c.want)
			}
		})
	}
}

// TestADebtThatIsPaidHoldsNothingUp: a device whose pieces are taken late, but are taken, goes on; one whose pieces nobody takes
// stops, and so does one that owes twice as much.
func TestADebtThatIsPaidHoldsNothingUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		owed  int           // pieces
		since time.Duration // the last was taken
		want  bool
	}{
		"two":                           {2, time.Hour, false},
		"three, one was taken just now": {3, debtTime - 1, false},
		"three, none for a while":       {3, debtTime, true},
		"five, one was taken just now":  {5, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := besides(t, 2, 1)
			const now = 2 * time.Hour
			d.now = now - c.since
			for i := range c.owed {
				d.piece[i].drawn = true
				d.owe(i)
			}
			d.now = now
			d.judgeDebt(now)
			if got := d.holdsBack(now); got != c.want {
				t.Errorf("holds back: %v, want %v", got, c.want)
			}
		})
	}
}
