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
