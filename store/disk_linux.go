package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// fallocate gives f its blocks. A file system in memory has nothing to lay out: it would fill every page with zeroes before
// the first byte of the content comes, and take the memory at once.
func fallocate(f *os.File, length int64) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC {
		return unix.EOPNOTSUPP
	}
	return unix.Fallocate(int(f.Fd()), 0, 0, length)
}

// syncData makes the bytes of f durable; the times of the file may wait.
func syncData(f *os.File) error { return retry(func() error { return unix.Fdatasync(int(f.Fd())) }) }

// dropCache asks the kernel to forget what it has in memory of a part of the file. It may not.
func dropCache(f *os.File, offset, length int64) {
	_ = unix.Fadvise(int(f.Fd()), offset, length, unix.FADV_DONTNEED)
}
