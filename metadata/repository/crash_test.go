package repository

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	tuf "github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
)

var errPlug = errors.New("power cut")

// rig is a repository whose plug can be pulled.
type rig struct {
	*Repository
	root, targets, online crypto.Signer
	now                   time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	g := &rig{root: newKey(t), targets: newKey(t), online: newKey(t), now: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)}
	c := Config{Public: filepath.Join(dir, "public"), Record: filepath.Join(dir, "state", "record"), Lifetimes: CatalogueLifetimes()}
	r, err := Create(t.Context(), c, Genesis{
		Root: One(g.root.Public()), Targets: One(g.targets.Public()),
		Snapshot: One(g.online.Public()), Timestamp: One(g.online.Public()),
	}, g.now, g.all(), nil)
	if err != nil {
		t.Fatal(err)
	}
	g.Repository = r
	return g
}

func (g *rig) all() []crypto.Signer { return []crypto.Signer{g.root, g.targets, g.online} }

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// cutAt makes the n-th write from now fail. When torn, the file system has made the name durable without its bytes:
// what durable.WriteFile prevents, and what a disk may do all the same.
func (r *Repository) cutAt(n int, torn bool) {
	r.write = func(path string, b []byte, perm fs.FileMode) error {
		if n--; n > 0 {
			return durable.WriteFile(path, b, perm)
		}
		if torn && filepath.Dir(path) == r.c.Public {
			return errors.Join(errPlug, os.WriteFile(path, b[:len(b)/2], perm))
		}
		return errPlug
	}
}

func (r *Repository) plugIn() { r.write = durable.WriteFile }

func add(path string) func(*Edit) error {
	return func(e *Edit) error {
		return e.SetTarget(RoleTargets, path, Target{Length: 1, SHA256: sha256.Sum256([]byte(path))})
	}
}

// accepted follows the public folder from root 1 as a client would.
func (g *rig) accepted(t *testing.T) (*tree, error) {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(g.c.Public, name))
		if err != nil {
			return nil
		}
		return b
	}
	rec := &record{Targets: map[string][]byte{}}
	for n := int64(1); ; n++ {
		b := read(versioned(n, RoleRoot))
		if b == nil {
			break
		}
		rec.Roots = append(rec.Roots, b)
	}
	rec.Timestamp = read("timestamp.json")
	ts, err := tuf.Timestamp().FromBytes(rec.Timestamp)
	if err != nil {
		return nil, err
	}
	rec.Snapshot = read(versioned(ts.Signed.Meta["snapshot.json"].Version, RoleSnapshot))
	sn, err := tuf.Snapshot().FromBytes(rec.Snapshot)
	if err != nil {
		return nil, err
	}
	rec.Targets[RoleTargets] = read(versioned(sn.Signed.Meta["targets.json"].Version, RoleTargets))
	return verify(rec)
}

