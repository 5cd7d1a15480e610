package tuf_test

import (
	"crypto/ed25519"
	"slices"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/tuf/tuftest"
)

// rootStep is one version of the root: which of the keys 0 to 9 it lists, how many must sign, and who does.
type rootStep struct {
	keys      []int
	threshold int
	signers   []int
}

// TestRootRotation follows the groups of the conformance suite (5.3.4): each root must be signed by a threshold of the keys
// of the one before, and of its own.
func TestRootRotation(t *testing.T) {
	t.Parallel()
	five, next := []int{0, 1, 2, 3, 4}, []int{0, 5, 6, 7, 8}
	cases := []struct {
		name  string
		steps []rootStep
		last  int64 // version that is reached; 0 means refused
	}{
		{"1 of 1 to another key", []rootStep{{[]int{0}, 1, []int{0}}, {[]int{1}, 1, []int{0, 1}}}, 2},
		{"1 of 1, old signature missing", []rootStep{{[]int{0}, 1, []int{0}}, {[]int{1}, 1, []int{1}}}, 0},
		{"1 of 1, new signature missing", []rootStep{{[]int{0}, 1, []int{0}}, {[]int{1}, 1, []int{0}}}, 0},
		{"1 of 1, through steps", []rootStep{{[]int{0}, 1, []int{0}}, {[]int{1}, 1, []int{0, 1}}, {[]int{2}, 1, []int{1, 2}}, {[]int{3}, 1, []int{2, 3}}}, 4},
		{"1 of 1, a step left out", []rootStep{{[]int{0}, 1, []int{0}}, {[]int{1}, 1, []int{0, 1}}, {[]int{2}, 1, []int{0, 2}}}, 0},
		{"3 of 5, one key rotated", []rootStep{{five, 3, five}, {[]int{0, 1, 2, 3, 5}, 3, []int{0, 2, 5}}}, 0},
		{"3 of 5, one key rotated, enough of both", []rootStep{{five, 3, five}, {[]int{0, 1, 2, 3, 5}, 3, []int{0, 2, 3}}}, 2},
		{"3 of 5, one key rotated, with the new one", []rootStep{{five, 3, five}, {[]int{0, 1, 2, 3, 5}, 3, []int{0, 2, 4, 5}}}, 2},
		{"3 of 5, four rotated", []rootStep{{five, 3, five}, {next, 3, []int{0, 1, 2, 5, 6}}}, 2},
		{"3 of 5, four rotated, too few old", []rootStep{{five, 3, five}, {next, 3, []int{0, 1, 5, 6}}}, 0},
		{"3 of 5, four rotated, too few new", []rootStep{{five, 3, five}, {next, 3, []int{0, 1, 2, 5}}}, 0},
		{"3 of 5, all rotated", []rootStep{{five, 3, five}, {[]int{5, 6, 7, 8, 9}, 3, []int{0, 2, 4, 5, 7, 9}}}, 2},
		{"3 of 5, all rotated, too few old", []rootStep{{five, 3, five}, {[]int{5, 6, 7, 8, 9}, 3, []int{0, 2, 5, 7, 9}}}, 0},
		{"3 of 5, all rotated, too few new", []rootStep{{five, 3, five}, {[]int{5, 6, 7, 8, 9}, 3, []int{0, 2, 4, 5, 7}}}, 0},
		{"threshold up", []rootStep{{five, 2, five}, {five, 4, []int{0, 1, 2, 3}}}, 2},
		{"threshold up, too few", []rootStep{{five, 2, five}, {five, 4, []int{0, 1, 2}}}, 0},
		{"threshold down", []rootStep{{five, 4, five}, {five, 2, []int{0, 1, 2, 3}}}, 2},
		{"threshold down, too few", []rootStep{{five, 4, five}, {five, 2, []int{0, 1}}}, 0},
		{"signatures of strangers do not count", []rootStep{{five, 3, five}, {five, 3, []int{0, 1, 7, 8, 9}}}, 0},
		{"signatures of strangers do no harm", []rootStep{{five, 3, five}, {five, 3, []int{0, 1, 2, 7, 8, 9}}}, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := tuftest.New(t.Name(), start())
			var pool []ed25519.PrivateKey
			for range 10 {
				pool = append(pool, r.Key())
			}
			r.Root.Signed.Version = 0
			for _, s := range c.steps {
				rootVersion(r, pool, s)
			}
			d := newDevice(t, r)
			d.anchor = r.Files["metadata/1.root.json"]
			if c.last == 0 {
				d.bad(r.Files, fault.Untrusted, "update root")
				return
			}
			if got := d.good(r.Files).Files(); got[r.Name("root")] == nil || r.Root.Signed.Version != c.last {
				t.Errorf("did not come to version %d", c.last)
			}
		})
	}
}

