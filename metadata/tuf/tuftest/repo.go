package tuftest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Repo is one repository. Change its metadata and Keys at will, then publish. Its methods panic on what only a mistake in
// a test can cause.
type Repo struct {
	Root      *metadata.Metadata[metadata.RootType]
	Timestamp *metadata.Metadata[metadata.TimestampType]
	Snapshot  *metadata.Metadata[metadata.SnapshotType]
	Roles     map[string]*metadata.Metadata[metadata.TargetsType] // "targets" and the delegated ones

	Keys  map[string][]ed25519.PrivateKey // who signs, by role
	Files map[string][]byte               // what is published, by name below the base
	Now   time.Time                       // goes into the field issued; zero leaves it out

	seed string
	keys int
	old  []ed25519.PrivateKey // root keys of the version before
}

// Lifetime is how long everything is valid that a new repository signs.
const Lifetime = 30 * 24 * time.Hour

// New returns a published repository with one key for each role and no target.
func New(seed string, now time.Time) *Repo {
	now = now.UTC().Truncate(time.Second)
	expires := now.Add(Lifetime)
	r := &Repo{
		Root: metadata.Root(expires), Timestamp: metadata.Timestamp(expires), Snapshot: metadata.Snapshot(expires),
		Roles: map[string]*metadata.Metadata[metadata.TargetsType]{"targets": metadata.Targets(expires)},
		Keys:  map[string][]ed25519.PrivateKey{}, Files: map[string][]byte{}, Now: now, seed: seed,
	}
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		r.AddKey(role)
	}
	r.Root.Signed.Version, r.Timestamp.Signed.Version, r.Snapshot.Signed.Version = 0, 0, 0
	r.Roles["targets"].Signed.Version = 0
	r.PublishRoot()
	r.Publish("targets")
	return r
}

// Key makes a new key.
func (r *Repo) Key() ed25519.PrivateKey {
	r.keys++
	seed := sha256.Sum256(fmt.Appendf(nil, "%s/%d", r.seed, r.keys))
	return ed25519.NewKeyFromSeed(seed[:])
}

// TUFKey returns the public half as TUF writes it.
func TUFKey(k ed25519.PrivateKey) *metadata.Key {
	key, err := metadata.KeyFromPublicKey(k.Public())
	must(err)
	return key
}

// KeyID returns the id of a key.
func KeyID(k ed25519.PrivateKey) string {
	id, err := TUFKey(k).ID()
	must(err)
	return id
}

// AddKey gives a top-level role one more key, which will sign, and returns it. The root is not published.
func (r *Repo) AddKey(role string) ed25519.PrivateKey {
	k := r.Key()
	must(r.Root.Signed.AddKey(TUFKey(k), role))
	r.Keys[role] = append(r.Keys[role], k)
	return k
}

// Rotate replaces all keys of a top-level role by n new ones with the given threshold. The root is not published.
func (r *Repo) Rotate(role string, n, threshold int) {
	for _, k := range r.Keys[role] {
		must(r.Root.Signed.RevokeKey(KeyID(k), role))
	}
	r.Keys[role] = nil
	for range n {
		r.AddKey(role)
	}
	r.Root.Signed.Roles[role].Threshold = threshold
}

// Delegate makes a role that parent delegates by paths. Neither is published.
func (r *Repo) Delegate(parent, role string, paths ...string) *metadata.DelegatedRole {
	p := r.Roles[parent]
	if p.Signed.Delegations == nil {
		p.Signed.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	}
	if r.Roles[role] == nil {
		r.Roles[role] = metadata.Targets(p.Signed.Expires)
		r.Roles[role].Signed.Version = 0
		r.Keys[role] = []ed25519.PrivateKey{r.Key()}
	}
	d := p.Signed.Delegations
	ids := []string{}
	for _, k := range r.Keys[role] {
		d.Keys[KeyID(k)] = TUFKey(k)
		ids = append(ids, KeyID(k))
	}
	d.Roles = append(d.Roles, metadata.DelegatedRole{Name: role, KeyIDs: ids, Threshold: 1, Paths: paths})
	return &d.Roles[len(d.Roles)-1]
}

// AddTarget gives a role a target. The role is not published.
func (r *Repo) AddTarget(role, path string, length int64, sum [32]byte, custom json.RawMessage) {
	f := &metadata.TargetFiles{Length: length, Hashes: metadata.Hashes{"sha256": sum[:]}, Path: path}
	if custom != nil {
		f.Custom = &custom
	}
	r.Roles[role].Signed.Targets[path] = f
}

