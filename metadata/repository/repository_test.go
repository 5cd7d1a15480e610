package repository_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
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
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/repository"
	tufclient "github.com/dunlin-project/dunlin/metadata/tuf"
)

// bench is a repository in a temporary folder with its keys at hand.
type bench struct {
	*repository.Repository
	config                repository.Config
	root, targets, online crypto.Signer
	now                   time.Time
}

func newBench(t *testing.T, change func(*repository.Edit) error, more ...crypto.Signer) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{
		config: repository.Config{
			Public:    filepath.Join(dir, "public", "metadata"),
			Record:    filepath.Join(dir, "state", "record.json"),
			Lifetimes: repository.CatalogueLifetimes(),
		},
		root: newKey(t), targets: newKey(t), online: newKey(t),
		now: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC),
	}
	r, err := repository.Create(t.Context(), b.config, b.genesis(), b.now, b.signers(more...), change)
	if err != nil {
		t.Fatal(err)
	}
	b.Repository = r
	return b
}

func (b *bench) genesis() repository.Genesis {
	return repository.Genesis{
		Root:      repository.One(b.root.Public()),
		Targets:   repository.One(b.targets.Public()),
		Snapshot:  repository.One(b.online.Public()),
		Timestamp: repository.One(b.online.Public()),
	}
}

