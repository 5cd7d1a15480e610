package fetch_test

import (
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// TestADistantMemberKeepsItsRightToClaim: it claims one piece after the other and never says that it has drawn one. If they
// come otherwise it has not failed, and its next claim blocks as any other does; if not, it loses the right to claim.
func TestADistantMemberKeepsItsRightToClaim(t *testing.T) {
	t.Parallel()
	const claims = 5
	for name, c := range map[string]struct {
		come   bool // the pieces that it claims come to a neighbour
		blocks bool
	}{
		"they come otherwise": {true, true},
		"they do not come":    {false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, claims+1, func(cfg *fetch.Config) { cfg.Warm = true })
			d.join(0, "a")
			drew := -1 // the newest piece that this device drew
			// run lets the time pass: nothing is free but what far claims, because "a" claims all that comes after.
			run := func(from time.Duration, i int) {
				for now := from; now < from+4*sec; now += 100 * ms {
					for k := i + 1; k <= claims; k++ {
						d.said(now, "a", fetch.SayClaim{First: k, Count: 1, Done: int64(now/ms) + 1})
					}
					if now == from {
						d.said(now, "a", fetch.SayRelease{First: i, Count: 1})
						d.core.Hear(now, fetch.Said{ID: "far", Relayed: true, What: fetch.SayClaim{First: i, Count: 1}})
					}
					if i < claims && c.come && now == from+sec {
						d.said(now, "a", fetch.SayHave{First: i, Count: 1})
					}
					for _, a := range d.at(now).acts {
						switch a := a.(type) {
						case fetch.Ask:
							d.core.Stored(now, a.Piece, a.Peer)
						case fetch.Draw:
							drew = a.First
							d.core.Stored(now, a.First, "")
							d.core.DrawEnded(now, a.ID, fetch.DrawOK)
							d.said(now, "a", fetch.SayHave{First: a.First, Count: 1})
						}
					}
					d.acts = nil
					if i == claims {
						return
					}
				}
			}
			for i := range claims + 1 {
				run(time.Duration(i)*4*sec, i)
			}
			blocked := drew < claims
			if blocked != c.blocks {
				t.Errorf("the last claim blocks: %v, want %v", blocked, c.blocks)
			}
		})
	}
}

// TestAClaimThatIsNotDrawnToItsEndIsTakenBack: what this device has claimed and then gets over the LAN is news that members
// without a link to it do not hear.
func TestAClaimThatIsNotDrawnToItsEndIsTakenBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		others int // pieces at the claim's end that a neighbour gets meanwhile
		back   int // how often the claim is taken back
	}{
		"all is drawn":          {0, 0},
		"the last piece comes":  {1, 1},
		"two of the four come":  {2, 1},
		"three of the four are": {3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const pieces, per = 1024, 4 // a span has four pieces
			d := newDesk(t, pieces, func(cfg *fetch.Config) {
				cfg.Warm = true
				for i := range pieces - per {
					cfg.Have.Set(per + i)
				}
			})
			d.join(0, "a", upTo(pieces)[per:]...)
			back := 0
			for now := time.Duration(0); now < 2*sec; now += 50 * ms {
				d.at(now)
				for _, a := range d.acts {
					switch a := a.(type) {
					case fetch.Tell:
						if r, ok := a.What.(fetch.SayRelease); ok {
							back++
							if r.First != 0 || r.Count != per {
								t.Errorf("%+v is taken back", r)
							}
						}
					case fetch.Draw:
						if a.First == 0 && c.others > 0 {
							d.said(now, "a", fetch.SayHave{First: per - c.others, Count: c.others})
						}
						for i := a.First; i < a.First+a.Count; i++ {
							d.core.Stored(now, i, "")
						}
						d.core.DrawEnded(now, a.ID, fetch.DrawOK)
					}
				}
				d.acts = nil
			}
			if back != c.back {
				t.Errorf("the claim is taken back %d times, want %d", back, c.back)
			}
		})
	}
}
