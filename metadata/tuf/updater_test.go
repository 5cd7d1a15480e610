package tuf_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/tuf"
	"github.com/dunlin-project/dunlin/metadata/tuf/tuftest"
)

func start() time.Time { return time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC) }

// device is a client of one repository: an anchor and a store.
type device struct {
	t      *testing.T
	anchor []byte
	store  tuf.Dir
	now    time.Time
	loose  bool
}

func newDevice(t *testing.T, r *tuftest.Repo) *device {
	t.Helper()
	store, err := tuf.OpenDir(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return &device{t: t, anchor: r.Files[r.Name("root")], store: store, now: start()}
}

func (d *device) sync(files map[string][]byte) (*tuf.Updater, error) {
	d.t.Helper()
	return d.syncFrom(tuf.Memory(files))
}

func (d *device) syncFrom(sources ...tuf.Source) (*tuf.Updater, error) {
	d.t.Helper()
	cfg := tuf.Config{Anchor: d.anchor, Store: d.store, AllowExpired: d.loose}
	return tuf.Sync(d.t.Context(), cfg, sources, d.now, func(u *tuf.Updater) error {
		return u.LoadRoles(d.t.Context(), nil)
	})
}

func (d *device) good(files map[string][]byte) *tuf.Updater {
	d.t.Helper()
	u, err := d.sync(files)
	if err != nil {
		d.t.Fatalf("sync: %v", err)
	}
	return u
}

func (d *device) bad(files map[string][]byte, want fault.Kind, text string) error {
	d.t.Helper()
	_, err := d.sync(files)
	if fault.Of(err) != want || !strings.Contains(errText(err), text) {
		d.t.Fatalf("sync: %v: %v; want %v with %q", fault.Of(err), err, want, text)
	}
	return err
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// asked is a source that remembers what it was asked for.
type asked struct {
	tuf.Source
	names []string
}

func (a *asked) Fetch(ctx context.Context, name string, limit int64) ([]byte, error) {
	a.names = append(a.names, strings.TrimPrefix(name, "metadata/"))
	return a.Source.Fetch(ctx, name, limit)
}

func TestFirstRefreshAsksForEachRoleOnce(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	d := newDevice(t, r)
	a := &asked{Source: tuf.Memory(r.Files)}
	if _, err := d.syncFrom(a); err != nil {
		t.Fatal(err)
	}
	if want := []string{"2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"}; !slices.Equal(a.names, want) {
		t.Errorf("asked for %v, want %v", a.names, want)
	}
}

func TestNextRefreshAsksForNothingThatIsKnown(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	d := newDevice(t, r)
	d.good(r.Files)
	a := &asked{Source: tuf.Memory(r.Files)}
	if _, err := d.syncFrom(a); err != nil {
		t.Fatal(err)
	}
	if want := []string{"2.root.json", "timestamp.json"}; !slices.Equal(a.names, want) {
		t.Errorf("asked for %v, want %v", a.names, want)
	}
}

func TestBytesAreKeptAsServed(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	r.Delegate("targets", "ring-a", "a/*")
	r.Publish("targets", "ring-a")
	r.Rotate("timestamp", 1, 1)
	r.PublishRoot()
	r.PublishTimestamp()
	d := newDevice(t, r)
	d.anchor = r.Files["metadata/1.root.json"]
	for range 2 { // from the source, then from the store
		got := d.good(r.Files).Files()
		for name, b := range got {
			if string(r.Files[name]) != string(b) {
				t.Errorf("%s differs from what was served", name)
			}
		}
		want := []string{
			"metadata/1.ring-a.json", "metadata/1.root.json", "metadata/2.root.json", "metadata/2.snapshot.json",
			"metadata/2.targets.json", "metadata/timestamp.json",
		}
		if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
			t.Errorf("files are %v, want %v", names, want)
		}
	}
}

func TestFilesAreEnoughForAnotherUpdater(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	r.Delegate("targets", "ring-a", "a/*")
	r.AddTarget("ring-a", "a/x", 3, [32]byte{1}, nil)
	r.Publish("targets", "ring-a")
	r.PublishRoot()
	d := newDevice(t, r)
	d.anchor = r.Files["metadata/1.root.json"]
	files := d.good(r.Files).Files()
	other := newDevice(t, r)
	other.anchor = d.anchor
	if got := other.good(files).Targets(); len(got) != 1 || got[0].Path != "a/x" || got[0].Role != "ring-a" {
		t.Errorf("targets are %+v", got)
	}
}

// TestDamagedStoreHeals is trap 1: whatever a power cut left in a local file, the file is fetched again.
func TestDamagedStoreHeals(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	r.Delegate("targets", "ring-a", "a/*")
	r.Publish("targets", "ring-a")
	r.PublishRoot()
	damage := map[string]func([]byte) []byte{
		"empty":     func([]byte) []byte { return nil },
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		"zeros":     func(b []byte) []byte { return make([]byte, len(b)) },
		"null":      func([]byte) []byte { return []byte("null") },
		"object":    func([]byte) []byte { return []byte("{}") },
		"array":     func([]byte) []byte { return []byte("[]") },
		"flipped":   func(b []byte) []byte { b = slices.Clone(b); b[len(b)/2] ^= 1; return b },
		"huge":      func([]byte) []byte { return make([]byte, tuf.MaxTargetsSize+10) },
	}
	for _, file := range []string{"2.root.json", "timestamp.json", "snapshot.json", "targets.json", "ring-a.json", "state"} {
		for what, f := range damage {
			t.Run(file+" "+what, func(t *testing.T) {
				t.Parallel()
				d := newDevice(t, r)
				d.anchor = r.Files["metadata/1.root.json"]
				d.good(r.Files)
				path := filepath.Join(string(d.store), file)
				whole, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, f(whole), 0o600); err != nil {
					t.Fatal(err)
				}
				d.good(r.Files)
				if again, _ := os.ReadFile(path); file != "state" && string(again) != string(whole) {
					t.Errorf("%s was not made whole", file)
				}
			})
		}
	}
}

