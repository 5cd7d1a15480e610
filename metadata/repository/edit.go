package repository

import (
	"crypto"
	"encoding/json"
	"fmt"
	"slices"

	tuf "github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// RoleKeys are the keys that may sign a role and how many of them must.
type RoleKeys struct {
	Keys      []crypto.PublicKey
	Threshold int // 1 to len(Keys)
}

// One is the authority of a single key.
func One(key crypto.PublicKey) RoleKeys {
	return RoleKeys{Keys: []crypto.PublicKey{key}, Threshold: 1}
}

func (k RoleKeys) resolve(role string) (map[string]*tuf.Key, []string, error) {
	byID := map[string]*tuf.Key{}
	var ids []string
	for _, pub := range k.Keys {
		key, id, err := tufKey(pub)
		if err != nil {
			return nil, nil, fmt.Errorf("role %s: %w", role, err)
		}
		if byID[id] == nil {
			byID[id], ids = key, append(ids, id)
		}
	}
	if k.Threshold < 1 || k.Threshold > len(ids) || len(ids) > maxRoleKeys {
		return nil, nil, fault.New(fault.Usage, "set keys of %s: threshold %d of %d different keys (at most %d)", role, k.Threshold, len(ids), maxRoleKeys)
	}
	return byID, ids, nil
}

// Delegation hands paths over to a role of its own.
type Delegation struct {
	Name  string // [a-z0-9-]{1,32}
	Keys  RoleKeys
	Paths []string // patterns: * stands for any part of one segment
}

// Edit is what Update lets its caller change. It reads as the state with the changes made so far. It must not be kept
// after the change function has returned, nor used by two goroutines.
type Edit struct {
	View
	dirty map[string]bool // roles to sign anew
}

// SetTarget adds or replaces a target of the targets role or of a delegated one, and does nothing when it stands already
// as given. A path or a custom value that clients would refuse is fault.Refused.
func (e *Edit) SetTarget(role, path string, target Target) error {
	m, err := e.role(role)
	if err != nil {
		return err
	}
	f := target.toTUF(path)
	if err := checkTarget(path, f); err != nil {
		return err
	}
	if target.Custom != nil && !isObject(target.Custom) {
		return fault.New(fault.Refused, "set target %s: custom is no JSON object", path)
	}
	if _, _, paths := e.t.authority(role); role != RoleTargets && !matches(paths, path) {
		return fault.New(fault.Refused, "set target %s: it is outside the paths of role %s", path, role)
	}
	if old, ok := e.Target(role, path); ok && old.equal(target) {
		return nil
	}
	m.Signed.Targets[path] = f
	e.dirty[role] = true
	return nil
}

// RemoveTarget removes a target and reports whether it was there.
func (e *Edit) RemoveTarget(role, path string) bool {
	if _, ok := e.Target(role, path); !ok {
		return false
	}
	delete(e.t.roles[role].Signed.Targets, path)
	e.dirty[role] = true
	return true
}

// Touch has a role signed anew even if nothing else changes in it, for a fresh expiry.
func (e *Edit) Touch(role string) error {
	if _, ok := e.Role(role); !ok {
		return noRole(role)
	}
	e.dirty[role] = true
	return nil
}

// SetKeys replaces the keys of a top-level role; the root's own are rotated the same way. The new root must be signed by
// enough keys of the old root and of the new one, and every role whose signatures no longer count is signed anew.
func (e *Edit) SetKeys(role string, k RoleKeys) error {
	if !isTopLevel(role) {
		return fault.New(fault.Usage, "set keys of %s: only a top-level role has its keys in the root; delegate it again instead", role)
	}
	byID, ids, err := k.resolve(role)
	if err != nil {
		return err
	}
	root := &e.t.root.Signed
	for id, key := range byID {
		root.Keys[id] = key
	}
	root.Roles[role].KeyIDs, root.Roles[role].Threshold = ids, k.Threshold
	for id := range root.Keys {
		if !slices.ContainsFunc(topLevel(), func(r string) bool { return slices.Contains(root.Roles[r].KeyIDs, id) }) {
			delete(root.Keys, id)
		}
	}
	e.dirty[RoleRoot] = true
	return nil
}

// Delegate adds a delegated role, or replaces the keys and paths of one. A new role begins empty. Targets that fall
// outside the new paths are refused, not dropped.
func (e *Edit) Delegate(d Delegation) error {
	if err := checkRoleName(d.Name); err != nil {
		return err
	}
	byID, ids, err := d.Keys.resolve(d.Name)
	if err != nil {
		return err
	}
	if len(d.Paths) == 0 {
		return fault.New(fault.Usage, "delegate role %s: it names no paths", d.Name)
	}
	for path := range e.Targets(d.Name) {
		if !matches(d.Paths, path) {
			return fault.New(fault.Refused, "delegate role %s: its target %s is outside the new paths", d.Name, path)
		}
	}
	e.setDelegation(tuf.DelegatedRole{Name: d.Name, KeyIDs: ids, Threshold: d.Keys.Threshold, Terminating: true, Paths: slices.Clone(d.Paths)}, byID)
	if e.t.roles[d.Name] == nil {
		e.t.roles[d.Name] = tuf.Targets()
		e.t.roles[d.Name].Signed.SpecVersion = SpecVersion
		e.dirty[d.Name] = true
	}
	e.dirty[RoleTargets] = true
	return nil
}

func (e *Edit) setDelegation(role tuf.DelegatedRole, keys map[string]*tuf.Key) {
	targets := &e.t.roles[RoleTargets].Signed
	if targets.Delegations == nil {
		targets.Delegations = &tuf.Delegations{Keys: map[string]*tuf.Key{}}
	}
	d := targets.Delegations
	for id, key := range keys {
		d.Keys[id] = key
	}
	if i := slices.IndexFunc(d.Roles, func(r tuf.DelegatedRole) bool { return r.Name == role.Name }); i >= 0 {
		d.Roles[i] = role
	} else {
		d.Roles = append(d.Roles, role)
	}
	dropUnusedKeys(d)
}

// Undelegate takes a delegated role out, with all its targets, and reports whether it was there. Its name stays in the
// snapshot for ever, because clients take a vanished file for an attack (spec 5.5.5); delegated again, the role goes on
// with the next version.
func (e *Edit) Undelegate(name string) bool {
	d := e.t.roles[RoleTargets].Signed.Delegations
	if isTopLevel(name) || d == nil || e.t.roles[name] == nil {
		return false
	}
	d.Roles = slices.DeleteFunc(d.Roles, func(r tuf.DelegatedRole) bool { return r.Name == name })
	dropUnusedKeys(d)
	if len(d.Roles) == 0 {
		e.t.roles[RoleTargets].Signed.Delegations = nil
	}
	delete(e.t.roles, name)
	delete(e.dirty, name)
	e.dirty[RoleTargets] = true
	return true
}

func dropUnusedKeys(d *tuf.Delegations) {
	for id := range d.Keys {
		if !slices.ContainsFunc(d.Roles, func(r tuf.DelegatedRole) bool { return slices.Contains(r.KeyIDs, id) }) {
			delete(d.Keys, id)
		}
	}
}

func (e *Edit) role(name string) (*tuf.Metadata[tuf.TargetsType], error) {
	if m := e.t.roles[name]; m != nil {
		return m, nil
	}
	return nil, noRole(name)
}

func noRole(name string) error {
	return fault.New(fault.Usage, "find role %s: there is none of that name", clip(name))
}

func topLevel() []string { return []string{RoleRoot, RoleTargets, RoleSnapshot, RoleTimestamp} }

// matches asks go-tuf, so that we agree with what clients compute.
func matches(patterns []string, path string) bool {
	ok, err := (&tuf.DelegatedRole{Paths: patterns}).IsDelegatedPath(path)
	return err == nil && ok
}

func isObject(b []byte) bool {
	var m map[string]json.RawMessage
	return json.Unmarshal(b, &m) == nil && m != nil
}
