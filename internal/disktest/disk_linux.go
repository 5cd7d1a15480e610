package disktest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	blockSize  = 4 << 10 // of a real disk, in bytes
	sectorSize = 512

	fibmap = 1 // the request of ioctl that tells where on the disk a block of a file lies (linux/fs.h)
)

// Memory mounts a file system in memory over a new folder until the test ends. The options are those of tmpfs.
func Memory(t testing.TB, options string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	MemoryAt(t, dir, options)
	return dir
}

// MemoryAt is Memory over a folder that is there.
func MemoryAt(t testing.TB, dir, options string) {
	t.Helper()
	needRoot(t)
	mount(t, "tmpfs", dir, "tmpfs", options)
}

// Disk is an ext4 of its own on a block device of its own. Its bytes lie in a file of the test.
type Disk struct {
	Dir    string // where it is mounted
	device *os.File
}

// Real mounts a disk of the given size in bytes until the test ends. Unlike one in memory it keeps room for a file that asks
// for it, and it can break.
func Real(t testing.TB, size int64) *Disk {
	t.Helper()
	needRoot(t)
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	// Few inodes, so that what describes files takes little of the disk, and lies in front.
	must(t, "mkfs.ext4", "-q", "-b", strconv.Itoa(blockSize), "-N", "1024", "-O", "^has_journal", "-m", "0", "-e", "continue",
		"-E", "lazy_itable_init=0,nodiscard", image)
	d := &Disk{Dir: t.TempDir()}
	device := strings.TrimSpace(must(t, "losetup", "--find", "--show", image))
	var err error
	if d.device, err = os.OpenFile(device, os.O_RDWR, 0); err != nil {
		must(t, "losetup", "--detach", device)
		t.Fatal(err)
	}
	t.Cleanup(func() { d.device.Close() })
	must(t, "losetup", "--detach", device) // it goes with the last who has it open
	mount(t, device, d.Dir, "ext4", "")
	t.Cleanup(func() { d.Mend(t) })
	return d
}

// needRoot skips the test of who is not root.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a disk")
	}
}

// lack ends a test that cannot have its disk.
func lack(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func must(t testing.TB, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		lack(t, "%v: %v: %s", argv, err, out)
	}
	return string(out)
}

func mount(t testing.TB, source, dir, kind, options string) {
	t.Helper()
	if err := unix.Mount(source, dir, kind, 0, options); err != nil {
		lack(t, "mount %s: %v", kind, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// BreakAt lets all of the disk fail that lies at or after the byte at an offset of a file on it: whatever is read there that the
// kernel does not have in memory is EIO, and so is whatever is written there, once it gets there (fsync says so). What lies
// before, which is what describes the files and whatever was written earlier, is well.
func (d *Disk) BreakAt(t testing.TB, path string, offset int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	block := uint32(offset / blockSize) // of the file, then of the disk
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fibmap, uintptr(unsafe.Pointer(&block))); errno != 0 || block == 0 {
		t.Fatalf("where on the disk is %s: %v", path, errno)
	}
	d.limit(t, uint64(block)*blockSize)
}

// Break lets all of the disk fail, but for what the kernel has in memory.
func (d *Disk) Break(t testing.TB) {
	t.Helper()
	d.limit(t, sectorSize)
}

// Mend has the disk well again, with what was on it before and what has been written to its good part since.
func (d *Disk) Mend(t testing.TB) {
	t.Helper()
	d.limit(t, 0)
}

// limit makes the device shorter than what is mounted from it, or whole again: 0. The kernel takes no change while it has
// pages of the device in flight, so this tries again.
func (d *Disk) limit(t testing.TB, bytes uint64) {
	t.Helper()
	var err error
	for range 100 {
		var info *unix.LoopInfo64
		if info, err = unix.IoctlLoopGetStatus64(int(d.device.Fd())); err == nil {
			info.Sizelimit = bytes
			err = unix.IoctlLoopSetStatus64(int(d.device.Fd()), info)
		}
		if err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("limit the disk to %d bytes: %v", bytes, err)
}

// Forget has the kernel forget what it has in memory of files that are on the disk, so that they are read from there. What is
// still to be written is written first, as far as that works.
func Forget(t testing.TB, paths ...string) {
	t.Helper()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Sync()
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			t.Error(err)
		}
		f.Close()
	}
}
