package fetch_test

import (
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// TestAMemberThatFailedIsAskedAgain: its pause ends with a request, however few pieces are missing, and also when nothing was
// free to be asked for at the moment it ended.
func TestAMemberThatFailedIsAskedAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pieces int
		origin bool // draws everything until it dies, after the pause has ended
	}{
		"one piece, no origin":             {1, false},
		"all is drawn when the pause ends": {2, true},
		"many pieces":                      {32, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, c.pieces, func(cfg *fetch.Config) { cfg.Warm, cfg.Origin = true, c.origin })
			d.join(0, "a", upTo(c.pieces)...)
			asked := 0
			drawn := map[int]fetch.Draw{}
			for now := time.Duration(0); now < 10*sec; now += 50 * ms {
				d.at(now)
				for _, a := range d.acts {
					switch a := a.(type) {
					case fetch.Ask:
						if now > 2*sec {
							asked++
						}
					case fetch.Draw:
						drawn[a.ID] = a
					}
				}
				d.acts = nil
				for id := range drawn {
					if now < 5*sec {
						d.core.DrawProgress(now, id, 1)
						continue
					}
					d.core.DrawEnded(now, id, fetch.DrawDead)
					delete(drawn, id)
				}
			}
			if asked == 0 {
				t.Error("it is never asked again")
			}
		})
	}
}
