package tuf

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/metadata/internal/strictjson"
)

// checkFile refuses what go-tuf would take, or would panic on, before it sees it. The form that is left has one property
// more: no single flipped bit in it yields another text with the same signed value, so tampering never goes unnoticed.
func checkFile(b []byte, role string) error {
	limits := strictjson.Limits{Bytes: int(maxSize(role)), Depth: maxDepth}
	if err := strictjson.Check(b, limits); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	s := &shape{}
	s.file(v, role)
	return s.err
}

// shape checks the form of decoded JSON. It keeps the first error; after one, all methods return zero values.
type shape struct{ err error }

func (s *shape) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
}

func (s *shape) demand(ok bool, format string, args ...any) {
	if !ok {
		s.fail(format, args...)
	}
}

func (s *shape) file(v any, role string) {
	file := s.object(v, "file")
	for key := range file {
		s.demand(key == "signed" || key == "signatures", "field %.40q stands outside of what is signed", key)
	}
	s.signatures(file["signatures"])
	signed := s.object(file["signed"], "signed")
	s.common(signed, typeOf(role))
	switch typeOf(role) {
	case roleRoot:
		s.root(signed)
	case roleTimestamp:
		s.timestamp(signed)
	case roleSnapshot:
		s.meta(signed["meta"], roleTargets)
	default:
		s.targets(signed)
	}
}

// typeOf returns the _type of a role's file: every delegated role is of type targets.
func typeOf(role string) string {
	switch role {
	case roleRoot, roleTimestamp, roleSnapshot:
		return role
	default:
		return roleTargets
	}
}

func (s *shape) signatures(v any) {
	for _, v := range s.array(v, "signatures") {
		sig := s.object(v, "signature")
		s.demand(len(sig) == 2, "a signature has other fields than keyid and sig")
		s.name(sig["keyid"], "keyid")
		s.hex(s.text(sig["sig"], "sig"), "sig", -1)
	}
}

func (s *shape) common(signed map[string]any, kind string) {
	got := s.text(signed["_type"], "_type")
	s.demand(got == kind, "_type is %.40q, want %q", got, kind)
	spec := s.text(signed["spec_version"], "spec_version")
	s.demand(strings.HasPrefix(spec, "1."), "spec_version %.40q: only version 1 is understood", spec)
	s.positive(signed["version"], "version")
	s.time(signed["expires"], "expires")
	// encoding/json matches names whatever their case. A variant would be read as the field, and signed as another.
	s.noVariants(signed)
}

func (s *shape) noVariants(o map[string]any) {
	for key := range o {
		lower := strings.ToLower(key)
		if _, both := o[lower]; both && lower != key {
			s.fail("field %.40q stands beside %.40q", key, lower)
		}
	}
}

func (s *shape) root(signed map[string]any) {
	s.demand(signed["consistent_snapshot"] == true, "consistent_snapshot is not true")
	keys := s.keys(signed["keys"])
	roles := s.object(signed["roles"], "roles")
	for _, name := range []string{roleRoot, roleTimestamp, roleSnapshot, roleTargets} {
		s.demand(roles[name] != nil, "role %s is missing", name)
	}
	for name, v := range roles {
		s.signers(s.object(v, "role "+name), keys)
	}
}

func (s *shape) keys(v any) map[string]any {
	keys := s.object(v, "keys")
	for id, v := range keys {
		s.name(id, "key id")
		key := s.object(v, "key")
		s.noVariants(key)
		kind := s.text(key["keytype"], "keytype")
		s.text(key["scheme"], "scheme")
		public := s.text(s.object(key["keyval"], "keyval")["public"], "public")
		if kind == "ed25519" {
			s.hex(public, "ed25519 key", 32)
		}
	}
	return keys
}

// signers checks who may sign a role, and how many must.
func (s *shape) signers(role map[string]any, keys map[string]any) {
	s.noVariants(role)
	ids := map[string]bool{}
	for _, v := range s.array(role["keyids"], "keyids") {
		id := s.name(v, "key id")
		s.demand(!ids[id], "key %.40q is listed twice", id)
		s.demand(keys[id] != nil, "key %.40q is not there", id)
		ids[id] = true
	}
	n := s.positive(role["threshold"], "threshold")
	s.demand(n <= int64(len(ids)), "threshold %d for %d keys", n, len(ids))
}

func (s *shape) timestamp(signed map[string]any) {
	s.meta(signed["meta"], roleSnapshot)
	issued, ok := signed[issuedField]
	if !ok {
		return
	}
	if at := s.time(issued, issuedField); at.After(s.time(signed["expires"], "expires")) {
		s.fail("it was issued after it runs out")
	}
}

// meta checks the versions that one file says others have; the file of the role want must be among them.
func (s *shape) meta(v any, want string) {
	meta := s.object(v, "meta")
	s.demand(meta[want+".json"] != nil, "meta does not say anything about %s.json", want)
	for name, v := range meta {
		s.demand(strings.HasSuffix(name, ".json") && len(name) <= maxName, "meta names %.40q", name)
		file := s.object(v, "meta")
		s.noVariants(file)
		s.positive(file["version"], "version")
		if n, ok := file["length"]; ok {
			s.positive(n, "length")
		}
		if h, ok := file["hashes"]; ok {
			s.hashes(h)
		}
	}
}

