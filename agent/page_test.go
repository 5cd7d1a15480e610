package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/history"
	"github.com/dunlin-project/dunlin/internal/page"
)

// TestLook is what the page tells of a device that has installed one update and may not have another.
func TestLook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app, other := payload(1, 400_003), payload(2, 50_000)
	w.offer("app", "1.0", 1, app)
	w.release("other", "1.0", 1, other, nil)
	d := w.device(nil)
	d.withPeers(app, 2, 0.5, nil)
	a := d.agent()
	if err := a.Once(context.Background()); err != nil {
		t.Fatal(err)
	}
	look, total := a.Look(), a.Counters().Total
	if total[history.FromOrigin] != w.origin.bytes() || total[history.FromPeers] == 0 {
		t.Errorf("counted %v, the origin has sent %d", total, w.origin.bytes())
	}
	if total[history.Kept] != int64(len(app)) || total.Received() != total[history.Kept]+total[history.Waste] {
		t.Errorf("counted %v, the payload has %d", total, len(app))
	}
	if look.Kind != page.Device || look.Name != a.id || len(look.Transfers) != 0 || len(look.Items) != 2 {
		t.Fatalf("%+v", look)
	}
	if it := look.Items[0]; it.Name != "acme/app" || it.State != string(StateInstalled) || it.Length != int64(len(app)) || it.Bad {
		t.Errorf("%+v", it)
	}
	if it := look.Items[1]; it.State != string(StateNotApproved) {
		t.Errorf("%+v", it)
	}
	var words []string
	for _, d := range look.Decisions { // the newest first
		words = append(words, d.What+" "+d.Outcome)
	}
	want := "Cycle ok, acme/app 1.0 installed, acme/app 1.0 installing, acme/app 1.0 downloading"
	if got := strings.Join(words, ", "); got != want {
		t.Errorf("decided %s\nwant    %s", got, want)
	}
	if why := look.Decisions[1].Why; !strings.Contains(why, "from peers") {
		t.Errorf("it does not say where the update came from: %q", why)
	}
}

// TestDecisionsAreRemembered once each, as long as there are few.
func TestDecisionsAreRemembered(t *testing.T) {
	t.Parallel()
	var b board
	now := time.Now()
	u := Update{Publisher: "acme", ID: "app", Version: "1", State: StateWaiting, Reason: "not before tomorrow"}
	for range 3 {
		b.list([]Update{u, {Publisher: "acme", ID: "b", State: StateNotApproved}})
		b.cycleEnded(now, nil)
	}
	bad := fault.New(fault.Unavailable, "the depot is away")
	b.cycleEnded(now, bad)
	b.cycleEnded(now, bad)
	u.State, u.Error = StateFailed, failure(errors.New("no"))
	b.set(u)
	b.set(u)
	got := b.lately()
	if len(got) != 4 || got[0].Outcome != string(StateFailed) || !got[0].Bad || got[0].Why != "internal: no" ||
		got[1].Outcome != "unavailable" || got[2].Outcome != "ok" || got[3].Why != "not before tomorrow" {
		t.Errorf("%+v", got)
	}
	for i := range 1000 {
		u.Reason = strings.Repeat("x", i)
		b.set(u)
	}
	if got := b.lately(); len(got) != maxDecided || got[0].At.Before(now) {
		t.Errorf("%d are remembered", len(got))
	}
}
