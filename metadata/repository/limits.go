package repository

import (
	"regexp"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// SpecVersion is the version of the TUF specification that the metadata names.
const SpecVersion = "1.0.34"

// IssuedField is the field of the timestamp's signed part that says when it was signed (RFC 3339, UTC, whole seconds).
// Clients raise the floor of their clock to it.
const IssuedField = "issued"

// Names of the top-level roles.
const (
	RoleRoot      = "root"
	RoleTargets   = "targets"
	RoleSnapshot  = "snapshot"
	RoleTimestamp = "timestamp"
)

// What clients accept at most (docs/security.md). Sizes in bytes.
const (
	MaxRoot        = 512 << 10
	MaxTimestamp   = 16 << 10
	MaxSnapshot    = 2 << 20
	MaxTargets     = 5 << 20 // each targets role
	MaxRoots       = 256     // steps of root rotation
	MaxDelegations = 32
	MaxPath        = 256 // a target's path
	maxRoleKeys    = 32
)

// keepVersions is how many older versions of a role stay in the public folder, for clients in the middle of a cycle and
// for caches that still hand out an older timestamp.
const keepVersions = 10

// Lifetimes say how long each role is valid from the moment it is signed. All must be positive whole seconds.
type Lifetimes struct {
	Root, Targets, Delegated, Snapshot, Timestamp time.Duration
}

const day = 24 * time.Hour

// CatalogueLifetimes are a publisher's defaults: nobody should need the offline key more often than every three months.
func CatalogueLifetimes() Lifetimes {
	return Lifetimes{Root: 365 * day, Targets: 90 * day, Delegated: 90 * day, Snapshot: 60 * day, Timestamp: 30 * day}
}

// ApprovalsLifetimes are an organisation's defaults: the depot signs by itself, so freshness costs nothing.
func ApprovalsLifetimes() Lifetimes {
	return Lifetimes{Root: 365 * day, Targets: 90 * day, Delegated: 30 * day, Snapshot: 6 * day, Timestamp: 3 * day}
}

func (l Lifetimes) validate() error {
	for _, d := range []time.Duration{l.Root, l.Targets, l.Delegated, l.Snapshot, l.Timestamp} {
		if d < time.Second || d%time.Second != 0 {
			return fault.New(fault.Usage, "check lifetimes: %v is not a positive number of whole seconds", d)
		}
	}
	return nil
}

func (l Lifetimes) of(role string) time.Duration {
	switch role {
	case RoleRoot:
		return l.Root
	case RoleTargets:
		return l.Targets
	case RoleSnapshot:
		return l.Snapshot
	case RoleTimestamp:
		return l.Timestamp
	default:
		return l.Delegated
	}
}

var (
	roleName   = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	targetPath = regexp.MustCompile(`^[A-Za-z0-9_+~:-][A-Za-z0-9._+~:-]*(/[A-Za-z0-9_+~:-][A-Za-z0-9._+~:-]*)*$`)
)

func isTopLevel(role string) bool {
	return role == RoleRoot || role == RoleTargets || role == RoleSnapshot || role == RoleTimestamp
}

// checkRoleName takes the name of a delegated role: [a-z0-9-]{1,32} and none of the four top-level names.
func checkRoleName(name string) error {
	if !roleName.MatchString(name) || isTopLevel(name) {
		return fault.WithHint(fault.New(fault.Refused, "check role name %q: it is not allowed", name),
			"use 1 to 32 of a-z, 0-9 and -, and not the name of a top-level role")
	}
	return nil
}

// checkPath takes a target's path: segments of [A-Za-z0-9._+~:-] that do not begin with a dot, so that no path can name
// anything outside its folder.
func checkPath(path string) error {
	if len(path) > MaxPath || !targetPath.MatchString(path) {
		return fault.WithHint(fault.New(fault.Refused, "check target %q: the path is not allowed", clip(path)),
			"use at most %d letters, digits and . _ + ~ : - in segments that do not begin with a dot", MaxPath)
	}
	return nil
}

func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