// Whatever step a publication is cut at, clients see the old state or the new one, and the next run completes it or
// begins again.
func TestPowerCutAtEachStep(t *testing.T) {
	t.Parallel()
	for _, torn := range []bool{false, true} {
		for n := 1; n <= 4; n++ { // record, targets, snapshot, timestamp
			t.Run(fmt.Sprintf("write %d torn=%v", n, torn), func(t *testing.T) {
				t.Parallel()
				g := newRig(t)
				g.cutAt(n, torn)
				if _, err := g.Update(t.Context(), g.now, g.all(), add("a/1")); !errors.Is(err, errPlug) {
					t.Fatalf("got %v", err)
				}
				timestampTorn := torn && n == 4
				seen, err := g.accepted(t)
				if err != nil && !timestampTorn {
					t.Fatalf("after the cut a client refuses: %v", err)
				}
				if err == nil && len(seen.roles[RoleTargets].Signed.Targets) != 0 {
					t.Error("a client sees the new state before the timestamp was written")
				}

				g.plugIn()
				again, err := Open(g.c)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := again.Refresh(t.Context(), g.now, []crypto.Signer{g.online}, false); err != nil {
					t.Fatal(err)
				}
				seen, err = g.accepted(t)
				if err != nil {
					t.Fatalf("after the next run a client refuses: %v", err)
				}
				if done := len(seen.roles[RoleTargets].Signed.Targets) == 1; done != (n > 1) {
					t.Errorf("the release is published: %v", done)
				}
				if _, err := again.Update(t.Context(), g.now, g.all(), add("a/2")); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestPowerCutInARotation(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 5; n++ { // record, targets, snapshot, root, timestamp
		g := newRig(t)
		next := newKey(t)
		g.cutAt(n, false)
		_, err := g.Update(t.Context(), g.now, append(g.all(), next), func(e *Edit) error {
			return errors.Join(e.SetKeys(RoleSnapshot, One(next.Public())), e.SetKeys(RoleTimestamp, One(next.Public())), e.Touch(RoleTargets))
		})
		if !errors.Is(err, errPlug) {
			t.Fatalf("write %d: %v", n, err)
		}
		g.plugIn()
		if _, err := g.Refresh(t.Context(), g.now, []crypto.Signer{next, g.online}, false); err != nil {
			t.Fatalf("write %d: %v", n, err)
		}
		seen, err := g.accepted(t)
		if err != nil {
			t.Fatalf("write %d: %v", n, err)
		}
		if rotated := seen.root.Signed.Version == 2; rotated != (n > 1) {
			t.Errorf("write %d: rotated %v", n, rotated)
		}
	}
}

func TestCreateIsRepeatableAfterACut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := newKey(t)
	c := Config{Public: filepath.Join(dir, "public"), Record: filepath.Join(dir, "state", "record"), Lifetimes: CatalogueLifetimes()}
	g := Genesis{Root: One(key.Public()), Targets: One(key.Public()), Snapshot: One(key.Public()), Timestamp: One(key.Public())}
	if _, err := Create(t.Context(), c, g, time.Now(), nil, nil); !fault.Is(err, fault.Usage) {
		t.Errorf("without keys: %v", err)
	}
	if _, err := Create(t.Context(), c, g, time.Now(), []crypto.Signer{key}, nil); err != nil {
		t.Error(err)
	}
}

// Somebody who can write to the web server's folder never has a word of his signed, and the next run mends it.
func TestTheWebFolderIsNeverBelieved(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	old, err := os.ReadFile(filepath.Join(g.c.Public, "timestamp.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Update(t.Context(), g.now, g.all(), add("a/1")); err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() error{
		"rolled back": func() error { return os.WriteFile(filepath.Join(g.c.Public, "timestamp.json"), old, 0o644) },
		"garbage":     func() error { return os.WriteFile(filepath.Join(g.c.Public, "2.targets.json"), []byte("{}"), 0o644) },
		"root gone":   func() error { return os.Remove(filepath.Join(g.c.Public, "1.root.json")) },
		"all gone":    func() error { return os.RemoveAll(g.c.Public) },
		"unreadable":  func() error { return os.Chmod(filepath.Join(g.c.Public, "2.snapshot.json"), 0o600) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if r, err := g.Refresh(t.Context(), g.now, []crypto.Signer{g.online}, false); err != nil || len(r.Signed) != 0 {
			t.Errorf("%s: %v %v", name, r.Signed, err)
		}
		seen, err := g.accepted(t)
		if err != nil || seen.roles[RoleTargets].Signed.Targets["a/1"] == nil {
			t.Errorf("%s: not mended: %v", name, err)
		}
	}
	info, err := os.Stat(filepath.Join(g.c.Public, "2.snapshot.json"))
	if err != nil || info.Mode().Perm() != publicMode {
		t.Errorf("mode not mended: %v", err)
	}
}

func TestLeftoversOfACutAreCleanedUp(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for _, name := range []string{".1.root.json.123.dunlin-tmp", "keep.txt", "99.unknown.json"} {
		if err := os.WriteFile(filepath.Join(g.c.Public, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.Refresh(t.Context(), g.now, []crypto.Signer{g.online}, true); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{".1.root.json.123.dunlin-tmp": false, "keep.txt": true, "99.unknown.json": true} {
		if _, err := os.Lstat(filepath.Join(g.c.Public, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFullDiskIsUnavailable(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.write = func(string, []byte, fs.FileMode) error {
		return &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	}
	_, err := g.Update(t.Context(), g.now, g.all(), add("a/1"))
	if !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
		t.Errorf("%v, kind %v", err, fault.Of(err))
	}
}

func TestADamagedRecordIsRefused(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	good, err := os.ReadFile(g.c.Record)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(good)-1; i += 211 {
		bad := slices.Clone(good)
		bad[i] ^= 0x20
		if string(bad) == string(good) {
			continue
		}
		if err := os.WriteFile(g.c.Record, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		// A key of the frame may be in upper case: encoding/json does not mind, and it means the same.
		if _, err := g.View(); err == nil && !strings.EqualFold(string(good[i-8:i+8]), string(bad[i-8:i+8])) {
			t.Errorf("a flipped bit in byte %d (%q) was not noticed", i, good[max(0, i-5):min(len(good), i+5)])
		}
	}
	for name, bad := range map[string]string{
		"empty": "", "cut": string(good[:len(good)/2]), "something after": string(good) + "{}",
		"unknown field": strings.Replace(string(good), `{"format"`, `{"x":1,"format"`, 1),
		"other format":  strings.Replace(string(good), recordFormat, "dunlin-repository/2", 1),
		"no roots":      `{"format":"dunlin-repository/1","roots":[],"targets":{"targets":"e30="},"timestamp":"e30=","snapshot":"e30="}`,
		"no targets":    `{"format":"dunlin-repository/1","roots":["e30="],"timestamp":"e30=","snapshot":"e30="}`,
		"null inside":   `{"format":"dunlin-repository/1","roots":["bnVsbA=="],"targets":{"targets":"e30="},"timestamp":"e30=","snapshot":"e30="}`,
		"endless":       string(good) + strings.Repeat(" ", maxRecord),
	} {
		if err := os.WriteFile(g.c.Record, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := g.View(); !fault.Is(err, fault.Untrusted) || fault.Hint(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The engine itself cannot make these trees; a record made by something else might hold one.
func TestTreesThatClientsWouldRefuse(t *testing.T) {
	t.Parallel()
	roleIn := func(parent *tuf.Metadata[tuf.TargetsType], d tuf.DelegatedRole) {
		parent.Signed.Delegations = &tuf.Delegations{Keys: map[string]*tuf.Key{}, Roles: []tuf.DelegatedRole{d}}
	}
	ring := tuf.DelegatedRole{Name: "ring-a", Paths: []string{"a/*"}}
	for name, plant := range map[string]func(*tree){
		"two parents": func(x *tree) {
			x.roles["ring-b"] = tuf.Targets()
			roleIn(x.roles[RoleTargets], ring)
			x.roles[RoleTargets].Signed.Delegations.Roles = append(x.roles[RoleTargets].Signed.Delegations.Roles, tuf.DelegatedRole{Name: "ring-b", Paths: []string{"b/*"}})
			roleIn(x.roles["ring-b"], ring)
		},
		"itself": func(x *tree) {
			roleIn(x.roles[RoleTargets], tuf.DelegatedRole{Name: "targets", Paths: []string{"a/*"}})
		},
		"odd name": func(x *tree) { roleIn(x.roles[RoleTargets], tuf.DelegatedRole{Name: "ring/a", Paths: []string{"a/*"}}) },
		"hash bins": func(x *tree) {
			roleIn(x.roles[RoleTargets], tuf.DelegatedRole{Name: "ring-a", PathHashPrefixes: []string{"a"}})
		},
		"no paths": func(x *tree) { roleIn(x.roles[RoleTargets], tuf.DelegatedRole{Name: "ring-a"}) },
		"succinct": func(x *tree) {
			x.roles[RoleTargets].Signed.Delegations = &tuf.Delegations{SuccinctRoles: &tuf.SuccinctRoles{}}
		},
		"orphan":       func(x *tree) { x.rec.Targets["ring-x"] = []byte("{}") },
		"inconsistent": func(x *tree) { x.root.Signed.ConsistentSnapshot = false },
		"no issued":    func(x *tree) { x.timestamp.Signed.UnrecognizedFields = nil },
		"odd issued":   func(x *tree) { x.timestamp.Signed.UnrecognizedFields = map[string]any{IssuedField: 5} },
		"md5": func(x *tree) {
			x.roles[RoleTargets].Signed.Targets["a/1"] = &tuf.TargetFiles{Hashes: tuf.Hashes{"md5": make([]byte, 16)}}
		},
		"two hashes": func(x *tree) {
			x.roles[RoleTargets].Signed.Targets["a/1"] = &tuf.TargetFiles{Hashes: tuf.Hashes{"sha256": make([]byte, 32), "sha512": make([]byte, 64)}}
		},
	} {
		g := newRig(t)
		x, err := readRecord(g.c.Record)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.check(); err != nil {
			t.Fatal(err)
		}
		plant(x)
		if err := x.check(); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOversizeIsRefused(t *testing.T) {
	t.Parallel()
	const b = 1
	small := []byte("{}")
	for name, r := range map[string]*record{
		"root":      {Roots: [][]byte{small, make([]byte, MaxRoot+b)}, Timestamp: small, Snapshot: small},
		"timestamp": {Roots: [][]byte{small}, Timestamp: make([]byte, MaxTimestamp+b), Snapshot: small},
		"snapshot":  {Roots: [][]byte{small}, Timestamp: small, Snapshot: make([]byte, MaxSnapshot+b)},
		"targets":   {Roots: [][]byte{small}, Timestamp: small, Snapshot: small, Targets: map[string][]byte{"ring-a": make([]byte, MaxTargets+b)}},
		"nothing":   {Roots: [][]byte{small}, Timestamp: small, Snapshot: nil},
	} {
		if err := r.checkSizes(); !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnotherProcessWaits(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	results := make(chan error)
	for i := range 4 {
		go func() {
			_, err := g.Update(t.Context(), g.now, g.all(), add(fmt.Sprintf("a/%d", i)))
			results <- err
		}()
	}
	for range 4 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	seen, err := g.accepted(t)
	if err != nil || len(seen.roles[RoleTargets].Signed.Targets) != 4 {
		t.Errorf("%v", err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"format":"dunlin-repository/1","roots":["e30="],"targets":{"targets":"bnVsbA=="},"timestamp":"e30=","snapshot":"e30="}`))
	f.Add([]byte(`{"format":"dunlin-repository/1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err != nil {
			return
		}
		if _, err := verify(r); err == nil {
			t.Error("the fuzzer has forged a signature")
		}
		again, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseRecord(again); err != nil {
			t.Errorf("does not read what it wrote: %v", err)
		}
	})
}
