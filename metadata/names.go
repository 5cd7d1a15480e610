package metadata

import (
	"strconv"
	"strings"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Limits of names, in bytes. The name of a ring leaves room for the prefix of its role.
const (
	MaxNameLength = 32 // a publisher, a role, a handler
	MaxRingLength = MaxNameLength - len(ringPrefix)
	MaxIDLength   = 64 // an update's id, and its version
)

const ringPrefix = "ring-"

// FleetTarget is the path of the approvals' target that carries the Fleet record. Its file is empty.
const FleetTarget = "fleet"

// CheckPublisher reports whether s can name a publisher: [a-z0-9-]{1,32}, not beginning with a dash.
func CheckPublisher(s string) error { return checkName("publisher", s, MaxNameLength) }

// CheckRing reports whether s can name a ring: [a-z0-9-]{1,27}, not beginning with a dash.
func CheckRing(s string) error { return checkName("ring", s, MaxRingLength) }

// CheckID reports whether s can be an update's id: lower-case letters, digits and . _ - after a first letter or digit,
// at most 64 bytes.
func CheckID(s string) error { return checkWord("id", s, "._-", false) }

// CheckVersion reports whether s can be a version: letters, digits and . _ - + ~ after a first letter or digit, at most
// 64 bytes. Versions are shown, never compared: the release counter orders them.
func CheckVersion(s string) error { return checkWord("version", s, "._-+~", true) }

func checkName(what, s string, most int) error {
	if s == "" || len(s) > most || s[0] == '-' {
		return fault.New(fault.Refused, "check %s: %.40q is not a name of 1 to %d letters a-z, digits and dashes", what, s, most)
	}
	for _, c := range []byte(s) {
		if !isLower(c) && !isDigit(c) && c != '-' {
			return fault.New(fault.Refused, "check %s: %.40q holds %q; only a-z, 0-9 and dashes may stand there", what, s, c)
		}
	}
	return nil
}

func checkWord(what, s, marks string, upper bool) error {
	if s == "" || len(s) > MaxIDLength || strings.IndexByte(marks, s[0]) >= 0 {
		return fault.New(fault.Refused, "check %s: %.40q is empty, longer than %d bytes or begins with a mark", what, s, MaxIDLength)
	}
	for _, c := range []byte(s) {
		if !isLower(c) && !isDigit(c) && strings.IndexByte(marks, c) < 0 && (!upper || c < 'A' || c > 'Z') {
			return fault.New(fault.Refused, "check %s: %.40q holds %q, which may not stand there", what, s, c)
		}
	}
	return nil
}

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// RingRole returns the name of the role that signs a ring's approvals.
func RingRole(ring string) string { return ringPrefix + ring }

// RingOfRole is the reverse of RingRole; it reports whether the role is a ring's at all.
func RingOfRole(role string) (ring string, ok bool) {
	ring, ok = strings.CutPrefix(role, ringPrefix)
	return ring, ok && CheckRing(ring) == nil
}

// RingPaths returns the only path pattern that a ring's role may be delegated.
func RingPaths(ring string) string { return ring + "/*/*/*" }

// CataloguePath returns the path of an update's target in its catalogue.
func CataloguePath(id, version string) string { return id + "/" + version }

// PublisherPath returns the path of the approvals' target whose file is a publisher's catalogue root and whose custom.v1
// is the Publisher record.
func PublisherPath(publisher string) string { return "publisher/" + publisher }

// ApprovalPath returns the path of an approval's target.
func ApprovalPath(ring, publisher, id, version string) string {
	return ring + "/" + publisher + "/" + id + "/" + version
}

// MetadataFile returns where a role's file lies below the base of a repository. Version 0 means a name without a version,
// which only the timestamp has.
func MetadataFile(role string, version int64) string {
	if version == 0 {
		return "metadata/" + role + ".json"
	}
	return "metadata/" + strconv.FormatInt(version, 10) + "." + role + ".json"
}

// TargetFile returns where the file of a target lies below the base of a repository: as TUF's consistent snapshots want
// it, the hash is put before the last element of the path ("targets/publisher/<sha256>.acme").
func TargetFile(path string, sum piecehash.Hash) string {
	dir, base := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, base = path[:i+1], path[i+1:]
	}
	return "targets/" + dir + sum.String() + "." + base
}
