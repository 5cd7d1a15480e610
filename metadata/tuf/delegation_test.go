package tuf_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/tuf"
	"github.com/dunlin-project/dunlin/metadata/tuf/tuftest"
)

// grant is one delegation of a graph; a star at the end of the role means that it is terminating.
type grant struct {
	parent, role string
	paths        []string
}

func graph(t *testing.T, grants []grant) *tuftest.Repo {
	t.Helper()
	r := tuftest.New(t.Name(), start())
	for _, g := range grants {
		role, terminating := strings.CutSuffix(g.role, "*")
		r.Delegate(g.parent, role, g.paths...).Terminating = terminating
	}
	return r
}

func publish(r *tuftest.Repo) {
	for role := range r.Roles {
		r.Publish(role)
	}
}

// TestSearch follows the graphs of the conformance suite: who is asked for a path, and in which order (specification, 5.6.7).
func TestSearch(t *testing.T) {
	t.Parallel()
	all := []string{"*"}
	cases := []struct {
		name    string
		grants  []grant
		visited []string
	}{
		{"no delegation", nil, nil},
		{"one level", []grant{{"targets", "a", all}, {"targets", "b", all}}, []string{"a", "b"}},
		{"two levels", []grant{{"targets", "a", all}, {"a", "b", all}, {"a", "c", all}}, []string{"a", "b", "c"}},
		{"three levels, depth first", []grant{
			{"targets", "a", all}, {"targets", "f", all}, {"a", "b", all}, {"b", "c", all}, {"c", "d", all}, {"a", "e", all},
		}, []string{"a", "b", "c", "d", "e", "f"}},
		{"terminating at the first level", []grant{{"targets", "a", all}, {"targets", "b*", all}, {"targets", "c", all}}, []string{"a", "b"}},
		{"terminating at the second level", []grant{{"targets", "a", all}, {"targets", "d", all}, {"a", "b*", all}, {"a", "c", all}}, []string{"a", "b"}},
		{"terminating at the third level", []grant{
			{"targets", "a", all}, {"a", "b", all}, {"b", "c*", all}, {"b", "x", all}, {"a", "y", all}, {"targets", "z", all},
		}, []string{"a", "b", "c"}},
		{"terminating, but for other paths", []grant{{"targets", "a*", []string{"x"}}, {"targets", "b", all}}, []string{"b"}},
		{"branch that does not match", []grant{{"targets", "a", []string{"x*"}}, {"a", "b", all}, {"targets", "c", all}}, []string{"c"}},
		{"cycle", []grant{{"targets", "a", all}, {"a", "b", all}, {"b", "a", all}, {"b", "c", all}}, []string{"a", "b", "c"}},
		{"two ways to one role", []grant{{"targets", "a", all}, {"targets", "b", all}, {"a", "c", all}, {"b", "c", all}}, []string{"a", "c", "b"}},
		{"two ways with other paths", []grant{{"targets", "a", all}, {"targets", "b", all}, {"a", "c", []string{"x"}}, {"b", "c", all}}, []string{"a", "b", "c"}},
		{"long chain", chain(tuf.MaxRoles - 1), names(tuf.MaxRoles - 1)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := graph(t, c.grants)
			publish(r)
			d := newDevice(t, r)
			a := &asked{Source: tuf.Memory(r.Files)}
			u, err := tuf.New(tuf.Config{Anchor: d.anchor, Source: a, Store: d.store}, d.now)
			if err != nil {
				t.Fatal(err)
			}
			if err := u.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			a.names = nil
			if _, err := u.Find(t.Context(), "path"); !fault.Is(err, fault.Unavailable) {
				t.Errorf("found in nobody's targets: %v", err)
			}
			var visited []string
			for _, n := range a.names {
				visited = append(visited, strings.TrimSuffix(strings.TrimPrefix(n, "1."), ".json"))
			}
			if !slices.Equal(visited, c.visited) {
				t.Errorf("visited %v, want %v", visited, c.visited)
			}
		})
	}
}

func chain(n int) []grant {
	out := []grant{{"targets", "r0", []string{"*"}}}
	for i := 1; i < n; i++ {
		out = append(out, grant{fmt.Sprintf("r%d", i-1), fmt.Sprintf("r%d", i), []string{"*"}})
	}
	return out
}

func names(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("r%d", i))
	}
	return out
}

