package repository

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	tuf "github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// sealing turns an edited tree into the next record: versions up by one, new expiries, signatures. It has no effects
// outside the tree.
type sealing struct {
	edit      *Edit
	old       *tuf.Metadata[tuf.RootType] // the root before the edit; nil for a new repository
	at        signers
	lifetimes Lifetimes
	now       time.Time
	signed    []string // roles that got a new version, in order
}

// seal goes from the root down to the timestamp, as each vouches for what comes after it; snapshot and timestamp are
// last because they hold the versions of the others. It verifies the result the way a client will.
func (z *sealing) seal() (*tree, error) {
	z.now = z.now.UTC().Truncate(time.Second)
	for _, step := range []func() error{z.checkClock, z.root, z.targets, z.snapshot, z.timestamp} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	rec := z.edit.t.rec
	if err := rec.checkSizes(); err != nil {
		return nil, err
	}
	t, err := verify(rec)
	if err != nil {
		return nil, fmt.Errorf("check what was signed: %w", err)
	}
	return t, nil
}

// maxWait is by how much the caller's time may be behind the last signature: it took the time, then waited for its turn
// while others signed.
const maxWait = 5 * time.Minute

// checkClock refuses to sign with a clock that runs behind an earlier signature: clients would take the new metadata for
// old. A caller who has only waited signs at the time of the last signature.
func (z *sealing) checkClock() error {
	if z.old == nil {
		return nil
	}
	last := z.edit.Issued()
	if wait := last.Sub(z.now); wait > 0 && wait <= maxWait {
		z.now = last
	}
	if z.now.Before(last) {
		return fault.WithHint(fault.New(fault.Refused, "sign metadata: it is %v here, but the last signature is of %v",
			z.now.Format(time.RFC3339), last.Format(time.RFC3339)), "set the clock right")
	}
	return nil
}

func (z *sealing) root() error {
	t := z.edit.t
	if !z.edit.dirty[RoleRoot] {
		return nil
	}
	if len(t.rec.Roots) >= MaxRoots {
		return fault.New(fault.Refused, "sign root: there are %d versions, clients follow no more", MaxRoots)
	}
	keyIDs := slices.Clone(t.root.Signed.Roles[RoleRoot].KeyIDs)
	if err := z.at.need("new root", keyIDs, t.root.Signed.Roles[RoleRoot].Threshold); err != nil {
		return err
	}
	if z.old != nil {
		r := z.old.Signed.Roles[RoleRoot]
		if err := z.at.need("new root by the old keys", r.KeyIDs, r.Threshold); err != nil {
			return err
		}
		keyIDs = append(keyIDs, r.KeyIDs...)
	}
	t.root.Signed.SpecVersion = SpecVersion
	t.root.Signed.Version++
	t.root.Signed.Expires = z.expiry(RoleRoot)
	b, err := finish(t.root, keyIDs, z.at)
	if err != nil {
		return fmt.Errorf("sign root: %w", err)
	}
	t.rec.Roots = append(t.rec.Roots, b)
	z.signed = append(z.signed, RoleRoot)
	return nil
}

// targets signs the targets role and every delegated one that was changed or whose signatures no longer count.
func (z *sealing) targets() error {
	t := z.edit.t
	for _, role := range slices.Sorted(maps.Keys(t.roles)) {
		m := t.roles[role]
		if !z.edit.dirty[role] && z.vouched(role) {
			continue
		}
		keyIDs, threshold, _ := t.authority(role)
		if err := z.at.need(role, keyIDs, threshold); err != nil {
			return err
		}
		m.Signed.SpecVersion = SpecVersion
		m.Signed.Version = t.lastVersion(role) + 1
		m.Signed.Expires = z.expiry(role)
		b, err := finish(m, keyIDs, z.at)
		if err != nil {
			return fmt.Errorf("sign %s: %w", role, err)
		}
		t.rec.Targets[role] = b
		z.signed = append(z.signed, role)
	}
	maps.DeleteFunc(t.rec.Targets, func(role string, _ []byte) bool { return t.roles[role] == nil })
	return nil
}

