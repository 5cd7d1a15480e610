package fetch_test

import (
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// thinDesk is a device whose line brings so many bytes per second: it has drawn for a few seconds.
func thinDesk(t *testing.T, pieces int, rate int64) (d *desk, under fetch.Draw, now time.Duration) {
	t.Helper()
	d = newDesk(t, pieces, func(c *fetch.Config) { c.Warm = true })
	d.join(0, "a")
	draws := take[fetch.Draw](d.at(0))
	if len(draws) == 0 {
		t.Fatal("no range")
	}
	for now = 100 * ms; now <= 4*sec; now += 100 * ms {
		d.core.DrawProgress(now, draws[0].ID, rate/10)
		d.at(now)
	}
	return d, draws[0], now
}

// TestAUselessRangeIsBrokenOff: where the rest of a range takes long, it ends when a member has the piece, or claims it with
// the better right. Where it is about to end it goes on.
func TestAUselessRangeIsBrokenOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rate int64
		what func(piece int) fetch.Saying
		cut  bool
	}{
		"a member has the piece":           {32 << 10, func(i int) fetch.Saying { return fetch.SayHave{First: i, Count: 1} }, true},
		"it has it, and the line is quick": {230 << 10, func(i int) fetch.Saying { return fetch.SayHave{First: i, Count: 1} }, false},
		"it has another piece":             {32 << 10, func(i int) fetch.Saying { return fetch.SayHave{First: (i + 1) % 8, Count: 1} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, under, now := thinDesk(t, 8, c.rate)
			d.acts = nil
			d.said(now, "a", c.what(under.First))
			cut, released := false, false
			for _, a := range d.at(now).acts {
				switch a := a.(type) {
				case fetch.Cut:
					cut = cut || a.ID == under.ID
				case fetch.Tell:
					r, ok := a.What.(fetch.SayRelease)
					released = released || ok && r.First == under.First
				}
			}
			if cut != c.cut || released != c.cut {
				t.Errorf("broken off: %v, said so: %v, want %v", cut, released, c.cut)
			}
		})
	}
}

// TestOneOfTwoThinRangesIsBrokenOff: of two devices that draw the same piece over a thin line exactly one stops at once.
func TestOneOfTwoThinRangesIsBrokenOff(t *testing.T) {
	t.Parallel()
	yields := 0
	for k := range 40 {
		d := newDesk(t, 1, func(c *fetch.Config) { c.Warm = true })
		other := fetch.PeerID(rune('a' + k))
		d.join(0, other)
		draws := take[fetch.Draw](d.at(0))
		for now := 100 * ms; len(draws) == 0 && now < 2*sec; now += 100 * ms {
			draws = take[fetch.Draw](d.at(now))
		}
		for now := 2 * sec; now < 5*sec; now += 100 * ms {
			d.core.DrawProgress(now, draws[0].ID, 4<<10)
			d.at(now)
		}
		d.acts = nil
		d.said(5*sec, other, fetch.SayClaim{First: 0, Count: 1})
		yields += len(take[fetch.Cut](d.at(5 * sec)))
	}
	if yields < 5 || yields > 35 {
		t.Errorf("this device stops %d times of 40", yields)
	}
}

// TestAThinLineIsAskedForLittle: ranges follow the rate, from one piece to a MiB.
func TestAThinLineIsAskedForLittle(t *testing.T) {
	t.Parallel()
	d, _, now := thinDesk(t, 256, 40<<10)
	for s := now; s < now+30*sec; s += 100 * ms {
		d.core.DrawProgress(s, 1, 4<<10)
		if n := len(take[fetch.Draw](d.at(s))); n > 1 {
			t.Fatalf("%d ranges at once over a line that needs 25 s for one", n)
		}
	}
}

// TestTheProgressOfOthersIsSeen: for who waits it is a reason not to give up.
func TestTheProgressOfOthersIsSeen(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 8, func(c *fetch.Config) { c.Warm = true })
	d.join(0, "a")
	for _, s := range []struct {
		at   time.Duration
		done int64
		want time.Duration
	}{
		{sec, 0, 0},
		{2 * sec, 100, 2 * sec},
		{3 * sec, 100, 2 * sec}, // said again, nothing has come
		{4 * sec, 200, 4 * sec},
	} {
		d.said(s.at, "a", fetch.SayClaim{First: 0, Count: 1, Done: s.done})
		if got := d.core.OthersMoved(); got != s.want {
			t.Errorf("at %v: others moved at %v, want %v", s.at, got, s.want)
		}
	}
}
