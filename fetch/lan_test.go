package fetch_test

import (
	"slices"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

func TestRule7AnIdleHolderTakesOver(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1, func(c *fetch.Config) { c.Warm = true; c.Origin = false })
	d.join(0, "busy", 0)
	d.at(0)
	d.join(50*ms, "idle", 0)
	d.acts = nil
	if d.at(100 * ms); len(d.acts) != 0 {
		t.Fatalf("too early: %+v", d.acts)
	}
	d.at(200 * ms)
	want := []fetch.Action{fetch.Cancel{Peer: "busy", Piece: 0}, fetch.Ask{Peer: "idle", Piece: 0}}
	if !slices.Equal(d.acts, want) {
		t.Errorf("%+v, want %+v", d.acts, want)
	}
}

// TestRule7ARequestIsMovedOnce: a first byte that is late at every holder is late because of this device's own line.
func TestRule7ARequestIsMovedOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1, func(c *fetch.Config) { c.Warm = true; c.Origin = false })
	d.join(0, "a", 0)
	d.join(0, "b", 0)
	for now := time.Duration(0); now < 900*ms; now += 10 * ms { // before the endgame asks a second holder
		d.at(now)
	}
	if got := take[fetch.Ask](d); len(got) != 2 || got[0].Peer == got[1].Peer {
		t.Errorf("%+v, want one request and one move", got)
	}
}

// slowLine lets a device with a line of 1 MiB/s fetch from one member that has everything, and from the origin when it decides
// so; lan is what the member can send at most. It returns what came from the origin, in bytes.
func slowLine(t *testing.T, pieces int, until time.Duration, lan func(time.Duration) float64) (fromOrigin int64) {
	t.Helper()
	const line, step = mib, 100 * ms
	d := newDesk(t, pieces, func(c *fetch.Config) { c.Warm = true })
	d.join(0, "a", upTo(pieces)...)
	asked, drawn := map[int]int64{}, map[int]fetch.Draw{}
	left := map[int]int64{}
	for now := time.Duration(0); now < until && !d.core.Done(); now += step {
		d.at(now)
		for _, a := range d.acts {
			switch a := a.(type) {
			case fetch.Ask:
				asked[a.Piece] = mib
			case fetch.Draw:
				drawn[a.ID], left[a.ID] = a, int64(a.Count)*mib
			}
		}
		d.acts = nil
		share := line * step.Seconds() / float64(max(1, len(asked)+len(drawn)))
		fromMember := int64(min(share, lan(now)*step.Seconds()/float64(max(1, len(asked)))))
		for i, n := range asked {
			got := min(n, fromMember)
			d.core.AskProgress(now, "a", i, got)
			if asked[i] -= got; asked[i] == 0 {
				delete(asked, i)
				d.core.Stored(now, i, "a")
				d.core.AskEnded(now, "a", i, fetch.AskOK, 0)
			}
		}
		for id, dr := range drawn {
			got := min(left[id], int64(share))
			fromOrigin += got
			d.core.DrawProgress(now, id, got)
			if left[id] -= got; left[id] == 0 {
				delete(drawn, id)
				for i := dr.First; i < dr.First+dr.Count; i++ {
					d.core.Stored(now, i, "")
				}
				d.core.DrawEnded(now, id, fetch.DrawOK)
			}
		}
	}
	if !d.core.Done() {
		t.Error("not done")
	}
	return fromOrigin
}

// TestRule11AnOwnSlowLineIsNotTheLANs: a device that gets 1 MB/s from anywhere tries the origin too, sees that both bring no
// more, and leaves it alone, also when the line has a bad moment just before.
func TestRule11AnOwnSlowLineIsNotTheLANs(t *testing.T) {
	t.Parallel()
	got := slowLine(t, 64, 70*sec, func(now time.Duration) float64 {
		if now > 3*sec && now < 5600*ms {
			return mib / 2
		}
		return mib
	})
	if got == 0 || got > 4*mib {
		t.Errorf("%d KiB from the origin, want one trial", got>>10)
	}
}

// TestRule11TheLANIsLookedAtAgain: a member that was busy with others at first has time for this device later. Beside the origin
// it would look slow to the end of the file, because the two share a line that one of them fills.
func TestRule11TheLANIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	got := slowLine(t, 256, 300*sec, func(now time.Duration) float64 {
		if now < 12*sec {
			return mib / 4
		}
		return mib
	})
	if got == 0 || got > 40*mib {
		t.Errorf("%d KiB from the origin, want one term", got>>10)
	}
}