func rootVersion(r *tuftest.Repo, pool []ed25519.PrivateKey, s rootStep) {
	root := &r.Root.Signed
	root.Version++
	for _, id := range slices.Clone(root.Roles["root"].KeyIDs) {
		if err := root.RevokeKey(id, "root"); err != nil {
			panic(err)
		}
	}
	for _, k := range s.keys {
		if err := root.AddKey(tuftest.TUFKey(pool[k]), "root"); err != nil {
			panic(err)
		}
	}
	root.Roles["root"].Threshold = s.threshold
	var signers []ed25519.PrivateKey
	for _, k := range s.signers {
		signers = append(signers, pool[k])
	}
	r.Files[r.Name("root")] = tuftest.Sign(r.Root, signers...)
}

// TestOtherRolesRotate: the keys of the other roles come from the root alone, and count from its next version on.
func TestOtherRolesRotate(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"timestamp", "snapshot", "targets"} {
		for _, c := range []struct {
			name            string
			keys, threshold int
			signers         func(old, now []ed25519.PrivateKey) []ed25519.PrivateKey
			ok              bool
		}{
			{"new key signs", 1, 1, func(_, now []ed25519.PrivateKey) []ed25519.PrivateKey { return now }, true},
			{"old key signs", 1, 1, func(old, _ []ed25519.PrivateKey) []ed25519.PrivateKey { return old }, false},
			{"nobody signs", 1, 1, func(_, _ []ed25519.PrivateKey) []ed25519.PrivateKey { return nil }, false},
			{"3 of 5, all", 5, 3, func(_, now []ed25519.PrivateKey) []ed25519.PrivateKey { return now }, true},
			{"3 of 5, first three", 5, 3, func(_, now []ed25519.PrivateKey) []ed25519.PrivateKey { return now[:3] }, true},
			{"3 of 5, last three", 5, 3, func(_, now []ed25519.PrivateKey) []ed25519.PrivateKey { return now[2:] }, true},
			{"3 of 5, two", 5, 3, func(_, now []ed25519.PrivateKey) []ed25519.PrivateKey { return now[1:3] }, false},
			{"3 of 5, two and the old one", 5, 3, func(old, now []ed25519.PrivateKey) []ed25519.PrivateKey { return append(slices.Clone(old), now[:2]...) }, false},
		} {
			t.Run(role+" "+c.name, func(t *testing.T) {
				t.Parallel()
				r := tuftest.New(t.Name(), start())
				d := newDevice(t, r)
				d.good(r.Files)
				old := slices.Clone(r.Keys[role])
				r.Rotate(role, c.keys, c.threshold)
				r.PublishRoot()
				r.Keys[role] = c.signers(old, r.Keys[role])
				r.Publish("targets")
				if c.ok {
					d.good(r.Files)
					return
				}
				d.bad(r.Files, fault.Untrusted, "update "+role)
			})
		}
	}
}

// TestOneKeyCountsOnce: neither under two ids nor with two signatures does one key make a threshold of two.
func TestOneKeyCountsOnce(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	key := r.Keys["targets"][0]
	twin := *tuftest.TUFKey(key)
	twin.UnrecognizedFields = map[string]any{"x": "another id"}
	if err := r.Root.Signed.AddKey(&twin, "targets"); err != nil {
		t.Fatal(err)
	}
	r.Root.Signed.Roles["targets"].Threshold = 2
	r.PublishRoot()
	m := r.Roles["targets"]
	tuftest.Sign(m, key)
	m.Signatures = append(m.Signatures, metadata.Signature{KeyID: r.Root.Signed.Roles["targets"].KeyIDs[1], Signature: m.Signatures[0].Signature})
	b, err := m.ToBytes(false)
	if err != nil {
		t.Fatal(err)
	}
	r.Files[r.Name("targets")] = b
	delete(r.Snapshot.Signed.Meta, "targets.json")
	r.Snapshot.Signed.Meta["targets.json"] = &metadata.MetaFiles{Version: 1}
	r.PublishSnapshot()
	newDevice(t, r).bad(r.Files, fault.Untrusted, "not enough signatures")
}

func TestOneInvalidSignatureAmongEnough(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	r.AddKey("timestamp")
	r.PublishRoot()
	r.PublishTimestamp()
	r.Timestamp.Signatures[0].Signature[0] ^= 1
	b, err := r.Timestamp.ToBytes(false)
	if err != nil {
		t.Fatal(err)
	}
	r.Files["metadata/timestamp.json"] = b
	newDevice(t, r).good(r.Files)
}
