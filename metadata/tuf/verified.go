package tuf

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	tufmeta "github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/dunlin-project/dunlin/piecehash"
)

// Target is what a role says of one file.
type Target struct {
	Role   string // that says it
	Path   string
	Length int64
	Custom json.RawMessage // an object, or nil

	sum    piecehash.Hash
	sha256 bool
}

// SHA256 returns the hash of the file, and whether SHA-256 is what the role gives, and nothing else.
func (t Target) SHA256() (piecehash.Hash, bool) { return t.sum, t.sha256 }

func newTarget(role, path string, f *tufmeta.TargetFiles) Target {
	t := Target{Role: role, Path: path, Length: f.Length}
	if sum := f.Hashes["sha256"]; len(sum) == len(t.sum) && len(f.Hashes) == 1 {
		t.sum, t.sha256 = piecehash.Hash(sum), true
	}
	if f.Custom != nil {
		t.Custom = bytes.Clone(*f.Custom)
	}
	return t
}

// Now returns the time of the cycle, ClockBehind by how much the clock was behind what signed metadata proves.
func (u *Updater) Now() time.Time { return u.now }

// ClockBehind returns by how much the clock that New was given is behind the time that signed metadata proves.
func (u *Updater) ClockBehind() time.Duration { return u.behind }

// Stale returns the first *ExpiredError that Config.AllowExpired let pass, or nil.
func (u *Updater) Stale() error { return u.stale }

// Expires returns when the first of the loaded roles runs out.
func (u *Updater) Expires() time.Time {
	all := []time.Time{u.trusted.Root.Signed.Expires, u.trusted.Timestamp.Signed.Expires, u.trusted.Snapshot.Signed.Expires}
	for _, m := range u.trusted.Targets {
		all = append(all, m.Signed.Expires)
	}
	return slices.MinFunc(all, time.Time.Compare)
}

// Files returns the raw files of everything that was loaded, keyed by their name below the base of the repository. With
// them as source and the same anchor, another updater comes to the same result.
func (u *Updater) Files() map[string][]byte { return maps.Clone(u.files) }

// Roles returns the names of the loaded roles of type targets, in order.
func (u *Updater) Roles() []string { return slices.Sorted(maps.Keys(u.trusted.Targets)) }

// Targets returns every target that the loaded roles vouch for, in the order of their paths, each as Find would find it:
// what a role says about a path that it was not given is left out.
func (u *Updater) Targets() []Target {
	paths := map[string]bool{}
	for _, m := range u.trusted.Targets {
		for path := range m.Signed.Targets {
			paths[path] = true
		}
	}
	var out []Target
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		t, err := u.find(path, func(e edge) (bool, error) { return u.checked[e], nil })
		if err == nil {
			out = append(out, t)
		}
	}
	return out
}

// TargetFile gets the file of a target, from the store if it is there. It must be SHA-256 that the role gives; the file
// has at most limit bytes.
func (u *Updater) TargetFile(ctx context.Context, t Target, limit int64) ([]byte, error) {
	name := targetName(t)
	if !t.sha256 || t.Length > limit {
		return nil, untrusted("file of %.80q: it is named by other hashes than one of SHA-256, or has more than %d bytes", t.Path, limit)
	}
	b := u.cfg.Store.Load(storedTarget(t), t.Length)
	stored := t.isFile(b)
	if !stored {
		var err error
		if b, err = u.cfg.Source.Fetch(ctx, name, t.Length); err != nil {
			return nil, err
		}
		if !t.isFile(b) {
			return nil, advise(u.cfg.Source, untrusted("%s from %s is not the file that was signed", name, u.cfg.Source))
		}
	}
	u.files[name] = b
	if stored {
		return b, nil
	}
	return b, u.cfg.Store.Save(storedTarget(t), b)
}

func (t Target) isFile(b []byte) bool {
	return int64(len(b)) == t.Length && sha256.Sum256(b) == [32]byte(t.sum)
}

func storedTarget(t Target) string { return "target-" + t.sum.String() }

// targetName puts the hash before the last element of the path (specification, 6.2).
func targetName(t Target) string {
	dir, base := "", t.Path
	if i := strings.LastIndexByte(t.Path, '/'); i >= 0 {
		dir, base = escapePath(t.Path[:i+1]), t.Path[i+1:]
	}
	return "targets/" + dir + t.sum.String() + "." + escapePath(base)
}