func (s *shape) hashes(v any) {
	hashes := s.object(v, "hashes")
	s.demand(len(hashes) > 0, "hashes are empty")
	for name, v := range hashes {
		size, known := map[string]int{"sha256": 32, "sha512": 64}[name]
		s.demand(known, "hash algorithm %.40q is not accepted", name)
		s.hex(s.text(v, name), name, size)
	}
}

func (s *shape) targets(signed map[string]any) {
	for path, v := range s.object(signed["targets"], "targets") {
		s.demand(path != "" && len(path) <= maxPath, "a target's path has %d bytes", len(path))
		file := s.object(v, "target")
		s.noVariants(file)
		s.natural(file["length"], "length")
		s.hashes(file["hashes"])
		if custom, ok := file["custom"]; ok {
			s.object(custom, "custom")
		}
	}
	if d, ok := signed["delegations"]; ok {
		s.delegations(s.object(d, "delegations"))
	}
}

func (s *shape) delegations(d map[string]any) {
	s.noVariants(d)
	keys := s.keys(d["keys"])
	roles, listed := d["roles"]
	bins, succinct := d["succinct_roles"]
	s.demand(listed != succinct, "delegations hold both or neither of roles and succinct_roles")
	if succinct {
		s.bins(s.object(bins, "succinct_roles"), keys)
		return
	}
	names := map[string]bool{}
	for _, v := range s.array(roles, "roles") {
		role := s.object(v, "delegated role")
		s.delegated(role, keys)
		name := s.text(role["name"], "name")
		s.demand(!names[name], "role %.40q is delegated twice", name)
		names[name] = true
	}
}

func (s *shape) delegated(role, keys map[string]any) {
	s.signers(role, keys)
	name := s.name(role["name"], "role name")
	s.demand(!isTopLevel(name), "role %q cannot be delegated", name)
	_, isBool := role["terminating"].(bool)
	s.demand(isBool, "terminating of role %.40q is neither true nor false", name)
	paths, byPath := role["paths"]
	prefixes, byHash := role["path_hash_prefixes"]
	s.demand(byPath != byHash, "role %.40q has both or neither of paths and path_hash_prefixes", name)
	if byPath {
		for _, p := range s.array(paths, "paths") {
			s.demand(len(s.text(p, "path")) <= maxPath, "a path of role %.40q is too long", name)
		}
		return
	}
	for _, p := range s.array(prefixes, "path_hash_prefixes") {
		prefix := s.text(p, "path_hash_prefixes")
		s.demand(len(prefix) <= 64 && strings.Trim(prefix, "0123456789abcdef") == "", "hash prefix %.80q", prefix)
	}
}

func (s *shape) bins(b, keys map[string]any) {
	s.signers(b, keys)
	s.name(b["name_prefix"], "name_prefix")
	bits := s.positive(b["bit_length"], "bit_length")
	s.demand(bits <= 32, "bit_length %d", bits)
}

func (s *shape) object(v any, what string) map[string]any {
	o, ok := v.(map[string]any)
	s.demand(ok, "%.60s is no object", what)
	return o
}

func (s *shape) array(v any, what string) []any {
	a, ok := v.([]any)
	s.demand(ok, "%.60s is no array", what)
	return a
}

func (s *shape) text(v any, what string) string {
	t, ok := v.(string)
	s.demand(ok, "%s is no string", what)
	return t
}

func (s *shape) name(v any, what string) string {
	t := s.text(v, what)
	s.demand(t != "" && len(t) <= maxName, "%s has %d bytes, want 1 to %d", what, len(t), maxName)
	return t
}

func (s *shape) natural(v any, what string) int64 {
	n, ok := v.(json.Number)
	s.demand(ok, "%s is no number", what)
	i, err := n.Int64()
	s.demand(s.err != nil || err == nil && i >= 0, "%s is %s", what, n)
	return i
}

func (s *shape) positive(v any, what string) int64 {
	n := s.natural(v, what)
	s.demand(s.err != nil || n > 0, "%s is %d", what, n)
	return n
}

func (s *shape) hex(t, what string, size int) {
	b, err := hex.DecodeString(t)
	s.demand(err == nil && t == strings.ToLower(t) && (size < 0 || len(b) == size), "%s is not lower-case hex of the right length", what)
}

// time takes exactly what the specification writes: seconds, in UTC.
func (s *shape) time(v any, what string) time.Time {
	t := s.text(v, what)
	at, err := time.Parse("2006-01-02T15:04:05Z", t)
	s.demand(s.err != nil || err == nil && len(t) == len("2006-01-02T15:04:05Z"), "%s %.40q is no time like 2006-01-02T15:04:05Z", what, t)
	return at
}
