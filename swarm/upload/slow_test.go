package upload

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/swarm/wire"
)

const gbit = 125e6 // bytes per second

// carried is how many bytes one flow gets through a gigabit line in a tenth of a second. known is what the scheduler believes of
// the uplink; idle flows stand beside it; late is for how long the other end does not acknowledge the last segment of what it got.
func carried(t *testing.T, known float64, idle int, late time.Duration) (bytes int64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		u := New(0)
		u.rate = known
		line := &uplink{rate: gbit, start: time.Now()}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		go u.Run(ctx)
		for range idle {
			line.flow(u)
		}
		f := &fakeFlow{line: line}
		var seen int64
		var at time.Time
		f.Flow = u.NewFlow(func() int64 { line.drain(); return f.gone }, func() int64 {
			const segment = 1448
			if f.gone != seen {
				seen, at = f.gone, time.Now()
			}
			if time.Since(at) < late {
				return segment
			}
			return 0
		})
		f.Hold()
		for f.send(ctx, wire.MaxSlice) == nil {
		}
		synctest.Wait()
		bytes = f.gone
	})
	return bytes
}

// TestAnUplinkIsNotAsSlowAsItWas: a device that could send little so far, because it had little to send or its processor had other
// work, does not go on at that rate.
func TestAnUplinkIsNotAsSlowAsItWas(t *testing.T) {
	t.Parallel()
	const slow = 1e6
	if got := float64(carried(t, slow, 0, 0)); got < 0.5*gbit/10 {
		t.Errorf("a line that was taken for a slow one carried %.2f of what it can", got/(gbit/10))
	}
}

// TestALateAcknowledgementHoldsNothingUp: where the other end is in no hurry to say that it has the end of a slice, the next one
// goes all the same.
func TestALateAcknowledgementHoldsNothingUp(t *testing.T) {
	t.Parallel()
	const known = 5e6 // so that each of twelve has a slice for its share
	prompt, late := carried(t, known, 11, 0), carried(t, known, 11, 40*time.Millisecond)
	if late < prompt/2 {
		t.Errorf("%d bytes with late acknowledgements, %d with prompt ones", late, prompt)
	}
}
