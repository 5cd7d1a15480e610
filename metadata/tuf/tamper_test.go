package tuf_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/tuf"
	"github.com/dunlin-project/dunlin/metadata/tuf/tuftest"
)

// TestFlippedBitsAreUntrusted flips one bit in every byte of root and timestamp, and in one of nine bytes of the files that
// others name by a hash, one at a time; every other time it is the bit that makes the other case of a letter. None may pass,
// and none may be taken for a server that merely does not work.
func TestFlippedBitsAreUntrusted(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	r.Delegate("targets", "ring-a", "a/*")
	r.AddTarget("ring-a", "a/<&>", 3, [32]byte{1}, []byte(`{"v1":{"title":"a < b && c"}}`))
	r.Publish("targets", "ring-a")
	anchor := r.Files["metadata/1.root.json"]
	r.Rotate("root", 1, 1)
	r.PublishRoot()
	for _, name := range slices.Sorted(maps.Keys(r.Files)) {
		if name == "metadata/1.root.json" || strings.HasPrefix(name, "metadata/1.") && !strings.Contains(name, "ring") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			step := 9
			if strings.Contains(name, "root") || strings.Contains(name, "timestamp") {
				step = 1
			}
			for i := 0; i < len(r.Files[name]); i += step {
				bit := 5
				if i%2 == 1 {
					bit = i / 2 % 8
				}
				files := r.Snap()
				b := slices.Clone(files[name])
				b[i] ^= 1 << bit
				files[name] = b
				if kind := fault.Of(refresh(t, anchor, files)); kind != fault.Untrusted {
					t.Fatalf("bit %d of byte %d, %q: %v", bit, i, b[max(0, i-10):min(len(b), i+10)], kind)
				}
			}
		})
	}
}

func refresh(t *testing.T, anchor []byte, files map[string][]byte) error {
	t.Helper()
	u, err := tuf.New(tuf.Config{Anchor: anchor, Source: tuf.Memory(files)}, start())
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Refresh(t.Context()); err != nil {
		return err
	}
	return u.LoadRoles(t.Context(), nil)
}

// TestGarbageIsNotAnAttack draws the line between a server that does not work and one that lies.
func TestGarbageIsNotAnAttack(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	r.PublishRoot()
	timestamp := r.Files["metadata/timestamp.json"]
	garbage := map[string]string{
		"empty": "", "HTML": "<!DOCTYPE html><html><body>Please log in</body></html>", "null": "null", "object": "{}",
		"array": "[]", "text": "not found\n", "zeros": string(make([]byte, 500)), "other JSON": `{"error":"no such key"}`,
		"endless": strings.Repeat("x", tuf.MaxRootSize+1), "deep": strings.Repeat("[", 5000),
	}
	for what, text := range garbage {
		for _, name := range []string{"metadata/timestamp.json", "metadata/2.root.json"} {
			files := r.Snap()
			files[name] = []byte(text)
			if err := refresh(t, r.Files["metadata/1.root.json"], files); !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
				t.Errorf("%s as %s: %v: %v", what, name, fault.Of(err), err)
			}
		}
	}
	lies := map[string]string{
		"cut": string(timestamp[:len(timestamp)-20]), "longer": string(timestamp) + "x", "BOM": "\ufeff" + string(timestamp),
		"unsigned":        `{"signatures":[],"signed":` + string(timestamp[strings.Index(string(timestamp), `"signed":`)+9:]),
		"null signatures": `{"signatures":null,"signed":{"_type":"timestamp"}}`, "null signed": `{"signatures":[{"keyid":"00"}],"signed":null}`,
		"endless": `{"signatures":[],"signed":{"_type":"` + strings.Repeat("x", tuf.MaxTimestampSize),
		"deep":    `{"signatures":[],"signed":{"_type":` + strings.Repeat("[", 5000),
	}
	for what, text := range lies {
		files := r.Snap()
		files["metadata/timestamp.json"] = []byte(text)
		if err := refresh(t, r.Files["metadata/1.root.json"], files); !fault.Is(err, fault.Untrusted) || fault.Hint(err) == "" {
			t.Errorf("%s: %v: %v", what, fault.Of(err), err)
		}
	}
}