func TestPaths(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"pilot/*/*/*", "pilot/acme/app/1.0", true},
		{"pilot/*/*/*", "pilot/acme/app", false},
		{"pilot/*/*/*", "pilot/acme/app/1.0/x", false},
		{"pilot/*/*/*", "broad/acme/app/1.0", false},
		{"*", "a", true},
		{"*", "a/b", false},
		{"a/*", "a/b", true},
		{"a/*", "a/b/c", false},
		{"*/b", "a/b", true},
		{"a?", "ab", true},
		{"a?", "a/", false},
		{"a?b", "a/b", false},
		{"[ab]", "a", true},
		{"[ab]", "c", false},
		{"[!-0]", "/", false},
		{"A", "a", false},
		{"", "", false},
		{"a", "a", true},
		{"[", "a", false},
		{"a\\*", "a*", true},
	} {
		if c.path == "" {
			continue
		}
		r := graph(t, []grant{{"targets", "role", []string{"never", c.pattern}}})
		r.AddTarget("role", c.path, 1, [32]byte{1}, nil)
		publish(r)
		got := newDevice(t, r).good(r.Files).Targets()
		if (len(got) == 1) != c.want {
			t.Errorf("%q for %q: %v", c.pattern, c.path, got)
		}
	}
}

// TestHashPrefixes is trap 7: the prefix is of the hash in hex.
func TestHashPrefixes(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte("some/path"))
	prefix := hex.EncodeToString(sum[:])[:3]
	r := graph(t, []grant{{"targets", "bin", nil}})
	d := &r.Roles["targets"].Signed.Delegations.Roles[0]
	d.Paths, d.PathHashPrefixes = nil, []string{"fffffffffff", prefix}
	r.AddTarget("bin", "some/path", 1, [32]byte{1}, nil)
	r.AddTarget("bin", "other", 1, [32]byte{1}, nil)
	publish(r)
	got := newDevice(t, r).good(r.Files).Targets()
	if len(got) != 1 || got[0].Path != "some/path" || got[0].Role != "bin" {
		t.Errorf("got %v", got)
	}
}

func TestSuccinctRoles(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	key := r.Key()
	r.Roles["targets"].Signed.Delegations = &metadata.Delegations{
		Keys:          map[string]*metadata.Key{tuftest.KeyID(key): tuftest.TUFKey(key)},
		SuccinctRoles: &metadata.SuccinctRoles{KeyIDs: []string{tuftest.KeyID(key)}, Threshold: 1, BitLength: 3, NamePrefix: "bin"},
	}
	for i := range 8 {
		name := fmt.Sprintf("bin-%x", i)
		r.Roles[name] = metadata.Targets(start().Add(tuftest.Lifetime))
		r.Roles[name].Signed.Version = 0
		r.Keys[name] = []ed25519.PrivateKey{key}
	}
	sum := sha256.Sum256([]byte("some/path"))
	right := fmt.Sprintf("bin-%x", sum[0]>>5)
	r.AddTarget(right, "some/path", 1, [32]byte{1}, nil)
	r.AddTarget("bin-0", "in the wrong bin", 1, [32]byte{1}, nil)
	r.AddTarget("bin-1", "in the wrong bin", 1, [32]byte{1}, nil)
	publish(r)
	u := newDevice(t, r).good(r.Files)
	if target, err := u.Find(t.Context(), "some/path"); err != nil || target.Role != right {
		t.Errorf("found %v, %v", target, err)
	}
	if got := len(u.Roles()); got != 9 {
		t.Errorf("%d roles", got)
	}
	for _, target := range u.Targets() {
		sum := sha256.Sum256([]byte(target.Path))
		if target.Role != fmt.Sprintf("bin-%x", sum[0]>>5) {
			t.Errorf("%s speaks about %q", target.Role, target.Path)
		}
	}
	r.Roles["targets"].Signed.Delegations.SuccinctRoles.BitLength = 32
	r.Publish("targets")
	newDevice(t, r).bad(r.Files, fault.Untrusted, "does not name")
}

// TestEachDelegatorVouchesForItself is trap 10: a role that one delegator vouches for is not good for another one, which
// names other keys.
func TestEachDelegatorVouchesForItself(t *testing.T) {
	t.Parallel()
	r := graph(t, []grant{{"targets", "a", []string{"a/*"}}, {"targets", "b", []string{"b/*"}}, {"a", "c", []string{"a/*"}}})
	good := r.Keys["c"]
	r.Keys["c"] = []ed25519.PrivateKey{r.Key()}
	r.Delegate("b", "c", "b/*")
	r.Keys["c"] = good
	r.AddTarget("c", "a/x", 1, [32]byte{1}, nil)
	r.AddTarget("c", "b/x", 1, [32]byte{1}, nil)
	publish(r)
	d := newDevice(t, r)
	u, err := tuf.New(tuf.Config{Anchor: d.anchor, Source: tuf.Memory(r.Files), Store: d.store}, d.now)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Find(t.Context(), "a/x"); err != nil {
		t.Errorf("by the first delegator: %v", err)
	}
	if _, err := u.Find(t.Context(), "b/x"); !fault.Is(err, fault.Untrusted) {
		t.Errorf("by the second delegator: %v", err)
	}
	d.bad(r.Files, fault.Untrusted, "update c")
}