// TestRootNeverGoesBack is trap 3: an old embedded root together with a withheld new one must not bring the old keys back.
func TestRootNeverGoesBack(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	d := newDevice(t, r)
	old := r.Snap()
	r.Rotate("timestamp", 1, 1)
	r.PublishRoot()
	r.PublishTimestamp()
	d.good(r.Files)
	t.Run("the store has the chain", func(t *testing.T) {
		_, err := d.sync(old)
		if !fault.Is(err, fault.Untrusted) {
			t.Errorf("a repository of before the rotation: %v", err)
		}
	})
	t.Run("the chain is damaged", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(string(d.store), "2.root.json"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var back *tuf.RollbackError
		if _, err := d.sync(old); !errors.As(err, &back) || back.Role != "root" || back.Have != 2 || back.Got != 1 {
			t.Errorf("got %v", err)
		}
		d.good(r.Files)
	})
}

// memory is a store without a disk.
type memory map[string][]byte

func (m memory) Load(name string, _ int64) []byte { return m[name] }

func (m memory) Save(name string, b []byte) error { m[name] = b; return nil }

func TestManyRoots(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	anchor := r.Files[r.Name("root")]
	for range 300 {
		r.PublishRoot()
	}
	store := memory{}
	for _, want := range []string{"metadata/257.root.json", "metadata/301.root.json"} {
		u, err := tuf.New(tuf.Config{Anchor: anchor, Source: tuf.Memory(r.Files), Store: store}, start())
		if err != nil {
			t.Fatal(err)
		}
		if err := u.Refresh(t.Context()); err != nil || u.Files()[want] == nil || len(u.Files()) > 305 {
			t.Errorf("did not come to %s: %v", want, err)
		}
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	late := start().Add(tuftest.Lifetime + time.Hour)
	for _, role := range []string{"root", "timestamp", "snapshot", "targets", "ring-a"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			r := tuftest.New(t.Name(), start())
			r.Delegate("targets", "ring-a", "a/*")
			r.Now = time.Time{}
			r.SetExpires(late.Add(time.Hour))
			expire(r, role, start().Add(time.Hour))
			r.PublishRoot()
			r.Publish("targets", "ring-a")
			d := newDevice(t, r)
			d.anchor = r.Files["metadata/1.root.json"]
			d.good(r.Files)
			d.now = late
			err := d.bad(r.Files, fault.Unavailable, "ran out")
			var expired *tuf.ExpiredError
			if !errors.As(err, &expired) || expired.Role != role {
				t.Errorf("got %v", err)
			}
			d.loose = true
			if u := d.good(r.Files); u.Stale() == nil {
				t.Error("let pass without a word")
			}
			d.loose = false
			r.SetExpires(late.Add(time.Hour))
			r.PublishRoot()
			r.Publish("targets", "ring-a")
			d.good(r.Files)
		})
	}
}

func expire(r *tuftest.Repo, role string, at time.Time) {
	switch role {
	case "root":
		r.Root.Signed.Expires = at
	case "timestamp":
		r.Timestamp.Signed.Expires = at
	case "snapshot":
		r.Snapshot.Signed.Expires = at
	default:
		r.Roles[role].Signed.Expires = at
	}
}

func TestExpiredIntermediateRootIsNoObstacle(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	d := newDevice(t, r)
	r.Root.Signed.Expires = start().Add(-time.Hour)
	r.PublishRoot()
	r.Root.Signed.Expires = start().Add(time.Hour)
	r.PublishRoot()
	d.good(r.Files)
}

