package hostile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dunlin-project/dunlin/e2e/lab"
)

// smallDisk puts a folder onto a file system of its own.
func smallDisk(t *testing.T, dir string) {
	t.Helper()
	aside := t.TempDir()
	copyTree(t, dir, aside)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size=32m"); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	copyTree(t, aside, dir)
}

// fill leaves a disk so many bytes, and returns how to have it empty again.
func fill(t *testing.T, dir string, left int64) (mend func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var size int64
	for err == nil {
		var n int
		n, err = f.Write(make([]byte, 4<<10))
		size += int64(n)
	}
	if !errors.Is(err, syscall.ENOSPC) || size < left {
		t.Fatalf("fill the disk: %v after %d bytes", err, size)
	}
	if err := f.Truncate(size - left); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskFull is unavailable wherever it happens, and the next run with room succeeds.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	lab.Need(t)
	for what, c := range map[string]struct {
		dir  func(d *device) string
		left []int64 // KiB
	}{
		// From nothing at all over the metadata, the status and the journal to half of the payload.
		"state":       {func(d *device) string { return d.state }, []int64{0, 4, 8, 16, 24, 32, 40, 48, 64, 3 << 10}},
		"destination": {func(d *device) string { return d.root }, []int64{0, 3 << 10}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			d := w.join()
			smallDisk(t, c.dir(d))
			version, last := 0, []byte(nil)
			for _, left := range c.left {
				version++
				next := payload(fmt.Sprint(what, version), 6<<20)
				w.offer("app", fmt.Sprint(version), next)
				mend := fill(t, c.dir(d), left<<10)
				t.Logf("%d KiB left", left)
				d.ends(3)
				d.has("app", last)
				mend()
				d.ends(0)
				d.has("app", next)
				w.unapprove("app", fmt.Sprint(version))
				last = next
			}
		})
	}
}
