package tuf

// Limits of what is read of a repository. Sizes are bytes of the file itself, after any compression of the transfer.
const (
	MaxRootSize      = 512 << 10
	MaxTimestampSize = 16 << 10
	MaxSnapshotSize  = 2 << 20
	MaxTargetsSize   = 5 << 20 // of one role
	MaxRootSteps     = 256     // new roots in one refresh
	MaxRoles         = 32      // delegated roles that are loaded
)
