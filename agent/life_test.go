package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// TestOneUpdateFromItsPublisherToTheDevice is the main path, with every part real.
func TestOneUpdateFromItsPublisherToTheDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app, other := payload(1, 100_003), payload(2, 50_000)
	u := w.offer("app", "1.0", 1, app)
	w.release("other", "1.0", 1, other, nil)
	d := w.device(nil)
	s := d.must(0)
	d.has("app", app)
	d.has("other", nil)
	if e := entry(t, s, "app", "1.0"); e.State != StateInstalled || e.Transfer == nil || e.Transfer.From.Origin != int64(len(app)) || e.Transfer.Waste != 0 || e.Since.IsZero() {
		t.Errorf("%+v, %+v", e, e.Transfer)
	}
	if e := entry(t, s, "other", "1.0"); e.State != StateNotApproved {
		t.Errorf("%+v", e)
	}
	if got := w.origin.bytes(); got != int64(len(app)) {
		t.Errorf("the origin has sent %d bytes, the payload has %d", got, len(app))
	}
	if s.Cycle.Result != outcomeOK || len(s.Expires) != 2 || s.Cycle.Ended.IsZero() {
		t.Errorf("%+v %+v", s.Cycle, s.Expires)
	}

	// Once more: nothing to do, nothing is fetched, and the status still says how it came.
	s = d.must(0)
	if e := entry(t, s, "app", "1.0"); e.State != StateInstalled || e.Transfer == nil || e.Transfer.From.Origin != int64(len(app)) {
		t.Errorf("%+v", e)
	}
	if got := w.origin.bytes(); got != 0 {
		t.Errorf("%d bytes were fetched for nothing", got)
	}

	// A newer release takes its place, and the content of what is not approved any more is deleted.
	newer := payload(3, 70_000)
	w.org.Unapprove("pilot", "acme", "app", "1.0")
	w.offer("app", "1.1", 2, newer)
	s = d.must(0)
	d.has("app", newer)
	if e := entry(t, s, "app", "1.1"); e.State != StateInstalled {
		t.Errorf("%+v", e)
	}
	if _, err := os.Stat(d.sealed(u.Root)); err == nil {
		t.Error("the content of the old release is still in the store")
	}
	kept, err := ReadStatus(d.cfg.StateDir)
	if err != nil || kept.Running || entry(t, kept, "app", "1.1").State != StateInstalled {
		t.Errorf("the status that is kept: %+v, %v", kept, err)
	}
}

func TestPeersGiveWhatTheyHave(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := payload(1, 400_000)
	u := w.offer("app", "1.0", 1, app)
	d := w.device(nil)
	d.withPeers(app, 2, 0.5, nil)
	s := d.must(0)
	d.has("app", app)
	e := entry(t, s, "app", "1.0")
	if f := e.Transfer.From; f.Peers == 0 || f.Origin == 0 || f.Total()-e.Transfer.Waste != int64(len(app)) || f.Origin != w.origin.bytes() {
		t.Errorf("%+v", e.Transfer)
	}
	if s.Group != "lan" {
		t.Errorf("group %q", s.Group)
	}

	// What may not be exchanged is not.
	w.approve(u, func(a *metadata.Approval) { a.Peering = false })
	alone := w.device(nil)
	alone.withPeers(app, 2, 1, nil)
	if err := os.Remove(filepath.Join(w.target, "app")); err != nil {
		t.Fatal(err)
	}
	s = alone.must(0)
	if e := entry(t, s, "app", "1.0"); e.Transfer.From.Peers != 0 || e.Transfer.From.Origin != int64(len(app)) {
		t.Errorf("%+v", e.Transfer)
	}
}

func TestRequirementsComeFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	runtime, app := payload(1, 20_000), payload(2, 20_000)
	r := w.release("zlib", "1.0", 1, runtime, nil)
	target := w.acme.Catalogue.Roles["targets"].Signed.Targets["zlib/1.0"]
	u := w.release("app", "1.0", 1, app, func(u *metadata.Update) {
		u.Requires = []metadata.Requirement{{ID: "zlib", Version: "1.0", SHA256: [32]byte(target.Hashes["sha256"])}}
	})
	w.approve(u, nil)
	d := w.device(nil)
	if e := entry(t, d.must(0), "app", "1.0"); e.State != StateWaiting || !strings.Contains(e.Reason, "zlib 1.0") {
		t.Errorf("without what it needs: %+v", e)
	}
	d.has("app", nil)
	w.approve(r, nil)

	// If what it needs cannot be had, it waits, and only the cause is an error.
	w.origin.misbehave(w.origin.flip(5))
	if e := entry(t, d.must(fault.Untrusted), "app", "1.0"); e.State != StateWaiting || !strings.Contains(e.Reason, "was not installed") {
		t.Errorf("after a failure: %+v", e)
	}
	w.origin.misbehave(nil)
	d.must(0)
	d.has("zlib", runtime)
	d.has("app", app)
}

func TestOneBadJobKeepsNoOtherFromItsTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bad, good := payload(1, 40_000), payload(2, 40_000)
	u := w.offer("a-bad", "1.0", 1, bad)
	w.offer("b-good", "1.0", 1, good)
	w.origin.add(u.Root, append([]byte{bad[0] ^ 1}, bad[1:]...))
	d := w.device(nil)
	s := d.must(fault.Untrusted)
	d.has("a-bad", nil)
	d.has("b-good", good)
	if e := entry(t, s, "a-bad", "1.0"); e.State != StateFailed || e.Error == nil || e.Error.Kind != "untrusted" {
		t.Errorf("%+v", e)
	}
}

func TestAMissingFileIsInstalledAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := payload(1, 60_000)
	w.offer("app", "1.0", 1, app)
	d := w.device(nil)
	d.must(0)
	w.origin.bytes()
	if err := os.Remove(filepath.Join(w.target, "app")); err != nil {
		t.Fatal(err)
	}
	d.must(0)
	d.has("app", app)
	if got := w.origin.bytes(); got != 0 {
		t.Errorf("%d bytes were fetched although the store has them", got)
	}
}

func TestHoldHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v1, v2 := payload(1, 20_000), payload(2, 20_000)
	w.offer("app", "1.0", 1, v1)
	d := w.device(nil)
	d.must(0)
	u := w.offer("app", "2.0", 2, v2)
	w.approve(u, func(a *metadata.Approval) { a.Action = metadata.ActionHold })
	d.must(0)
	d.has("app", v1)
}

// TestSecondAgentIsRefused: two agents in one state folder would undo each other's work.
func TestSecondAgentIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(nil)
	first := d.agent()
	err := first.live(t.Context(), func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		_, err := d.onceFor(ctx)
		return err
	})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.Hint(err), "another agent") {
		t.Errorf("%v, hint %q", err, fault.Hint(err))
	}
}

func TestTheStoreKeepsToItsLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(func(c *Config) { c.Limits.Store = 100_000 })
	for i, id := range []string{"a", "b", "c"} {
		w.offer(id, "1", 1, payload(uint64(i), 60_000))
		d.must(0)
	}
	a := d.agent()
	roots, err := a.store.Roots()
	if err != nil || len(roots) != 1 {
		t.Errorf("%d contents are kept: %v", len(roots), err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if _, err := os.Stat(filepath.Join(w.target, id)); err != nil {
			t.Error(err)
		}
	}
	w.origin.bytes()
	d.must(0)
	if n := w.origin.bytes(); n != 0 {
		t.Errorf("%d bytes are fetched again", n)
	}
}

func TestOverLimit(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	all := []stored{{[32]byte{1}, 10, at(3)}, {[32]byte{2}, 20, at(1)}, {[32]byte{3}, 30, at(2)}}
	for name, c := range map[string]struct {
		limit  int64
		needed byte
		want   string
	}{
		"no limit": {0, 0, ""}, "fits": {60, 0, ""}, "one goes": {59, 0, "2"}, "two go": {15, 0, "2 3"},
		"all go": {5, 0, "2 3 1"}, "what is needed stays": {25, 2, "3 1"},
	} {
		var got []string
		for _, s := range overLimit(all, c.limit, map[piecehash.Root]bool{{c.needed}: true}) {
			got = append(got, string('0'+rune(s.root[0])))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v go, want %s", name, got, c.want)
		}
	}
}
