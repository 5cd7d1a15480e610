package fetch_test

import (
	"testing"

	"github.com/dunlin-project/dunlin/fetch"
)

// TestRule3TheLastPieceOfASlowHolderIsDrawnAgain: by a device that knows what the line gives, and by no other.
func TestRule3TheLastPieceOfASlowHolderIsDrawnAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		drew  bool  // this device has drawn the other pieces
		pace  int64 // bytes of the holder's in 100 ms
		again bool
	}{
		"the holder crawls":              {true, 10 << 10, true},
		"it is as fast as the line":      {true, 100 << 10, false},
		"it crawls, and this one is new": {false, 10 << 10, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const pieces = 4
			d := newDesk(t, pieces, func(c *fetch.Config) { c.Warm = true })
			d.join(0, "slow", 0)
			var again bool
			left := map[int]fetch.Draw{}
			for now := 100 * ms; now < 4*sec && !d.core.Done(); now += 100 * ms {
				d.at(now)
				for _, a := range take[fetch.Draw](d) {
					again = again || a.First == 0
					left[a.ID] = a
				}
				for id, a := range left {
					if !c.drew {
						continue
					}
					d.core.DrawProgress(now, id, 200<<10)
					if now > 1500*ms {
						for i := a.First; i < a.First+a.Count; i++ {
							d.core.Stored(now, i, "")
						}
						d.core.DrawEnded(now, id, fetch.DrawOK)
						delete(left, id)
					}
				}
				if !c.drew && now == 100*ms { // the others come over the LAN
					d.join(now, "fast", 1, 2, 3)
					for id := range left {
						d.core.DrawEnded(now, id, fetch.DrawFailed)
						delete(left, id)
					}
				}
				if !c.drew && now == 200*ms {
					for i := 1; i < pieces; i++ {
						d.core.Stored(now, i, "fast")
					}
				}
				d.core.AskProgress(now, "slow", 0, c.pace)
			}
			if again != c.again {
				t.Errorf("drawn again: %v, want %v", again, c.again)
			}
		})
	}
}

// TestAPieceThatCannotBeDrawnIsTakenUpAgain: the origin dies just when the last piece of a crawling holder is drawn.
func TestAPieceThatCannotBeDrawnIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	const pieces = 4
	d := newDesk(t, pieces, func(c *fetch.Config) { c.Warm = true })
	d.join(0, "slow", 0)
	again, asked := false, false
	under := map[int]fetch.Draw{}
	for now := 100 * ms; now < 6*sec; now += 100 * ms {
		d.at(now)
		for _, a := range d.acts {
			switch a := a.(type) {
			case fetch.Draw:
				again = again || a.First == 0
				under[a.ID] = a
			case fetch.Ask:
				asked = asked || again
			}
		}
		d.acts = nil
		for id, a := range under {
			switch {
			case a.First == 0:
				d.core.DrawEnded(now, id, fetch.DrawDead)
				delete(under, id)
			case now > 1500*ms:
				for i := a.First; i < a.First+a.Count; i++ {
					d.core.Stored(now, i, "")
				}
				d.core.DrawEnded(now, id, fetch.DrawOK)
				delete(under, id)
			default:
				d.core.DrawProgress(now, id, 200<<10)
			}
		}
		d.core.AskProgress(now, "slow", 0, 10<<10)
	}
	if !again || !asked {
		t.Errorf("drawn %v, then asked for again %v", again, asked)
	}
}
