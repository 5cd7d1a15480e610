// Package disktest gives tests disks of their own: small ones, in memory or real, and one that fails for real, with EIO from
// the block layer, and is well again when the test says so. It needs root; without, the test is skipped. With CI=true a root
// that cannot mount is a failure: what CI does not run nobody knows to work.
//
// It trusts its callers, and needs the packages mount and e2fsprogs for the real ones. Start reading at Real.
package disktest
