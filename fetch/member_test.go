package fetch_test

import (
	"fmt"
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

// TestWhoWasNoticedMakesRoom: a device that discovery finds later counts, however many were found before and never joined.
// A device that believes to be alone draws in larger ranges than the one it draws in when somebody is expected.
func TestWhoWasNoticedMakesRoom(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before int
		later  bool
		one    bool // all ranges are of one piece
	}{
		"nobody":                     {},
		"all have run out":           {before: 600},
		"the first":                  {later: true, one: true},
		"another, a few are full":    {before: 10, later: true, one: true},
		"another, the list was full": {before: 600, later: true, one: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, 64, nil)
			for i := range c.before {
				d.core.Hear(0, fetch.Noticed{ID: fetch.PeerID(fmt.Sprint("gone ", i))})
			}
			if c.later {
				d.core.Hear(5*sec, fetch.Noticed{ID: "later"})
			}
			most := 0
			for now := 5 * sec; now < 6*sec; now += 10 * ms {
				for _, a := range take[fetch.Draw](d.at(now)) {
					most = max(most, a.Count)
					for i := a.First; i < a.First+a.Count; i++ {
						d.core.Stored(now, i, "")
					}
					d.core.DrawProgress(now, a.ID, int64(a.Count)*mib)
					d.core.DrawEnded(now, a.ID, fetch.DrawOK)
				}
			}
			if most == 0 || c.one != (most == 1) {
				t.Errorf("the largest range has %d pieces", most)
			}
		})
	}
}
