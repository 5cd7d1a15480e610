package repository_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/repository"
	tufclient "github.com/dunlin-project/dunlin/metadata/tuf"
)

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
