package repository_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	tuf "github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/repository"
)

func TestCreateIsAcceptedByAClient(t *testing.T) {
	t.Parallel()
	b := newBench(t, set("targets", "editor/1.0"))
	c := b.client(t)
	got := c.Targets["targets"].Signed.Targets["editor/1.0"]
	want := target("editor/1.0")
	if got == nil || got.Length != want.Length || len(got.Hashes) != 1 || *got.Custom == nil {
		t.Fatalf("target: %+v", got)
	}
	for _, v := range []int64{c.Root.Signed.Version, c.Timestamp.Signed.Version, c.Snapshot.Signed.Version, c.Targets["targets"].Signed.Version} {
		if v != 1 {
			t.Errorf("version %d at the start", v)
		}
	}
	for _, s := range []string{c.Root.Signed.SpecVersion, c.Timestamp.Signed.SpecVersion, c.Snapshot.Signed.SpecVersion, c.Targets["targets"].Signed.SpecVersion} {
		if s != "1.0.34" {
			t.Errorf("spec_version %q", s)
		}
	}
	if got := c.Timestamp.Signed.UnrecognizedFields["issued"]; got != "2026-11-24T08:00:00Z" {
		t.Errorf("issued %v", got)
	}
	if !c.Root.Signed.ConsistentSnapshot {
		t.Error("no consistent snapshots")
	}
}

func TestPublicFolderIsWhatAWebServerNeeds(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	got := names(t, b.config.Public)
	if want := []string{"1.root.json", "1.snapshot.json", "1.targets.json", "timestamp.json"}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	for _, name := range got {
		if m := mode(t, filepath.Join(b.config.Public, name)); m != 0o644 {
			t.Errorf("%s: mode %v", name, m)
		}
	}
	if m := mode(t, b.config.Record); m != 0o600 {
		t.Errorf("record: mode %v", m)
	}
}

func TestVersionsGoUpOnlyWhereSomethingChanged(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.now = b.now.Add(time.Hour)
	r := b.update(t, set("targets", "a/1"))
	if want := []string{"targets", "snapshot", "timestamp"}; !slices.Equal(r.Signed, want) {
		t.Errorf("signed %v, want %v", r.Signed, want)
	}
	if r := b.update(t, set("targets", "a/1")); len(r.Signed) != 0 {
		t.Errorf("signed %v though nothing changed", r.Signed)
	}
	c := b.client(t)
	if c.Root.Signed.Version != 1 || c.Timestamp.Signed.Version != 2 || c.Targets["targets"].Signed.Version != 2 {
		t.Error("wrong versions")
	}
	b.update(t, func(e *repository.Edit) error {
		if !e.RemoveTarget("targets", "a/1") || e.RemoveTarget("targets", "a/1") {
			return errors.New("removal reports wrongly")
		}
		return nil
	})
	if n := len(b.client(t).Targets["targets"].Signed.Targets); n != 0 {
		t.Errorf("%d targets left", n)
	}
}

