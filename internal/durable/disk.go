package durable

import (
	"errors"
	"syscall"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// diskFault gives an error its kind when the disk is to blame: full, read-only or broken, it may be mended, so another try
// may do. Anything else stays as it is.
func diskFault(path string, err error) error {
	for _, k := range []struct {
		errno error
		hint  string
	}{
		{syscall.ENOSPC, "free some space or some inodes on the disk of %s"},
		{syscall.EDQUOT, "raise the quota on the disk of %s, or free some space there"},
		{syscall.EROFS, "the file system of %s is read-only: see the kernel's log, then mount it writable"},
		{syscall.EIO, "the disk of %s reports errors: see the kernel's log"},
	} {
		if errors.Is(err, k.errno) {
			return fault.WithHint(fault.Wrap(fault.Unavailable, err), k.hint, path)
		}
	}
	return err
}