// TestOddRoleNames is trap 11: a name never leads out of the folder.
func TestOddRoleNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"?", "#", "/delegatedrole", "../delegatedrole", "a b", "%2e", "ü"} {
		r := graph(t, []grant{{"targets", name, []string{"*"}}})
		r.AddTarget(name, "x", 1, [32]byte{1}, nil)
		publish(r)
		d := newDevice(t, r)
		for range 2 {
			a := &asked{Source: tuf.Memory(r.Files)}
			u, err := d.syncFrom(a)
			if err != nil || len(u.Targets()) != 1 {
				t.Fatalf("%q: %v", name, err)
			}
			if slices.ContainsFunc(a.names, func(n string) bool { return strings.Contains(n, "/") }) {
				t.Errorf("%q: asked for %v", name, a.names)
			}
		}
	}
}

func TestTooManyRoles(t *testing.T) {
	t.Parallel()
	r := graph(t, chain(tuf.MaxRoles+1))
	publish(r)
	newDevice(t, r).bad(r.Files, fault.Refused, "more than 32")
}

func TestDelegatedRoleMissingFromSnapshot(t *testing.T) {
	t.Parallel()
	r := graph(t, []grant{{"targets", "a", []string{"*"}}})
	r.Publish("targets")
	newDevice(t, r).bad(r.Files, fault.Untrusted, "does not name a")
}

func TestOnlyWantedRolesAreLoaded(t *testing.T) {
	t.Parallel()
	r := graph(t, []grant{{"targets", "a", []string{"a/*"}}, {"targets", "b", []string{"b/*"}}})
	r.AddTarget("a", "a/x", 1, [32]byte{1}, nil)
	r.AddTarget("b", "b/x", 1, [32]byte{1}, nil)
	publish(r)
	u, err := tuf.New(tuf.Config{Anchor: r.Files["metadata/1.root.json"], Source: tuf.Memory(r.Files)}, start())
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := u.LoadRoles(t.Context(), func(role string) bool { return role == "b" }); err != nil {
		t.Fatal(err)
	}
	if got := u.Targets(); len(got) != 1 || got[0].Path != "b/x" {
		t.Errorf("targets %v", got)
	}
}

func TestTargetFile(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	r.AddFile("targets", "publisher/acme", []byte("the root"), nil)
	r.AddTarget("targets", "two", 1, [32]byte{}, nil)
	r.Roles["targets"].Signed.Targets["two"].Hashes["sha512"] = make([]byte, 64)
	r.Publish("targets")
	d := newDevice(t, r)
	file := func(files map[string][]byte, path string, limit int64) ([]byte, error) {
		u := d.good(files)
		target, err := u.Find(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return u.TargetFile(t.Context(), target, limit)
	}
	name := tuftest.TargetName("publisher/acme", sha256.Sum256([]byte("the root")))
	bad := r.Snap()
	for what, b := range map[string]string{"changed": "the r00t", "longer": "the root!", "cut": "the roo", "empty": ""} {
		bad[name] = []byte(b)
		if _, err := file(bad, "publisher/acme", 100); !fault.Is(err, fault.Untrusted) {
			t.Errorf("%s: %v", what, err)
		}
	}
	delete(bad, name)
	if _, err := file(bad, "publisher/acme", 100); !fault.Is(err, fault.Unavailable) {
		t.Errorf("missing: %v", err)
	}
	if _, err := file(r.Files, "publisher/acme", 7); !fault.Is(err, fault.Untrusted) {
		t.Errorf("beyond the limit: %v", err)
	}
	if _, err := file(r.Files, "two", 7); !fault.Is(err, fault.Untrusted) {
		t.Errorf("two hashes: %v", err)
	}
	for _, files := range []map[string][]byte{r.Files, bad} { // the second time it comes from the store
		if b, err := file(files, "publisher/acme", 100); err != nil || string(b) != "the root" {
			t.Errorf("got %q, %v", b, err)
		}
	}
}