func TestAFailedChangeLeavesEverything(t *testing.T) {
	t.Parallel()
	b := newBench(t, set("targets", "a/1"))
	before := snapshotOf(t, filepath.Dir(filepath.Dir(b.config.Public)))
	boom := errors.New("boom")
	_, err := b.Update(t.Context(), b.now, b.signers(), func(e *repository.Edit) error {
		e.RemoveTarget("targets", "a/1")
		return boom
	})
	if !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if _, err := b.Update(t.Context(), b.now, []crypto.Signer{b.online}, set("targets", "a/2")); !fault.Is(err, fault.Usage) || fault.Hint(err) == "" {
		t.Errorf("without the targets key: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = b.Update(ctx, b.now, b.signers(), func(e *repository.Edit) error { cancel(); return set("targets", "a/2")(e) })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if after := snapshotOf(t, filepath.Dir(filepath.Dir(b.config.Public))); !slices.Equal(before, after) {
		t.Errorf("changed:\n%v\n%v", before, after)
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	_, err := repository.Create(t.Context(), b.config, b.genesis(), b.now, b.signers(), nil)
	if !errors.Is(err, fs.ErrExist) || !fault.Is(err, fault.Usage) {
		t.Errorf("got %v", err)
	}
}

func TestOpenOfNothing(t *testing.T) {
	t.Parallel()
	_, err := repository.Open(repository.Config{Public: t.TempDir(), Record: filepath.Join(t.TempDir(), "none"), Lifetimes: repository.CatalogueLifetimes()})
	if !fault.Is(err, fault.Usage) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	bad := repository.CatalogueLifetimes()
	bad.Snapshot = 1500 * time.Millisecond
	for _, c := range []repository.Config{
		{Public: "p", Record: "r"},
		{Public: "p", Record: "r", Lifetimes: bad},
		{Record: "r", Lifetimes: repository.CatalogueLifetimes()},
		{Public: "p", Lifetimes: repository.CatalogueLifetimes()},
	} {
		if _, err := repository.Open(c); !fault.Is(err, fault.Usage) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestRefreshAtHalfLife(t *testing.T) {
	t.Parallel()
	b := newBench(t, set("targets", "a/1"))
	start := b.now
	for _, tc := range []struct {
		after time.Duration
		force bool
		want  []string
	}{
		{time.Hour, false, nil},
		{15*24*time.Hour - time.Second, false, nil},
		{15 * 24 * time.Hour, false, []string{"timestamp"}},
		{15*24*time.Hour + time.Hour, false, nil},
		{15*24*time.Hour + time.Hour, true, []string{"snapshot", "timestamp"}},
		{50 * 24 * time.Hour, false, []string{"snapshot", "timestamp"}},
		{400 * 24 * time.Hour, false, []string{"snapshot", "timestamp"}}, // everything expired: still signed anew
	} {
		r, err := b.Refresh(t.Context(), start.Add(tc.after), []crypto.Signer{b.online}, tc.force)
		if err != nil || !slices.Equal(r.Signed, tc.want) {
			t.Errorf("after %v: signed %v (%v), want %v", tc.after, r.Signed, err, tc.want)
		}
	}
	b.now = start.Add(15 * 24 * time.Hour)
}

func TestRefreshSignsRolesWhoseKeysItHas(t *testing.T) {
	t.Parallel()
	ring := newKey(t)
	b := newBench(t, func(e *repository.Edit) error {
		return e.Delegate(repository.Delegation{Name: "ring-pilot", Keys: repository.One(ring.Public()), Paths: []string{"pilot/*/*/*"}})
	}, ring)
	later := b.now.Add(46 * 24 * time.Hour)
	r, err := b.Refresh(t.Context(), later, []crypto.Signer{b.online}, false)
	if err != nil || slices.Contains(r.Signed, "ring-pilot") {
		t.Errorf("without the ring's key: %v %v", r.Signed, err)
	}
	r, err = b.Refresh(t.Context(), later, []crypto.Signer{b.online, ring}, false)
	if want := []string{"ring-pilot", "snapshot", "timestamp"}; err != nil || !slices.Equal(r.Signed, want) {
		t.Errorf("with it: %v %v", r.Signed, err)
	}
	b.now = later
	b.client(t)
}

func TestClockBehindIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	_, err := b.Refresh(t.Context(), b.now.Add(-6*time.Minute), b.signers(), true)
	if !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "clock") {
		t.Errorf("got %v", err)
	}
}

// TestWhoHasWaitedSignsAtTheLastTime: several take the time, then wait for each other. Nothing issued goes backwards.
func TestWhoHasWaitedSignsAtTheLastTime(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	r, err := b.Refresh(t.Context(), b.now.Add(-4*time.Minute), b.signers(), true)
	if err != nil || len(r.Signed) == 0 {
		t.Fatalf("%v, %v", r.Signed, err)
	}
	v, err := b.View()
	if err != nil || v.Issued().Before(b.now.Truncate(time.Second)) {
		t.Errorf("issued %v, before %v: %v", v.Issued(), b.now, err)
	}
	b.client(t)
}

func TestRefusedAtPublishTime(t *testing.T) {
	t.Parallel()
	ring := newKey(t)
	one := repository.One(ring.Public())
	b := newBench(t, func(e *repository.Edit) error {
		return e.Delegate(repository.Delegation{Name: "ring-pilot", Keys: one, Paths: []string{"pilot/*/*/*"}})
	}, ring)
	long := strings.Repeat("x", 33)
	custom := func(s string) repository.Target {
		x := target("x")
		x.Custom = json.RawMessage(s)
		return x
	}
	cases := map[string]func(e *repository.Edit) error{
		"slash in role": func(e *repository.Edit) error {
			return e.Delegate(repository.Delegation{Name: "ring/x", Keys: one, Paths: []string{"*"}})
		},
		"upper case role": func(e *repository.Edit) error {
			return e.Delegate(repository.Delegation{Name: "Ring", Keys: one, Paths: []string{"*"}})
		},
		"long role": func(e *repository.Edit) error {
			return e.Delegate(repository.Delegation{Name: long, Keys: one, Paths: []string{"*"}})
		},
		"empty role": func(e *repository.Edit) error {
			return e.Delegate(repository.Delegation{Keys: one, Paths: []string{"*"}})
		},
		"top-level role": func(e *repository.Edit) error {
			return e.Delegate(repository.Delegation{Name: "root", Keys: one, Paths: []string{"*"}})
		},
		"no paths": func(e *repository.Edit) error { return e.Delegate(repository.Delegation{Name: "r", Keys: one}) },
		"no keys": func(e *repository.Edit) error {
			return e.Delegate(repository.Delegation{Name: "r", Paths: []string{"*"}})
		},
		"threshold too high": func(e *repository.Edit) error {
			return e.Delegate(repository.Delegation{Name: "r", Paths: []string{"*"}, Keys: repository.RoleKeys{Keys: one.Keys, Threshold: 2}})
		},
		"same key twice": func(e *repository.Edit) error {
			return e.SetKeys("root", repository.RoleKeys{Keys: []crypto.PublicKey{ring.Public(), ring.Public()}, Threshold: 2})
		},
		"short key":        func(e *repository.Edit) error { return e.SetKeys("root", repository.One(ed25519.PublicKey{1, 2})) },
		"keys of a ring":   func(e *repository.Edit) error { return e.SetKeys("ring-pilot", one) },
		"path upwards":     set("targets", "../x"),
		"path with a dot":  set("targets", "a/./x"),
		"hidden path":      set("targets", "a/.x"),
		"rooted path":      set("targets", "/a"),
		"empty segment":    set("targets", "a//x"),
		"escape":           set("targets", "a/%2e"),
		"space":            set("targets", "a b"),
		"long path":        set("targets", strings.Repeat("a", 257)),
		"no such role":     set("ring-none", "a/1"),
		"outside the ring": set("ring-pilot", "broad/acme/editor/1.0"),
		"too deep":         set("ring-pilot", "pilot/acme/editor/1.0/x"),
		"negative length":  func(e *repository.Edit) error { return e.SetTarget("targets", "a/1", repository.Target{Length: -1}) },
		"custom no object": func(e *repository.Edit) error { return e.SetTarget("targets", "a/1", custom(`[1]`)) },
		"custom null":      func(e *repository.Edit) error { return e.SetTarget("targets", "a/1", custom(`null`)) },
		"custom broken":    func(e *repository.Edit) error { return e.SetTarget("targets", "a/1", custom(`{`)) },
		"custom fraction":  func(e *repository.Edit) error { return e.SetTarget("targets", "a/1", custom(`{"x":1.5}`)) },
		"touch of nothing": func(e *repository.Edit) error { return e.Touch("none") },
		"too many roles": func(e *repository.Edit) error {
			for i := range 33 {
				if err := e.Delegate(repository.Delegation{Name: "r" + strconv.Itoa(i), Keys: one, Paths: []string{"*"}}); err != nil {
					return err
				}
			}
			return nil
		},
		"paths taken from under a target": func(e *repository.Edit) error {
			return errors.Join(set("ring-pilot", "pilot/a/b/c")(e), e.Delegate(repository.Delegation{Name: "ring-pilot", Keys: one, Paths: []string{"other/*"}}))
		},
	}
	before := snapshotOf(t, b.config.Public)
	for name, change := range cases {
		if _, err := b.Update(t.Context(), b.now, b.signers(ring), change); err == nil {
			t.Errorf("%s: was published", name)
		}
	}
	if !slices.Equal(before, snapshotOf(t, b.config.Public)) {
		t.Error("the public folder changed")
	}
}

func TestOldVersionsArePruned(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	for i := range 15 {
		b.update(t, set("targets", "a/"+strconv.Itoa(i)))
	}
	b.update(t, func(e *repository.Edit) error { return e.Touch("root") })
	got := names(t, b.config.Public)
	for name, want := range map[string]bool{
		"1.root.json": true, "2.root.json": true, "16.targets.json": true, "6.targets.json": true,
		"5.targets.json": false, "1.snapshot.json": false, "16.snapshot.json": true, "timestamp.json": true,
	} {
		if slices.Contains(got, name) != want {
			t.Errorf("%s: there = %v", name, !want)
		}
	}
	b.client(t)
}

func TestViewTellsWhatStands(t *testing.T) {
	t.Parallel()
	ring := newKey(t)
	b := newBench(t, func(e *repository.Edit) error {
		return errors.Join(
			e.Delegate(repository.Delegation{Name: "ring-pilot", Keys: repository.One(ring.Public()), Paths: []string{"pilot/*/*/*"}}),
			set("ring-pilot", "pilot/acme/editor/1.0")(e), set("targets", "publisher/acme")(e))
	}, ring)
	v, err := b.View()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range v.Roles() {
		got = append(got, r.Name)
		if r.Version != 1 || len(r.KeyIDs) != 1 || r.Threshold != 1 || !r.Expires.After(b.now) {
			t.Errorf("%+v", r)
		}
	}
	if want := []string{"root", "targets", "snapshot", "timestamp", "ring-pilot"}; !slices.Equal(got, want) {
		t.Errorf("roles %v", got)
	}
	id, err := repository.KeyID(ring.Public())
	if r, ok := v.Role("ring-pilot"); err != nil || !ok || r.KeyIDs[0] != id || !slices.Equal(r.Paths, []string{"pilot/*/*/*"}) {
		t.Errorf("ring: %+v %v", r, ok)
	}
	if x, ok := v.Target("targets", "publisher/acme"); !ok || x.SHA256 != target("publisher/acme").SHA256 {
		t.Errorf("target: %+v %v", x, ok)
	}
	if v.Targets("none") != nil || len(v.Targets("ring-pilot")) != 1 || !v.Issued().Equal(b.now) || len(v.Roots()) != 1 {
		t.Error("view is wrong")
	}
	if _, ok := v.Target("none", "x"); ok {
		t.Error("found a target in no role")
	}
}

// The signatures have to hold for any reader of the file, so the bytes must survive a round trip through go-tuf.
func TestFilesAreStable(t *testing.T) {
	t.Parallel()
	b := newBench(t, set("targets", "a/1"))
	raw, err := os.ReadFile(filepath.Join(b.config.Public, "1.targets.json"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := tuf.Targets().FromBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	again, err := m.ToBytes(false)
	if err != nil || string(again) != string(raw) {
		t.Errorf("%v\n%s\n%s", err, raw, again)
	}
}