// AddFile publishes a target's file, and gives the role the target.
func (r *Repo) AddFile(role, path string, b []byte, custom json.RawMessage) {
	sum := sha256.Sum256(b)
	r.AddTarget(role, path, int64(len(b)), sum, custom)
	r.Files[TargetName(path, sum)] = b
}

// TargetName returns where the file of a target lies.
func TargetName(path string, sum [32]byte) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return fmt.Sprintf("targets/%s/%x.%s", path[:i], sum, path[i+1:])
		}
	}
	return fmt.Sprintf("targets/%x.%s", sum, path)
}

// PublishRoot signs the next root, with the keys of the version before, too.
func (r *Repo) PublishRoot() {
	r.Root.Signed.Version++
	r.Files[r.Name("root")] = Sign(r.Root, append(append([]ed25519.PrivateKey{}, r.Keys["root"]...), r.old...)...)
	r.old = r.Keys["root"]
}

// Publish signs the next version of the given roles of type targets, and then of snapshot and timestamp.
func (r *Repo) Publish(roles ...string) {
	for _, role := range roles {
		m := r.Roles[role]
		m.Signed.Version++
		b := Sign(m, r.Keys[role]...)
		r.Files[r.Name(role)] = b
		r.Snapshot.Signed.Meta[role+".json"] = metaOf(m.Signed.Version, b)
	}
	r.PublishSnapshot()
}

// PublishSnapshot signs the next snapshot, and then the next timestamp.
func (r *Repo) PublishSnapshot() {
	r.Snapshot.Signed.Version++
	b := Sign(r.Snapshot, r.Keys["snapshot"]...)
	r.Files[r.Name("snapshot")] = b
	r.Timestamp.Signed.Meta["snapshot.json"] = metaOf(r.Snapshot.Signed.Version, b)
	r.PublishTimestamp()
}

// PublishTimestamp signs the next timestamp.
func (r *Repo) PublishTimestamp() {
	r.Timestamp.Signed.Version++
	r.SignTimestamp()
}

// SignTimestamp signs the timestamp as it is.
func (r *Repo) SignTimestamp() {
	if !r.Now.IsZero() {
		r.Timestamp.Signed.UnrecognizedFields = map[string]any{"issued": r.Now.UTC().Format(time.RFC3339)}
	}
	r.Files["metadata/timestamp.json"] = Sign(r.Timestamp, r.Keys["timestamp"]...)
}

// Name returns the name of the current file of a role.
func (r *Repo) Name(role string) string {
	version := int64(0)
	switch role {
	case "timestamp":
		return "metadata/timestamp.json"
	case "root":
		version = r.Root.Signed.Version
	case "snapshot":
		version = r.Snapshot.Signed.Version
	default:
		version = r.Roles[role].Signed.Version
	}
	return fmt.Sprintf("metadata/%d.%s.json", version, url.PathEscape(role))
}

// SetExpires sets when everything runs out. Nothing is published.
func (r *Repo) SetExpires(at time.Time) {
	at = at.UTC().Truncate(time.Second)
	r.Root.Signed.Expires, r.Timestamp.Signed.Expires, r.Snapshot.Signed.Expires = at, at, at
	for _, m := range r.Roles {
		m.Signed.Expires = at
	}
}

// Snap returns a copy of what is published now.
func (r *Repo) Snap() map[string][]byte {
	out := make(map[string][]byte, len(r.Files))
	for name, b := range r.Files {
		out[name] = b
	}
	return out
}

// Sign signs metadata anew with the given keys and returns the file.
func Sign[T metadata.Roles](m *metadata.Metadata[T], keys ...ed25519.PrivateKey) []byte {
	m.ClearSignatures()
	done := map[string]bool{}
	for _, k := range keys {
		if done[KeyID(k)] {
			continue
		}
		done[KeyID(k)] = true
		s, err := signature.LoadSigner(k, crypto.Hash(0))
		must(err)
		_, err = m.Sign(s)
		must(err)
	}
	b, err := m.ToBytes(false)
	must(err)
	return b
}

func metaOf(version int64, b []byte) *metadata.MetaFiles {
	sum := sha256.Sum256(b)
	return &metadata.MetaFiles{Version: version, Length: int64(len(b)), Hashes: metadata.Hashes{"sha256": sum[:]}}
}

func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("tuftest: %v", err))
	}
}
