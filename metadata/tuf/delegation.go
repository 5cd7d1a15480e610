package tuf

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"

	tufmeta "github.com/theupdateframework/go-tuf/v2/metadata"
)

// delegation is one role that another one vouches for.
type delegation struct {
	name        string
	terminating bool
}

// delegated lists the delegations of a loaded role in their order. Of succinct roles no more are listed than it takes to
// see that there are too many.
func (u *Updater) delegated(role string) []delegation {
	d := u.delegations(role)
	var out []delegation
	for _, r := range d.Roles {
		out = append(out, delegation{r.Name, r.Terminating})
	}
	if s := d.SuccinctRoles; s != nil {
		for i := uint32(0); i <= MaxRoles && uint64(i) < 1<<s.BitLength; i++ {
			out = append(out, delegation{binName(s, i), true})
		}
	}
	return out
}

// delegatedFor lists those that may speak about a path.
func (u *Updater) delegatedFor(role, path string) []delegation {
	d := u.delegations(role)
	var out []delegation
	for _, r := range d.Roles {
		if matches(r, path) {
			out = append(out, delegation{r.Name, r.Terminating})
		}
	}
	if d.SuccinctRoles != nil {
		out = append(out, delegation{bin(d.SuccinctRoles, path), true})
	}
	return out
}

func (u *Updater) delegations(role string) *tufmeta.Delegations {
	if m := u.trusted.Targets[role]; m != nil && m.Signed.Delegations != nil {
		return m.Signed.Delegations
	}
	return &tufmeta.Delegations{}
}

// matches compares as the specification says: prefixes of the hash in hex (go-tuf 2.4.2 compares them with base64), or
// shell patterns in which no wildcard goes beyond a slash.
func matches(r tufmeta.DelegatedRole, target string) bool {
	if len(r.PathHashPrefixes) == 0 {
		return slices.ContainsFunc(r.Paths, func(p string) bool { return matchPath(p, target) })
	}
	sum := sha256.Sum256([]byte(target))
	text := hex.EncodeToString(sum[:])
	return slices.ContainsFunc(r.PathHashPrefixes, func(p string) bool { return strings.HasPrefix(text, p) })
}

func matchPath(pattern, target string) bool {
	patterns, parts := strings.Split(pattern, "/"), strings.Split(target, "/")
	if len(patterns) != len(parts) {
		return false
	}
	for i, p := range patterns {
		if ok, err := path.Match(p, parts[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// bin returns the name of the succinct role that is responsible for a path (TAP 15).
func bin(s *tufmeta.SuccinctRoles, target string) string {
	sum := sha256.Sum256([]byte(target))
	return binName(s, binary.BigEndian.Uint32(sum[:4])>>(32-s.BitLength))
}

func binName(s *tufmeta.SuccinctRoles, number uint32) string {
	return fmt.Sprintf("%s-%0*x", s.NamePrefix, (s.BitLength+3)/4, number)
}
