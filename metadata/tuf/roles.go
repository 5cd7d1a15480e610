package tuf

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	tufmeta "github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// fileOf is the name of a role's file in the store, and among the versions in timestamp and snapshot.
func fileOf(role string) string { return url.PathEscape(role) + ".json" }

// fileName is the name of a role's file below the base of a repository. Version 0 is a name without one.
func fileName(role string, version int64) string {
	if version == 0 {
		return "metadata/" + fileOf(role)
	}
	return "metadata/" + strconv.FormatInt(version, 10) + "." + fileOf(role)
}

// snapshot is 5.5. The one in the store is taken for current only if it is the very file that the timestamp names; an
// older one counts against a rollback.
func (u *Updater) snapshot(ctx context.Context) error {
	meta := snapshotMeta(u.trusted.Timestamp)
	b := u.cfg.Store.Load(fileOf(roleSnapshot), MaxSnapshotSize)
	current := b != nil && u.acceptSnapshot(b, true) == nil && meta.VerifyLengthHashes(b) == nil
	if !current {
		var err error
		if b, err = u.fetchNamed(ctx, roleSnapshot, meta); err != nil {
			return err
		}
		if err := u.acceptSnapshot(b, false); err != nil {
			return fault.Wrap(fault.Untrusted, err)
		}
	}
	if err := u.fresh(roleSnapshot, u.trusted.Snapshot.Signed.Expires); err != nil {
		return err
	}
	u.files[fileName(roleSnapshot, meta.Version)] = b
	return u.keep(roleSnapshot, b, current)
}

// keep saves a file that did not come from the store.
func (u *Updater) keep(role string, b []byte, stored bool) error {
	if stored {
		return nil
	}
	return u.cfg.Store.Save(fileOf(role), b)
}

func (u *Updater) acceptSnapshot(b []byte, stored bool) error {
	if err := checkFile(b, roleSnapshot); err != nil {
		return err
	}
	return guarded(func() error {
		_, err := u.trusted.UpdateSnapshot(b, stored)
		return err
	})
}

// fetchNamed gets a file that a signed parent names by version, and as a rule by length and hash. Whatever else comes
// back is not garbage but the wrong file, so a caller calls it untrusted.
func (u *Updater) fetchNamed(ctx context.Context, role string, meta *tufmeta.MetaFiles) ([]byte, error) {
	limit := maxSize(role)
	if meta.Length > limit {
		return nil, fault.New(fault.Refused, "%s has %d bytes, at most %d are read", fileOf(role), meta.Length, limit)
	}
	if meta.Length > 0 {
		limit = meta.Length
	}
	b, err := u.cfg.Source.Fetch(ctx, fileName(role, meta.Version), limit)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, untrusted("%s is larger than %d bytes", fileName(role, meta.Version), limit)
	}
	return b, nil
}

func (u *Updater) targets(ctx context.Context) error { return u.load(ctx, edge{roleRoot, roleTargets}) }

// load gets a targets role, verified for one of its delegators (5.6). A role that is there already because another role
// delegates it is verified again: its keys may be others.
func (u *Updater) load(ctx context.Context, e edge) error {
	if u.checked[e] {
		return nil
	}
	meta := u.trusted.Snapshot.Signed.Meta[e.role+".json"]
	if meta == nil {
		return untrusted("the snapshot does not name %s", e.role)
	}
	b, stored := u.raw[e.role], true
	if b == nil {
		b = u.cfg.Store.Load(fileOf(e.role), MaxTargetsSize)
	}
	if b == nil || u.acceptTargets(b, e) != nil {
		var err error
		if b, err = u.fetchNamed(ctx, e.role, meta); err != nil {
			return err
		}
		if err := u.acceptTargets(b, e); err != nil {
			return fault.Wrap(fault.Untrusted, err)
		}
		stored = false
	}
	if err := u.fresh(e.role, u.trusted.Targets[e.role].Signed.Expires); err != nil {
		return err
	}
	u.checked[e], u.raw[e.role] = true, b
	u.files[fileName(e.role, meta.Version)] = b
	return u.keep(e.role, b, stored)
}

func (u *Updater) acceptTargets(b []byte, e edge) error {
	if err := checkFile(b, e.role); err != nil {
		return err
	}
	return guarded(func() error {
		_, err := u.trusted.UpdateDelegatedTargets(b, e.role, e.parent)
		return err
	})
}

// LoadRoles gets the delegated roles whose names want accepts, and what those delegate in turn; nil means all of them.
// One that does not verify is an error.
func (u *Updater) LoadRoles(ctx context.Context, want func(role string) bool) error {
	visited := map[string]bool{}
	queue := []string{roleTargets}
	for len(queue) > 0 {
		parent := queue[0]
		queue = queue[1:]
		for _, d := range u.delegated(parent) {
			if want != nil && !want(d.name) {
				continue
			}
			if err := u.loadDelegated(ctx, edge{parent, d.name}, len(visited)); err != nil {
				return err
			}
			if !visited[d.name] {
				visited[d.name] = true
				queue = append(queue, d.name)
			}
		}
	}
	return nil
}

func (u *Updater) loadDelegated(ctx context.Context, e edge, visited int) error {
	if visited >= MaxRoles {
		return fault.New(fault.Refused, "update %s: more than %d delegated roles", e.role, MaxRoles)
	}
	if err := u.load(ctx, e); err != nil {
		return u.blame(e.role, err)
	}
	return nil
}

// errNoTarget is returned by find when no role vouches for a path.
var errNoTarget = errors.New("no role vouches for the path")

// find looks a path up, in the order of the specification (5.6.7): depth first, in the order of the delegations, and not
// beyond a terminating one. next makes a delegated role available, or reports that it is to be passed over.
func (u *Updater) find(path string, next func(edge) (ok bool, err error)) (Target, error) {
	stack := []edge{{roleRoot, roleTargets}}
	visited := map[string]bool{}
	for len(stack) > 0 && len(visited) <= MaxRoles {
		e := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if visited[e.role] {
			continue
		}
		ok, err := next(e)
		if err != nil {
			return Target{}, err
		}
		if !ok {
			continue
		}
		visited[e.role] = true
		if file := u.trusted.Targets[e.role].Signed.Targets[path]; file != nil {
			return newTarget(e.role, path, file), nil
		}
		stack = u.descend(stack, e.role, path)
	}
	return Target{}, fault.Wrap(fault.Unavailable, fmt.Errorf("find %.80q: %w", path, errNoTarget))
}

// descend puts the delegations that match the path on the stack, the first on top. A terminating one forgets what was to
// be looked at after it.
func (u *Updater) descend(stack []edge, parent, path string) []edge {
	var children []edge
	for _, d := range u.delegatedFor(parent, path) {
		children = append(children, edge{parent, d.name})
		if d.terminating {
			stack = nil
			break
		}
	}
	for i := len(children) - 1; i >= 0; i-- {
		stack = append(stack, children[i])
	}
	return stack
}

// Find looks a target up by its path, and gets the delegated roles that it needs for it.
func (u *Updater) Find(ctx context.Context, path string) (Target, error) {
	return u.find(path, func(e edge) (bool, error) {
		if err := u.load(ctx, e); err != nil {
			return false, u.blame(e.role, err)
		}
		return true, nil
	})
}

// escapePath escapes the elements of a path, but not the slashes between them.
func escapePath(p string) string { return (&url.URL{Path: p}).EscapedPath() }