func (b *bench) signers(more ...crypto.Signer) []crypto.Signer {
	return append([]crypto.Signer{b.root, b.targets, b.online}, more...)
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func target(content string) repository.Target {
	return repository.Target{
		Length: int64(len(content)), SHA256: sha256.Sum256([]byte(content)),
		Custom: json.RawMessage(`{"v":1,"when":"os == 'linux' && arch == 'amd64' <ok>","title":"Ünicode \"quoted\" \\ text"}`),
	}
}

func set(role string, paths ...string) func(*repository.Edit) error {
	return func(e *repository.Edit) error {
		for _, p := range paths {
			if err := e.SetTarget(role, p, target(p)); err != nil {
				return err
			}
		}
		return nil
	}
}

// client follows the public folder like a device that knows root 1: spec section 5, straight on trustedmetadata.
func client(dir string, root []byte, now time.Time) (*trustedmetadata.TrustedMetadata, error) {
	c, err := trustedmetadata.New(root)
	if err != nil {
		return nil, err
	}
	c.RefTime = now
	read := func(version int64, role string) []byte {
		name := role + ".json"
		if version > 0 {
			name = strconv.FormatInt(version, 10) + "." + name
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil
		}
		return b
	}
	for b := read(c.Root.Signed.Version+1, "root"); b != nil; b = read(c.Root.Signed.Version+1, "root") {
		if _, err := c.UpdateRoot(b); err != nil {
			return nil, err
		}
	}
	if _, err := c.UpdateTimestamp(read(0, "timestamp")); err != nil {
		return nil, err
	}
	if _, err := c.UpdateSnapshot(read(c.Timestamp.Signed.Meta["snapshot.json"].Version, "snapshot"), false); err != nil {
		return nil, err
	}
	version := func(role string) int64 { return c.Snapshot.Signed.Meta[role+".json"].Version }
	if _, err := c.UpdateTargets(read(version("targets"), "targets")); err != nil {
		return nil, err
	}
	if d := c.Targets["targets"].Signed.Delegations; d != nil {
		for _, role := range d.Roles {
			if _, err := c.UpdateDelegatedTargets(read(version(role.Name), role.Name), role.Name, "targets"); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

func (b *bench) client(t *testing.T) *trustedmetadata.TrustedMetadata {
	t.Helper()
	v, err := b.View()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client(b.config.Public, v.Roots()[0], b.now)
	if err != nil {
		t.Fatalf("a client refuses: %v", err)
	}
	b.device(t, v.Roots()[0], len(c.Targets))
	return c
}

// device follows the same folder with the updater that our devices have, which is stricter.
func (b *bench) device(t *testing.T, root []byte, roles int) {
	t.Helper()
	store, err := tufclient.OpenDir(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from its store
		u, err := tufclient.New(tufclient.Config{Anchor: root, Source: tufclient.Folder(filepath.Dir(b.config.Public)), Store: store}, b.now)
		if err != nil {
			t.Fatalf("a device refuses the root: %v", err)
		}
		if err := errors.Join(u.Refresh(t.Context()), u.LoadRoles(t.Context(), nil)); err != nil {
			t.Fatalf("a device refuses: %v", err)
		}
		if got := len(u.Roles()); got != roles {
			t.Errorf("a device sees %d roles, want %d", got, roles)
		}
	}
}

// A device that follows along sees every step as an advance: no version goes back, nothing vanishes.
func TestADeviceFollowsAlong(t *testing.T) {
	t.Parallel()
	pilot, broad := newKey(t), newKey(t)
	ring := func(name string, k crypto.Signer) func(*repository.Edit) error {
		return func(e *repository.Edit) error {
			return e.Delegate(repository.Delegation{Name: "ring-" + name, Keys: repository.One(k.Public()), Paths: []string{name + "/*/*/*"}})
		}
	}
	b := newBench(t, ring("pilot", pilot), pilot)
	v, err := b.View()
	if err != nil {
		t.Fatal(err)
	}
	anchor := v.Roots()[0]
	store, err := tufclient.OpenDir(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	nextRoot, nextOnline := newKey(t), newKey(t)
	steps := []func(*repository.Edit) error{
		set("targets", "publisher/acme", "fleet"),
		set("ring-pilot", "pilot/acme/editor/1.0"),
		ring("broad", broad),
		func(e *repository.Edit) error { e.Undelegate("ring-pilot"); return nil },
		func(e *repository.Edit) error { return e.SetKeys("root", repository.One(nextRoot.Public())) },
		ring("pilot", broad),
		func(e *repository.Edit) error {
			return errors.Join(e.SetKeys("snapshot", repository.One(nextOnline.Public())), e.SetKeys("timestamp", repository.One(nextOnline.Public())))
		},
		func(e *repository.Edit) error { e.RemoveTarget("targets", "fleet"); return nil },
	}
	for i, step := range steps {
		b.now = b.now.Add(time.Hour)
		b.update(t, step, pilot, broad, nextRoot, nextOnline)
		u, err := tufclient.New(tufclient.Config{Anchor: anchor, Source: tufclient.Folder(filepath.Dir(b.config.Public)), Store: store}, b.now)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(u.Refresh(t.Context()), u.LoadRoles(t.Context(), nil)); err != nil {
			t.Fatalf("step %d: a device refuses: %v", i, err)
		}
		if !u.Now().Equal(b.now) || u.ClockBehind() != 0 {
			t.Errorf("step %d: the device thinks it is %v", i, u.Now())
		}
	}
}

func (b *bench) update(t *testing.T, change func(*repository.Edit) error, more ...crypto.Signer) repository.Report {
	t.Helper()
	r, err := b.Update(t.Context(), b.now, b.signers(more...), change)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

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
	_, err := b.Refresh(t.Context(), b.now.Add(-2*time.Second), b.signers(), true)
	if !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "clock") {
		t.Errorf("got %v", err)
	}
}

func TestDelegatedRoles(t *testing.T) {
	t.Parallel()
	pilot, broad := newKey(t), newKey(t)
	b := newBench(t, func(e *repository.Edit) error {
		return errors.Join(
			e.Delegate(repository.Delegation{Name: "ring-pilot", Keys: repository.One(pilot.Public()), Paths: []string{"pilot/*/*/*"}}),
			e.Delegate(repository.Delegation{Name: "ring-broad", Keys: repository.One(broad.Public()), Paths: []string{"broad/*/*/*"}}),
			set("ring-pilot", "pilot/acme/editor/1.0")(e))
	}, pilot, broad)
	c := b.client(t)
	if c.Targets["ring-pilot"].Signed.Targets["pilot/acme/editor/1.0"] == nil || c.Targets["ring-broad"] == nil {
		t.Fatal("roles are missing")
	}

	// A ring needs its own key and the online one, nothing offline.
	r, err := b.Update(t.Context(), b.now, []crypto.Signer{b.online, broad}, set("ring-broad", "broad/acme/editor/1.0"))
	if want := []string{"ring-broad", "snapshot", "timestamp"}; err != nil || !slices.Equal(r.Signed, want) {
		t.Fatalf("signed %v, %v", r.Signed, err)
	}
	b.client(t)

	// Taken out, its name stays in the snapshot; delegated again, its versions go on.
	b.update(t, func(e *repository.Edit) error {
		if !e.Undelegate("ring-broad") || e.Undelegate("ring-broad") || e.Undelegate("targets") {
			return errors.New("undelegate reports wrongly")
		}
		return nil
	})
	c = b.client(t)
	if c.Targets["ring-broad"] != nil || c.Snapshot.Signed.Meta["ring-broad.json"].Version != 2 {
		t.Error("the role was not taken out cleanly")
	}
	if n := len(c.Targets["targets"].Signed.Delegations.Keys); n != 1 {
		t.Errorf("%d keys left, want 1", n)
	}
	again := newKey(t)
	b.update(t, func(e *repository.Edit) error {
		return e.Delegate(repository.Delegation{Name: "ring-broad", Keys: repository.One(again.Public()), Paths: []string{"broad/*/*/*"}})
	}, again)
	if v := b.client(t).Targets["ring-broad"].Signed.Version; v != 3 {
		t.Errorf("version %d, want 3", v)
	}
}

func TestANewRingKeySignsTheRingAnew(t *testing.T) {
	t.Parallel()
	old, next := newKey(t), newKey(t)
	ring := func(k crypto.Signer) func(*repository.Edit) error {
		return func(e *repository.Edit) error {
			return e.Delegate(repository.Delegation{Name: "ring-pilot", Keys: repository.One(k.Public()), Paths: []string{"pilot/*/*/*"}})
		}
	}
	b := newBench(t, ring(old), old)
	r := b.update(t, ring(next), next)
	if want := []string{"ring-pilot", "targets", "snapshot", "timestamp"}; !slices.Equal(r.Signed, want) {
		t.Errorf("signed %v, want %v", r.Signed, want)
	}
	b.client(t)
}

func TestThresholds(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	k := []crypto.Signer{newKey(t), newKey(t), newKey(t)}
	twoOfThree := repository.RoleKeys{Threshold: 2}
	for _, s := range k {
		twoOfThree.Keys = append(twoOfThree.Keys, s.Public())
	}
	b.update(t, func(e *repository.Edit) error { return e.SetKeys("targets", twoOfThree) }, k...)
	b.client(t)
	if _, err := b.Update(t.Context(), b.now, []crypto.Signer{k[0], b.online}, set("targets", "a/1")); !fault.Is(err, fault.Usage) {
		t.Errorf("one of three: %v", err)
	}
	if _, err := b.Update(t.Context(), b.now, []crypto.Signer{k[0], k[0], b.online}, set("targets", "a/1")); !fault.Is(err, fault.Usage) {
		t.Errorf("one key twice: %v", err)
	}
	if _, err := b.Update(t.Context(), b.now, []crypto.Signer{k[2], k[0], b.online}, set("targets", "a/1")); err != nil {
		t.Errorf("two of three: %v", err)
	}
	if n := len(b.client(t).Targets["targets"].Signatures); n != 2 {
		t.Errorf("%d signatures", n)
	}
}

func TestRootRotation(t *testing.T) {
	t.Parallel()
	b := newBench(t, set("targets", "a/1"))
	next := newKey(t)
	rotate := func(e *repository.Edit) error { return e.SetKeys("root", repository.One(next.Public())) }
	if _, err := b.Update(t.Context(), b.now, []crypto.Signer{next, b.online}, rotate); !fault.Is(err, fault.Usage) {
		t.Errorf("without the old key: %v", err)
	}
	if _, err := b.Update(t.Context(), b.now, []crypto.Signer{b.root, b.online}, rotate); !fault.Is(err, fault.Usage) {
		t.Errorf("without the new key: %v", err)
	}
	r, err := b.Update(t.Context(), b.now, []crypto.Signer{b.root, next}, rotate)
	if want := []string{"root"}; err != nil || !slices.Equal(r.Signed, want) {
		t.Fatalf("signed %v, %v; a new root needs no online key", r.Signed, err)
	}
	c := b.client(t)
	if c.Root.Signed.Version != 2 || len(c.Root.Signatures) != 2 || len(c.Root.Signed.Keys) != 3 {
		t.Errorf("root %d, %d signatures, %d keys", c.Root.Signed.Version, len(c.Root.Signatures), len(c.Root.Signed.Keys))
	}
	b.root = next
	b.update(t, func(e *repository.Edit) error { return e.Touch("root") })
	if v := b.client(t).Root.Signed.Version; v != 3 {
		t.Errorf("root version %d, want 3", v)
	}
}

func TestReplacedOnlineAndTargetsKeysSignAnew(t *testing.T) {
	t.Parallel()
	b := newBench(t, set("targets", "a/1"))
	b.online, b.targets = newKey(t), newKey(t)
	r := b.update(t, func(e *repository.Edit) error {
		return errors.Join(
			e.SetKeys("targets", repository.One(b.targets.Public())),
			e.SetKeys("snapshot", repository.One(b.online.Public())),
			e.SetKeys("timestamp", repository.One(b.online.Public())))
	})
	if want := []string{"root", "targets", "snapshot", "timestamp"}; !slices.Equal(r.Signed, want) {
		t.Errorf("signed %v, want %v", r.Signed, want)
	}
	if c := b.client(t); len(c.Root.Signed.Keys) != 3 {
		t.Errorf("%d keys in the root, want 3", len(c.Root.Signed.Keys))
	}
}

func TestECDSAKeysFromASecurityModule(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b.targets = key
	b.update(t, func(e *repository.Edit) error { return e.SetKeys("targets", repository.One(key.Public())) })
	b.client(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repository.KeyID(p384.Public()); !fault.Is(err, fault.Usage) {
		t.Errorf("P-384: %v", err)
	}
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
		"custom oversize": func(e *repository.Edit) error {
			return e.SetTarget("targets", "a/1", custom(`{"x":"`+strings.Repeat("y", 5<<20)+`"}`))
		},
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

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// snapshotOf lists every file below dir with its content.
func snapshotOf(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out = append(out, path+"="+string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
