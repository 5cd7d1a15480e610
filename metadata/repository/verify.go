package repository

import (
	"fmt"
	"time"

	tuf "github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// tree is a repository in parsed form. One that verify made is as the record says; a transaction has a tree of its own
// and changes it (Edit), until seal makes the next record of it.
type tree struct {
	rec       *record
	root      *tuf.Metadata[tuf.RootType]
	timestamp *tuf.Metadata[tuf.TimestampType]
	snapshot  *tuf.Metadata[tuf.SnapshotType]
	roles     map[string]*tuf.Metadata[tuf.TargetsType] // targets and every delegated role
}

// verify walks a record as a client would (spec section 5), but for expiry: what has expired must still be readable to
// be signed anew. It refuses beyond that what our own clients refuse. It never panics: go-tuf does on some malformed
// metadata, and a damaged file is no reason to crash.
func verify(r *record) (t *tree, err error) {
	defer func() {
		if p := recover(); p != nil {
			t, err = nil, fmt.Errorf("verify metadata: malformed: %v", p)
		}
	}()
	trusted, err := walk(r)
	if err != nil {
		return nil, fault.Wrap(fault.Untrusted, fmt.Errorf("verify metadata: %w", err))
	}
	t = &tree{r, trusted.Root, trusted.Timestamp, trusted.Snapshot, trusted.Targets}
	if err := t.check(); err != nil {
		return nil, err
	}
	return t, nil
}

func walk(r *record) (*trustedmetadata.TrustedMetadata, error) {
	trusted, err := trustedmetadata.New(r.Roots[0])
	if err != nil {
		return nil, fmt.Errorf("root 1: %w", err)
	}
	trusted.RefTime = time.Time{} // before every expiry
	if v := trusted.Root.Signed.Version; v != 1 {
		return nil, fmt.Errorf("root 1: it says version %d", v)
	}
	for i, b := range r.Roots[1:] {
		if _, err := trusted.UpdateRoot(b); err != nil {
			return nil, fmt.Errorf("root %d: %w", i+2, err)
		}
	}
	if _, err := trusted.UpdateTimestamp(r.Timestamp); err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	if _, err := trusted.UpdateSnapshot(r.Snapshot, false); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	targets, err := trusted.UpdateTargets(r.Targets[RoleTargets])
	if err != nil {
		return nil, fmt.Errorf("targets: %w", err)
	}
	for _, d := range delegated(targets) {
		if _, err := trusted.UpdateDelegatedTargets(r.Targets[d.Name], d.Name, RoleTargets); err != nil {
			return nil, fmt.Errorf("role %s: %w", d.Name, err)
		}
	}
	return trusted, nil
}

func delegated(m *tuf.Metadata[tuf.TargetsType]) []tuf.DelegatedRole {
	if m.Signed.Delegations == nil {
		return nil
	}
	return m.Signed.Delegations.Roles
}

// check refuses a tree that is well signed and that our clients would not take.
func (t *tree) check() error {
	if !t.root.Signed.ConsistentSnapshot {
		return fault.New(fault.Refused, "check root: it must have consistent snapshots")
	}
	if err := t.checkDelegations(); err != nil {
		return err
	}
	for role, m := range t.roles {
		for path, f := range m.Signed.Targets {
			if err := checkTarget(path, f); err != nil {
				return fmt.Errorf("role %s: %w", role, err)
			}
		}
	}
	if _, err := t.issued(); err != nil {
		return err
	}
	return nil
}

// checkDelegations also refuses a role with two parents: which of them vouches for it would depend on the client
// (docs/security.md), and a role nobody delegates, which no client would ever find.
func (t *tree) checkDelegations() error {
	parent := map[string]string{RoleTargets: RoleRoot}
	for role, m := range t.roles {
		if d := m.Signed.Delegations; d != nil && d.SuccinctRoles != nil {
			return fault.New(fault.Refused, "check role %s: succinct delegations are not used here", role)
		}
		for _, d := range delegated(m) {
			if err := checkRoleName(d.Name); err != nil {
				return err
			}
			if first, taken := parent[d.Name]; taken {
				return fault.New(fault.Refused, "check role %s: it is delegated by %s and by %s", d.Name, first, role)
			}
			parent[d.Name] = role
			if len(d.PathHashPrefixes) > 0 || len(d.Paths) == 0 {
				return fault.New(fault.Refused, "check role %s: a delegation names its paths", d.Name)
			}
		}
	}
	if len(parent)-1 > MaxDelegations {
		return fault.New(fault.Refused, "check delegations: %d roles, at most %d are allowed", len(parent)-1, MaxDelegations)
	}
	for role := range t.rec.Targets {
		if parent[role] == "" || t.roles[role] == nil {
			return fault.New(fault.Refused, "check role %s: nobody delegates it", clip(role))
		}
	}
	return nil
}

func checkTarget(path string, f *tuf.TargetFiles) error {
	if err := checkPath(path); err != nil {
		return err
	}
	if len(f.Hashes) != 1 || len(f.Hashes["sha256"]) != 32 || f.Length < 0 {
		return fault.New(fault.Refused, "check target %s: want a length and exactly one hash, SHA-256", path)
	}
	return nil
}

// issued returns when the timestamp was signed.
func (t *tree) issued() (time.Time, error) {
	s, _ := t.timestamp.Signed.UnrecognizedFields[IssuedField].(string)
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fault.New(fault.Refused, "check timestamp: field %s: %w", IssuedField, err)
	}
	return at, nil
}
