package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// diskError gives an error of the disk its kind: a full, broken or read-only disk may be mended, so another try may do.
func diskError(path string, err error) error {
	if err == nil || errors.Is(err, os.ErrClosed) {
		return err
	}
	for _, k := range []struct {
		errno error
		hint  string
	}{
		{syscall.ENOSPC, "free some space on the disk of %s, or choose another folder"},
		{syscall.EDQUOT, "the quota of this user is used up: free some space on the disk of %s, or raise the quota"},
		{syscall.EIO, "the disk of %s reports errors: see the kernel's log"},
		{syscall.EROFS, "the file system of %s is read-only: see the kernel's log, then mount it writable"},
		{fs.ErrPermission, "let this user write to %s, or choose another folder"},
		{syscall.EMFILE, "raise the limit of open files for this process (to write %s)"},
		{syscall.EFBIG, "the file system of %s cannot hold a file of this size"},
	} {
		if errors.Is(err, k.errno) {
			return fault.WithHint(fault.Wrap(fault.Unavailable, err), k.hint, path)
		}
	}
	return err
}

// room refuses to begin what the disk cannot hold: need bytes more, with reserve kept free.
func room(f *os.File, need, reserve int64) error {
	free, err := freeBytes(f)
	if err != nil || free-reserve >= need {
		return err
	}
	return fault.WithHint(
		fault.New(fault.Unavailable, "write %s: %d bytes are needed, %d are free and %d of them are kept free: %w",
			f.Name(), need, free, min(reserve, free), syscall.ENOSPC),
		"free %d bytes on that disk, or choose another folder", need+reserve-free)
}

// freeBytes is what this user may still write to the file system of f.
func freeBytes(f *os.File) (int64, error) {
	d, err := diskOf(f)
	return d.Free, err
}

func diskOf(f *os.File) (Disk, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(int(f.Fd()), &st) }); err != nil {
		return Disk{}, fmt.Errorf("ask for free space: %w", err)
	}
	return Disk{Size: clamp(uint64(st.Blocks), uint64(st.Bsize)), Free: clamp(uint64(st.Bavail), uint64(st.Bsize))}, nil
}

// allocated is how many bytes of the disk the file takes.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return clamp(uint64(st.Blocks), 512)
	}
	return 0
}

func clamp(n, unit uint64) int64 {
	if n > math.MaxInt64/max(unit, 1) {
		return math.MaxInt64
	}
	return int64(n * unit)
}

// nextData returns the next stretch of f at or after from that may hold data; start is end when there is none. Where the
// file system cannot tell, all that is left may.
func nextData(f *os.File, from, length int64) (start, end int64) {
	start, err := f.Seek(from, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return length, length
	case err != nil:
		return from, length
	}
	end, err = f.Seek(start, unix.SEEK_HOLE)
	if err != nil || end > length {
		end = length
	}
	return min(start, length), end
}

// allocate gives f its length and, where the file system can, its blocks; preallocated is false where it cannot.
func allocate(f *os.File, length int64) (preallocated bool, err error) {
	err = retry(func() error { return fallocate(f, length) })
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return false, f.Truncate(length)
	default:
		return false, err
	}
}

// writeStep is how much is written in one call, in bytes. For a whole MiB at once Linux looks for memory in large blocks, and
// those are what a virtual machine has given back to its host: with them a write costs three times the system time.
const writeStep = 128 << 10

// writeAt writes b at off, step by step.
func writeAt(w io.WriterAt, b []byte, off int64) error {
	for step := range slices.Chunk(b, writeStep) {
		if _, err := w.WriteAt(step, off); err != nil {
			return err
		}
		off += int64(len(step))
	}
	return nil
}

// lockPatience is how long a lock may be held by nobody: a process that this one is just starting has all its files open until it
// becomes the other program.
const lockPatience = 200 * time.Millisecond

// lock takes the lock of an open file, or returns ErrBusy. It ends with the file.
func lock(f *os.File) error {
	for end := time.Now().Add(lockPatience); ; time.Sleep(5 * time.Millisecond) {
		err := retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
		switch {
		case !errors.Is(err, unix.EWOULDBLOCK):
			return err
		case time.Now().After(end):
			return ErrBusy
		}
	}
}

// ErrBusy is the error of content that another process, or another Partial of this one, has open to write to.
var ErrBusy = errors.New("another download of it is running")

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// openRegular opens a file and refuses anything else that lies under its name: a link could lead anywhere, and a device
// or a pipe would block.
func openRegular(path string, flag int, perm fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, perm)
	if err != nil {
		if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EISDIR) {
			return nil, irregular(path)
		}
		return nil, diskError(path, err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, irregular(path))
	}
	return f, nil
}

func irregular(path string) error {
	return fault.WithHint(fault.New(fault.Refused, "open %s: it is no regular file", path), "move it away")
}

// readAll reads a small file, of at most limit bytes.
func readAll(f *os.File, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("read %s: more than %d bytes", f.Name(), limit)
	}
	return io.ReadAll(io.NewSectionReader(f, 0, info.Size()))
}
