package urlcache

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes the bytes of f durable; the times of the file may wait.
func syncData(f *os.File) error {
	c, err := f.SyscallConn() // the file may be closed meanwhile
	if err != nil {
		return err
	}
	closed := c.Control(func(fd uintptr) {
		for err = unix.EINTR; err == unix.EINTR; {
			err = unix.Fdatasync(int(fd))
		}
	})
	if closed != nil {
		return os.ErrClosed
	}
	return os.NewSyscallError("fdatasync", err)
}

// forget has the kernel forget what it has in memory of a part of a file, so that the disk is read; what is still to be written
// there is written first.
func forget(f *os.File, offset, length int64) error {
	const written = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	if err := unix.SyncFileRange(int(f.Fd()), offset, length, written); err != nil && err != unix.EINTR {
		return os.NewSyscallError("sync_file_range", err)
	}
	_ = unix.Fadvise(int(f.Fd()), offset, length, unix.FADV_DONTNEED)
	return nil
}