// vouched reports whether the signatures of an unchanged role still count under the keys it has now.
func (z *sealing) vouched(role string) bool {
	t := z.edit.t
	switch role {
	case RoleTargets:
		return t.root.VerifyDelegate(role, t.roles[role]) == nil
	case RoleSnapshot:
		return t.root.VerifyDelegate(role, t.snapshot) == nil
	case RoleTimestamp:
		return t.root.VerifyDelegate(role, t.timestamp) == nil
	default:
		return t.roles[RoleTargets].VerifyDelegate(role, t.roles[role]) == nil
	}
}

func (z *sealing) snapshot() error {
	t := z.edit.t
	onlyRoot := len(z.signed) == 0 || slices.Equal(z.signed, []string{RoleRoot})
	if onlyRoot && !z.edit.dirty[RoleSnapshot] && z.vouched(RoleSnapshot) {
		return nil
	}
	for _, role := range z.signed {
		if role != RoleRoot {
			t.snapshot.Signed.Meta[role+".json"] = metaFile(t.roles[role].Signed.Version, t.rec.Targets[role])
		}
	}
	r := t.root.Signed.Roles[RoleSnapshot]
	if err := z.at.need(RoleSnapshot, r.KeyIDs, r.Threshold); err != nil {
		return err
	}
	t.snapshot.Signed.SpecVersion = SpecVersion
	t.snapshot.Signed.Version++
	t.snapshot.Signed.Expires = z.expiry(RoleSnapshot)
	b, err := finish(t.snapshot, r.KeyIDs, z.at)
	if err != nil {
		return fmt.Errorf("sign snapshot: %w", err)
	}
	t.rec.Snapshot = b
	z.signed = append(z.signed, RoleSnapshot)
	return nil
}

// timestamp signs whenever the snapshot was signed, and carries the time for the floor of the clients' clocks. A new root
// alone needs none, so that the root can be renewed where no online key is.
func (z *sealing) timestamp() error {
	t := z.edit.t
	if !slices.Contains(z.signed, RoleSnapshot) && !z.edit.dirty[RoleTimestamp] && z.vouched(RoleTimestamp) {
		return nil
	}
	r := t.root.Signed.Roles[RoleTimestamp]
	if err := z.at.need(RoleTimestamp, r.KeyIDs, r.Threshold); err != nil {
		return err
	}
	signed := &t.timestamp.Signed
	signed.SpecVersion = SpecVersion
	signed.Version++
	signed.Expires = z.expiry(RoleTimestamp)
	signed.Meta = map[string]*tuf.MetaFiles{"snapshot.json": metaFile(t.snapshot.Signed.Version, t.rec.Snapshot)}
	signed.UnrecognizedFields = map[string]any{IssuedField: z.now.Format(time.RFC3339)}
	b, err := finish(t.timestamp, r.KeyIDs, z.at)
	if err != nil {
		return fmt.Errorf("sign timestamp: %w", err)
	}
	t.rec.Timestamp = b
	z.signed = append(z.signed, RoleTimestamp)
	return nil
}

func (z *sealing) expiry(role string) time.Time { return z.now.Add(z.lifetimes.of(role)) }

// lastVersion is the highest version of a role that was ever published: also of one that is no longer delegated.
func (t *tree) lastVersion(role string) int64 {
	if m := t.snapshot.Signed.Meta[role+".json"]; m != nil {
		return m.Version
	}
	return 0
}

func finish[T tuf.Roles](m *tuf.Metadata[T], keyIDs []string, at signers) ([]byte, error) {
	if err := sign(m, keyIDs, at); err != nil {
		return nil, err
	}
	b, err := m.ToBytes(false)
	if err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b), nil
}

func metaFile(version int64, b []byte) *tuf.MetaFiles {
	sum := sha256.Sum256(b)
	return &tuf.MetaFiles{Version: version, Length: int64(len(b)), Hashes: tuf.Hashes{"sha256": sum[:]}}
}