// TestWrongFileBehindASignedName: below the timestamp everything has a name, so whatever else is there is the wrong file.
func TestWrongFileBehindASignedName(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	r.Delegate("targets", "ring-a", "a/*")
	r.Publish("targets", "ring-a")
	old := r.Files[r.Name("targets")]
	r.Publish("targets")
	for _, role := range []string{"snapshot", "targets", "ring-a"} {
		for what, b := range map[string][]byte{"empty": nil, "HTML": []byte("<html>"), "larger": append(slices.Clone(r.Files[r.Name(role)]), ' '), "older": old} {
			files := r.Snap()
			files[r.Name(role)] = b
			if err := refresh(t, r.Files["metadata/1.root.json"], files); !fault.Is(err, fault.Untrusted) {
				t.Errorf("%s as %s: %v: %v", what, role, fault.Of(err), err)
			}
		}
		files := r.Snap()
		delete(files, r.Name(role))
		if err := refresh(t, r.Files["metadata/1.root.json"], files); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s missing: %v: %v", role, fault.Of(err), err)
		}
	}
}

// TestSignedButMalformed is trap 8: what a key holder signed can be senseless, and must not bring the reader down.
func TestSignedButMalformed(t *testing.T) {
	t.Parallel()
	key := func(r *tuftest.Repo) string { return tuftest.KeyID(r.Keys["targets"][0]) }
	cases := map[string]func(r *tuftest.Repo){
		"null snapshot in timestamp": func(r *tuftest.Repo) { r.Timestamp.Signed.Meta["snapshot.json"] = nil; r.PublishTimestamp() },
		"no snapshot in timestamp":   func(r *tuftest.Repo) { delete(r.Timestamp.Signed.Meta, "snapshot.json"); r.PublishTimestamp() },
		"null targets in snapshot":   func(r *tuftest.Repo) { r.Snapshot.Signed.Meta["targets.json"] = nil; r.PublishSnapshot() },
		"null target":                func(r *tuftest.Repo) { r.Roles["targets"].Signed.Targets["a"] = nil; r.Publish("targets") },
		"null role":                  func(r *tuftest.Repo) { r.Root.Signed.Roles["targets"] = nil; r.PublishRoot() },
		"null key":                   func(r *tuftest.Repo) { r.Root.Signed.Keys[key(r)] = nil; r.PublishRoot() },
		"key of two bytes":           func(r *tuftest.Repo) { r.Root.Signed.Keys[key(r)].Value.PublicKey = "00ff"; r.PublishRoot() },
		"key of 31 bytes": func(r *tuftest.Repo) {
			r.Root.Signed.Keys[key(r)].Value.PublicKey = strings.Repeat("00", 31)
			r.PublishRoot()
		},
		"empty key":             func(r *tuftest.Repo) { r.Root.Signed.Keys[key(r)].Value.PublicKey = ""; r.PublishRoot() },
		"threshold 0":           func(r *tuftest.Repo) { r.Root.Signed.Roles["targets"].Threshold = 0; r.PublishRoot() },
		"threshold -1":          func(r *tuftest.Repo) { r.Root.Signed.Roles["targets"].Threshold = -1; r.PublishRoot() },
		"threshold beyond keys": func(r *tuftest.Repo) { r.Root.Signed.Roles["targets"].Threshold = 2; r.PublishRoot() },
		"key listed twice": func(r *tuftest.Repo) {
			o := r.Root.Signed.Roles["targets"]
			o.KeyIDs = append(o.KeyIDs, o.KeyIDs[0])
			r.PublishRoot()
		},
		"unknown key id":          func(r *tuftest.Repo) { r.Root.Signed.Roles["targets"].KeyIDs[0] = "abc"; r.PublishRoot() },
		"role missing":            func(r *tuftest.Repo) { delete(r.Root.Signed.Roles, "targets"); r.PublishRoot() },
		"no consistent snapshots": func(r *tuftest.Repo) { r.Root.Signed.ConsistentSnapshot = false; r.PublishRoot() },
		"spec_version 2.0":        func(r *tuftest.Repo) { r.Roles["targets"].Signed.SpecVersion = "2.0"; r.Publish("targets") },
		"version 0":               func(r *tuftest.Repo) { r.Roles["targets"].Signed.Version = -1; r.Publish("targets") },
		"version negative":        func(r *tuftest.Repo) { r.Roles["targets"].Signed.Version = -7; r.Publish("targets") },
		"version beyond 2^53":     func(r *tuftest.Repo) { r.Roles["targets"].Signed.Version = 1 << 60; r.Publish("targets") },
		"another type":            func(r *tuftest.Repo) { r.Roles["targets"].Signed.Type = "snapshot"; r.Publish("targets") },
		"length negative":         func(r *tuftest.Repo) { r.AddTarget("targets", "a", -3, [32]byte{}, nil); r.Publish("targets") },
		"md5":                     func(r *tuftest.Repo) { hash(r, metadata.Hashes{"md5": make([]byte, 16)}) },
		"sha256 and md5":          func(r *tuftest.Repo) { hash(r, metadata.Hashes{"sha256": make([]byte, 32), "md5": make([]byte, 16)}) },
		"short sha256":            func(r *tuftest.Repo) { hash(r, metadata.Hashes{"sha256": make([]byte, 31)}) },
		"expires with a fraction": func(r *tuftest.Repo) {
			r.Roles["targets"].Signed.Expires = start().Add(time.Hour + 1)
			r.Publish("targets")
		},
		"custom is a list": func(r *tuftest.Repo) { r.AddTarget("targets", "a", 1, [32]byte{}, []byte(`[1]`)); r.Publish("targets") },
		"delegated twice": func(r *tuftest.Repo) {
			r.Delegate("targets", "ring-a", "a/*")
			r.Delegate("targets", "ring-a", "b/*")
			r.Publish("targets", "ring-a")
		},
		"delegated top level": func(r *tuftest.Repo) { r.Delegate("targets", "snapshot", "a/*"); r.Publish("targets") },
		"paths and prefixes": func(r *tuftest.Repo) {
			d := r.Delegate("targets", "ring-a")
			d.Paths, d.PathHashPrefixes = nil, nil
			r.Publish("targets", "ring-a")
		},
		"issued after expiry": func(r *tuftest.Repo) { r.Now = start().Add(2 * tuftest.Lifetime); r.PublishTimestamp() },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := tuftest.New(t.Name(), start())
			d := newDevice(t, r)
			d.good(r.Files)
			whole := r.Snap()
			func() {
				defer func() { _ = recover() }() // some nonsense go-tuf does not even write
				change(r)
			}()
			if fault.Of(refresh(t, d.anchor, r.Files)) != fault.Untrusted {
				t.Errorf("accepted, or not untrusted: %v", refresh(t, d.anchor, r.Files))
			}
			if err := refresh(t, d.anchor, whole); err != nil {
				t.Errorf("what was there before: %v", err)
			}
		})
	}
}

