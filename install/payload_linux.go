package install

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// hold takes a read lease on a file of our own. The kernel gives one only when nobody has the file open for writing, not
// even by a mapping; afterwards whoever wants to must wait, and when he has waited too long, the lease is broken, which
// leased reports. It reports false where there is nothing to hold: somebody else's file, or a file system without leases.
func hold(source *os.File) (*os.File, bool) {
	info, err := source.Stat()
	if err != nil || info.Mode().Perm()&0o022 != 0 {
		return nil, false
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() {
		return nil, false
	}
	// A descriptor of our own, and for reading only: a lease counts every other one that can write, the caller's too.
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", source.Fd()), os.O_RDONLY, 0)
	if err != nil {
		return nil, false
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		f.Close()
		return nil, false
	}
	return f, true
}

// leased reports whether nobody has asked to write since hold.
func leased(f *os.File) bool {
	kind, err := unix.FcntlInt(f.Fd(), unix.F_GETLEASE, 0)
	return err == nil && kind == unix.F_RDLCK
}

// reserve finds out early that the disk is full.
func reserve(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}