func TestClock(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	d := newDevice(t, r)
	d.now = time.Unix(0, 0)
	u := d.good(r.Files)
	if !u.Now().Equal(start()) || u.ClockBehind() != start().Sub(time.Unix(0, 0)) {
		t.Errorf("a clock at 1970: now %v, behind %v", u.Now(), u.ClockBehind())
	}
	// The floor is remembered, so a source that withholds new metadata cannot use a clock that was set back.
	r.Now, r.Timestamp.Signed.Expires = start().Add(48*time.Hour), start().Add(72*time.Hour)
	r.PublishTimestamp()
	d.good(r.Files)
	old := r.Snap()
	r.Now, r.Timestamp.Signed.Expires = start().Add(96*time.Hour), start().Add(120*time.Hour)
	r.PublishTimestamp()
	d.good(r.Files)
	if err := os.Remove(filepath.Join(string(d.store), "timestamp.json")); err != nil {
		t.Fatal(err)
	}
	d.bad(old, fault.Unavailable, "timestamp ran out")
}

// TestStolenKeyCannotStopTheClockForEver: a floor ten thousand years ahead goes away with the key that proved it.
func TestStolenKeyCannotStopTheClockForEver(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	d := newDevice(t, r)
	d.good(r.Files)
	honest := r.Timestamp.Signed.Expires
	r.Now, r.Timestamp.Signed.Expires = start().AddDate(7000, 0, 0), start().AddDate(7001, 0, 0)
	r.PublishTimestamp()
	d.bad(r.Files, fault.Unavailable, "root ran out")
	r.Now, r.Timestamp.Signed.Expires = start(), honest
	r.PublishTimestamp()
	d.bad(r.Files, fault.Unavailable, "ran out")
	r.Rotate("timestamp", 1, 1)
	r.PublishRoot()
	r.PublishTimestamp()
	if u := d.good(r.Files); !u.Now().Equal(start()) {
		t.Errorf("now %v", u.Now())
	}
}

func TestRollback(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(r *tuftest.Repo)
		text   string
	}{
		"timestamp": {func(r *tuftest.Repo) { r.Timestamp.Signed.Version = 1; r.SignTimestamp() }, "version 1 of timestamp is older than version 4"},
		"snapshot in a new timestamp": {func(r *tuftest.Repo) {
			r.Timestamp.Signed.Meta["snapshot.json"].Version = 1
			r.PublishTimestamp()
		}, "version 1 of snapshot is older than version 4"},
		"targets in a new snapshot": {func(r *tuftest.Repo) {
			r.Snapshot.Signed.Meta["targets.json"].Version = 1
			r.PublishSnapshot()
		}, "version"},
		"targets without hashes": {func(r *tuftest.Repo) {
			m := r.Snapshot.Signed.Meta["targets.json"]
			m.Version, m.Hashes, m.Length = 1, nil, 0
			r.PublishSnapshot()
		}, "version"},
		"role removed": {func(r *tuftest.Repo) {
			delete(r.Snapshot.Signed.Meta, "ring-a.json")
			r.PublishSnapshot()
		}, "ring-a"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := tuftest.New(t.Name(), start())
			r.Delegate("targets", "ring-a", "a/*")
			r.Publish("targets", "ring-a")
			r.Publish("targets")
			r.Publish("targets")
			d := newDevice(t, r)
			d.good(r.Files)
			c.change(r)
			d.bad(r.Files, fault.Untrusted, c.text)
			r.Timestamp.Signed.Version = 10
			r.Publish("targets", "ring-a")
			d.good(r.Files)
		})
	}
}

func TestFastForwardRecovery(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"timestamp", "snapshot", "targets"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			r := tuftest.New(t.Name(), start())
			d := newDevice(t, r)
			fast := int64(1 << 40)
			switch role {
			case "timestamp":
				r.Timestamp.Signed.Version = fast
				r.SignTimestamp()
			case "snapshot":
				r.Snapshot.Signed.Version = fast
				r.PublishSnapshot()
			case "targets":
				r.Roles["targets"].Signed.Version = fast
				r.Publish("targets")
			}
			d.good(r.Files)
			r.Timestamp.Signed.Version, r.Snapshot.Signed.Version, r.Roles["targets"].Signed.Version = 5, 1, 1
			r.Publish("targets")
			d.bad(r.Files, fault.Untrusted, "version")
			r.Rotate("timestamp", 1, 1)
			r.Rotate("snapshot", 1, 1)
			r.PublishRoot()
			r.PublishSnapshot()
			d.good(r.Files)
		})
	}
}
