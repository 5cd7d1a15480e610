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
				if c.owner {
					d.said(now, "other", fetch.SayClaim{First: pieces - 1, Count: 1, Rate: mib, Done: int64(now / ms)})
				}
				for _, a := range take[fetch.Draw](d.at(now)) {
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
