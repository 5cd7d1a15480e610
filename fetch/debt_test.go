package fetch_test

import (
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// TestADeviceDrawsOnlyAsFarAheadAsItPassesOn: it stops with two pieces that nobody has taken, goes on when one is taken,
// and after a second leaves the origin to whoever else draws; but it never leaves the line idle.
func TestADeviceDrawsOnlyAsFarAheadAsItPassesOn(t *testing.T) {
	t.Parallel()
	const pieces = 32
	for name, c := range map[string]struct {
		takes, owner bool // the other member takes what it can, and draws itself
		enough       func(drawn int) bool
	}{
		"all is taken":              {takes: true, enough: func(n int) bool { return n == pieces }},
		"nothing is taken":          {owner: true, enough: func(n int) bool { return n > 2 && n < 8 }},
		"nothing, and nobody draws": {enough: func(n int) bool { return n == pieces }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, pieces, func(c *fetch.Config) { c.Warm = true })
			d.join(0, "other")
			drawn := 0
			for now := time.Duration(0); now < 20*sec; now += 50 * ms {
				if c.owner { // one piece a second, from the end
					own := pieces - 1 - int(now/sec)
					d.said(now, "other", fetch.SayHave{First: own + 1, Count: pieces - 1 - own, Drawn: true})
					d.said(now, "other", fetch.SayClaim{First: own, Count: 1, Rate: mib, Done: mib * int64(now%sec) / int64(sec)})
				}
				d.at(now)
				var draws []fetch.Draw
				for _, a := range d.acts {
					switch a := a.(type) {
					case fetch.Ask:
						d.core.Stored(now, a.Piece, a.Peer)
						d.core.AskEnded(now, a.Peer, a.Piece, fetch.AskOK, 0)
					case fetch.Draw:
						draws = append(draws, a)
					}
				}
				d.acts = nil
				for _, a := range draws {
					for i := a.First; i < a.First+a.Count; i++ {
						drawn++
						d.core.Stored(now, i, "")
						if c.takes {
							d.said(now, "other", fetch.SayHave{First: i, Count: 1})
						}
					}
					d.core.DrawProgress(now, a.ID, int64(a.Count)*mib)
					d.core.DrawEnded(now, a.ID, fetch.DrawOK)
				}
			}
			if !c.enough(drawn) {
				t.Errorf("drew %d of %d pieces", drawn, pieces)
			}
		})
	}
}

// TestARateIsBelievedAsFarAsProgressShows: a device whose line brings a fraction of what another's does leaves the origin to
// that one; a rate that is only said changes nothing.
func TestARateIsBelievedAsFarAsProgressShows(t *testing.T) {
	t.Parallel()
	const pieces = 256
	for name, c := range map[string]struct {
		rate, progress int64 // what the other says that it draws, and what it then has, in pieces a second
		leaves         bool
	}{
		"it draws eight times as much":          {8, 8, true},
		"it draws as much":                      {1, 1, false},
		"it says so and draws nothing":          {8, 0, false},
		"it says a thousand times as much":      {1000, 1, false},
		"it says less than what it draws":       {1, 8, false},
		"it draws eight times, says a bit more": {12, 8, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, pieces, func(c *fetch.Config) { c.Warm = true })
			d.join(0, "other")
			var under []fetch.Draw
			late := 0 // ranges asked for after two seconds, when all is known
			for now := time.Duration(0); now < 8*sec; now += 125 * ms {
				done := c.progress * int64(now) / int64(sec) // whole pieces
				for k := int64(0); k < 2; k++ {              // it claims two at a time; what is said again counts once
					first := pieces - 1 - int(done+k)
					d.said(now, "other", fetch.SayClaim{First: first, Count: 1, Rate: c.rate * mib, Done: int64(now / ms)})
				}
				if done > 0 {
					d.said(now, "other", fetch.SayHave{First: pieces - int(done), Count: int(done)})
				}
				for _, a := range d.at(now).acts {
					switch a := a.(type) {
					case fetch.Ask:
						d.core.Stored(now, a.Piece, a.Peer)
					case fetch.Draw:
						under = append(under, a)
						if now > 2*sec {
							late++
						}
					}
				}
				d.acts = nil
				if len(under) == 0 {
					continue
				}
				a := under[0]
				d.core.DrawProgress(now, a.ID, int64(a.Count)*mib/8)
				if now%sec == 0 && now > 0 { // one piece a second
					under = under[1:]
					for i := a.First; i < a.First+a.Count; i++ {
						d.core.Stored(now, i, "")
						d.said(now, "other", fetch.SayHave{First: i, Count: 1})
					}
					d.core.DrawEnded(now, a.ID, fetch.DrawOK)
				}
			}
			if (late == 0) != c.leaves {
				t.Errorf("asked for %d ranges, leaves the origin to the other: want %v", late, c.leaves)
			}
		})
	}
}

// TestAClaimIsTakenOverByItsProgress: whatever rate is said, a claim that crawls is taken over, and one that moves is not.
func TestAClaimIsTakenOverByItsProgress(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rate, progress int64 // bytes per second
		steal          bool
	}{
		"it moves as it says":   {mib, mib, false},
		"it crawls and says so": {mib / 64, mib / 64, true},
		"it crawls and boasts":  {1 << 40, 2, true},
		"it crawls, says none":  {0, 2, true},
		"it moves, says none":   {0, mib, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, 8, func(c *fetch.Config) { c.Warm = true })
			d.join(0, "a")
			stolen := false
			for now := time.Duration(0); now < 3*sec; now += 100 * ms {
				d.said(now, "a", fetch.SayClaim{First: 7, Count: 1, Rate: c.rate, Done: c.progress * int64(now) / int64(sec)})
				for _, a := range take[fetch.Draw](d.at(now)) {
					if a.First == 7 {
						stolen = stolen || a.Why == fetch.Steal
						continue
					}
					for i := a.First; i < a.First+a.Count; i++ {
						d.core.DrawProgress(now, a.ID, mib)
						d.core.Stored(now+10*ms, i, "")
						d.said(now, "a", fetch.SayHave{First: i, Count: 1})
					}
					d.core.DrawEnded(now+10*ms, a.ID, fetch.DrawOK)
				}
			}
			if stolen != c.steal {
				t.Errorf("taken over: %v, want %v", stolen, c.steal)
			}
		})
	}
}
