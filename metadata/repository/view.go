package repository

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"

	tuf "github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/dunlin-project/dunlin/piecehash"
)

// Target is what a targets role says of one file.
type Target struct {
	Length int64 // bytes
	SHA256 piecehash.Hash
	Custom json.RawMessage // one JSON object, integers only; nil for none
}

func (a Target) equal(b Target) bool {
	return a.Length == b.Length && a.SHA256 == b.SHA256 && bytes.Equal(normal(a.Custom), normal(b.Custom))
}

// normal makes two ways of writing the same JSON equal: order of keys, white space, escapes.
func normal(b []byte) []byte {
	var v any
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return b
	}
	out, err := json.Marshal(v)
	if err != nil {
		return b
	}
	return out
}

func fromTUF(f *tuf.TargetFiles) Target {
	t := Target{Length: f.Length, SHA256: piecehash.Hash(f.Hashes["sha256"])}
	if f.Custom != nil {
		t.Custom = bytes.Clone(*f.Custom)
	}
	return t
}

func (a Target) toTUF(path string) *tuf.TargetFiles {
	f := &tuf.TargetFiles{Length: a.Length, Hashes: tuf.Hashes{"sha256": a.SHA256[:]}, Path: path}
	if a.Custom != nil {
		custom := json.RawMessage(bytes.Clone(a.Custom))
		f.Custom = &custom
	}
	return f
}

// RoleStatus says what is current of a role and who may sign it.
type RoleStatus struct {
	Name      string
	Version   int64
	Expires   time.Time
	KeyIDs    []string
	Threshold int
	Paths     []string // of a delegated role
}

// View is a verified repository, for reading. It is immutable and safe for concurrent use, except inside an Edit.
type View struct{ t *tree }

// Roots returns the exact bytes of every root, version 1 first. They must not be changed.
func (v *View) Roots() [][]byte { return v.t.rec.Roots }

// Issued returns when the timestamp was signed.
func (v *View) Issued() time.Time {
	at, _ := v.t.issued() // verify has checked it
	return at
}

// Roles returns root, targets, snapshot, timestamp and then the delegated roles by name.
func (v *View) Roles() []RoleStatus {
	names := []string{RoleRoot, RoleTargets, RoleSnapshot, RoleTimestamp}
	for _, name := range slices.Sorted(maps.Keys(v.t.roles)) {
		if name != RoleTargets {
			names = append(names, name)
		}
	}
	out := make([]RoleStatus, len(names))
	for i, name := range names {
		out[i], _ = v.Role(name)
	}
	return out
}

// Role returns what is current of one role, and whether it exists.
func (v *View) Role(name string) (RoleStatus, bool) {
	s := RoleStatus{Name: name}
	switch name {
	case RoleRoot:
		s.Version, s.Expires = v.t.root.Signed.Version, v.t.root.Signed.Expires
	case RoleSnapshot:
		s.Version, s.Expires = v.t.snapshot.Signed.Version, v.t.snapshot.Signed.Expires
	case RoleTimestamp:
		s.Version, s.Expires = v.t.timestamp.Signed.Version, v.t.timestamp.Signed.Expires
	default:
		m := v.t.roles[name]
		if m == nil {
			return RoleStatus{}, false
		}
		s.Version, s.Expires = m.Signed.Version, m.Signed.Expires
	}
	s.KeyIDs, s.Threshold, s.Paths = v.t.authority(name)
	return s, true
}

// Targets returns a copy of the targets of a role by path; nil when there is no such role.
func (v *View) Targets(role string) map[string]Target {
	m := v.t.roles[role]
	if m == nil {
		return nil
	}
	out := make(map[string]Target, len(m.Signed.Targets))
	for path, f := range m.Signed.Targets {
		out[path] = fromTUF(f)
	}
	return out
}

// Target returns one target of a role.
func (v *View) Target(role, path string) (Target, bool) {
	m := v.t.roles[role]
	if m == nil || m.Signed.Targets[path] == nil {
		return Target{}, false
	}
	return fromTUF(m.Signed.Targets[path]), true
}

// authority says who may sign a role: its keys, how many of them, and for a delegated role the paths.
func (t *tree) authority(role string) (keyIDs []string, threshold int, paths []string) {
	if isTopLevel(role) {
		r := t.root.Signed.Roles[role]
		return slices.Clone(r.KeyIDs), r.Threshold, nil
	}
	for _, d := range delegated(t.roles[RoleTargets]) {
		if d.Name == role {
			return slices.Clone(d.KeyIDs), d.Threshold, slices.Clone(d.Paths)
		}
	}
	return nil, 0, nil
}
