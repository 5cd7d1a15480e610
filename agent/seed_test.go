package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// TestDoubtDeletesNothing: what a bad catalogue does not name any more stays, and is there when the catalogue is good
// again. What the organisation itself has withdrawn goes.
func TestDoubtDeletesNothing(t *testing.T) {
	t.Parallel()
	app := payload(1, 60_000)
	for name, c := range map[string]struct {
		spoil func(t *testing.T, w *world, u *metadata.Update)
		kind  fault.Kind
		kept  bool
	}{
		"a catalogue that does not verify": {func(t *testing.T, w *world, _ *metadata.Update) {
			t.Helper()
			w.damage(t, "acme")
		}, fault.Untrusted, true},
		"the catalogue of another publisher": {func(t *testing.T, w *world, u *metadata.Update) {
			t.Helper()
			w.org.Trust("zeta")
			w.org.Unapprove("pilot", "acme", u.ID, u.Version)
			w.publish()
			w.damage(t, "zeta")
		}, fault.Untrusted, true},
		"another content under the same version": {func(_ *testing.T, w *world, u *metadata.Update) {
			w.acme.Add(w.acme.Update("app", "1.0", 1, append(bytes.Clone(app), 1)), append(bytes.Clone(app), 1))
			w.publish()
		}, fault.Untrusted, true},
		"withdrawn by the organisation": {func(_ *testing.T, w *world, u *metadata.Update) {
			w.org.Unapprove("pilot", "acme", u.ID, u.Version)
			w.publish()
		}, 0, false},
		"withdrawn by the publisher": {func(_ *testing.T, w *world, u *metadata.Update) {
			w.acme.Withdraw(u.ID, u.Version)
			w.publish()
		}, fault.Refused, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			u := w.offer("app", "1.0", 1, app)
			d := w.device(nil)
			d.must(0)
			d.must(0)
			d.cfg.Limits.Store = 1 // what is in doubt is not for the limit to delete, either
			c.spoil(t, w, u)
			d.must(c.kind)
			if _, err := os.Stat(d.sealed(u.Root)); (err == nil) != c.kept {
				t.Errorf("kept: %v, want %v\n%s", err == nil, c.kept, d.log.String())
			}
		})
	}
}

// TestUnfinishedDownloadsDoNotStay: what was begun of a withdrawn update goes, once that is sure.
func TestUnfinishedDownloadsDoNotStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.org.Trust("zeta")
	u := w.offer("app", "1.0", 1, payload(1, 100_000))
	d := w.device(nil)
	w.origin.misbehave(w.origin.flip(90_000))
	left := func() int {
		t.Helper()
		roots, err := d.agent().store.Partials()
		if err != nil {
			t.Fatal(err)
		}
		return len(roots)
	}
	d.must(fault.Untrusted)
	if left() != 1 {
		t.Fatal("the test needs a download that was begun")
	}
	d.must(fault.Untrusted)
	if left() != 1 {
		t.Error("what is approved was deleted")
	}
	w.org.Unapprove("pilot", "acme", u.ID, u.Version)
	w.publish()
	w.damage(t, "zeta")
	d.must(fault.Untrusted)
	if left() != 1 {
		t.Error("deleted while it could not be told whether it is approved")
	}
	w.publish()
	d.must(0)
	if left() != 0 {
		t.Error("it stays for ever")
	}
}

func TestACatalogueThatHasRunOutIsDoubtful(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.release("app", "1.0", 1, payload(1, 20_000), nil)
	if err := doubtful(w.org.View(time.Now()), "pilot"); err != nil {
		t.Errorf("all is well: %v", err)
	}
	late := w.acme.Catalogue.Now.Add(-time.Hour)
	w.acme.Catalogue.Timestamp.Signed.Expires = late
	w.acme.Catalogue.Publish("targets")
	if err := doubtful(w.org.View(time.Now()), "pilot"); err == nil {
		t.Error("no doubt")
	}
}

// damage flips a bit in the timestamp of a catalogue at the depot.
func (w *world) damage(t *testing.T, publisher string) {
	t.Helper()
	name := filepath.Join(w.depot, "v1", "catalogue", publisher, "metadata", "timestamp.json")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(b, []byte(`"version"`))
	b[i+1] ^= 1
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
