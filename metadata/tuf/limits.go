package tuf

import "time"

// Limits of what is read of a repository. Sizes are bytes of the file itself, after any compression of the transfer.
const (
	MaxRootSize      = 512 << 10
	MaxTimestampSize = 16 << 10
	MaxSnapshotSize  = 2 << 20
	MaxTargetsSize   = 5 << 20 // of one role
	MaxRootSteps     = 256     // new roots in one refresh
	MaxRoles         = 32      // delegated roles that are visited
)

const (
	maxDepth    = 16       // of the JSON: twice what a signed record of ours in a target needs
	maxName     = 128      // bytes of a role's name or a key's id
	maxPath     = 1 << 10  // bytes of a target's path
	maxKnown    = 1 << 12  // roots that are read from the store
	maxState    = 64 << 10 // bytes of the store's own state
	clockLeeway = 5 * time.Minute
)

// maxSize is the size limit of the file of a role.
func maxSize(role string) int64 {
	switch role {
	case roleRoot:
		return MaxRootSize
	case roleTimestamp:
		return MaxTimestampSize
	case roleSnapshot:
		return MaxSnapshotSize
	default:
		return MaxTargetsSize
	}
}