func hash(r *tuftest.Repo, h metadata.Hashes) {
	r.AddTarget("targets", "a", 1, [32]byte{}, nil)
	r.Roles["targets"].Signed.Targets["a"].Hashes = h
	r.Publish("targets")
}

// TestSourcesOneAfterTheOther: one bad mirror of three does not keep a device from its updates, and if all are bad the
// attack is what is reported.
func TestSourcesOneAfterTheOther(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	forged := r.Snap()
	forged["metadata/timestamp.json"] = forged["metadata/1.targets.json"]
	away, hostile := tuf.Memory{}, tuf.Memory(forged)
	d := newDevice(t, r)
	if _, err := d.syncFrom(away, hostile, tuf.Memory(r.Files)); err != nil {
		t.Error(err)
	}
	for _, order := range [][]tuf.Source{{away, hostile}, {hostile, away}} {
		if _, err := d.syncFrom(order...); !fault.Is(err, fault.Untrusted) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := d.syncFrom(away, tuf.Folder(t.TempDir())); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	if _, err := d.syncFrom(); !fault.Is(err, fault.Usage) {
		t.Errorf("no source: %v", err)
	}
}

func TestAnchorMustBeARoot(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	for name, b := range map[string][]byte{
		"empty": nil, "timestamp": r.Files["metadata/timestamp.json"], "null": []byte("null"),
		"unsigned": tuftest.Sign(r.Root), "wrong key": tuftest.Sign(r.Root, r.Keys["targets"][0]),
	} {
		if _, err := tuf.New(tuf.Config{Anchor: b, Source: tuf.Memory(r.Files)}, start()); !fault.Is(err, fault.Untrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
