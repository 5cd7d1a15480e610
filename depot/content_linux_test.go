package depot

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/disktest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// TestAFullDiskIsUnavailable needs root, to mount a disk that is small.
func TestAFullDiskIsUnavailable(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.release(t, "app", "1.0", 1, randomBytes(8<<20), nil)
	c := testConfig(t, v)
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	disktest.MemoryAt(t, c.Dir, "size=2m,mode=0700")
	if _, err := Init(t.Context(), c, time.Now()); err != nil {
		t.Fatal(err)
	}
	d, err := Open(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
		t.Errorf("%v (%v; %s)", err, fault.Of(err), fault.Hint(err))
	}
	fill(t, filepath.Join(c.Dir, "fill"))
	_, err = d.Approve(t.Context(), ApproveRequest{Update: "acme/app@1.0", Rings: []string{"pilot"}, Action: metadata.ActionHold}, time.Now(), quiet)
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("nothing left for metadata: %v (%v)", err, fault.Of(err))
	}
	if err := os.Remove(filepath.Join(c.Dir, "fill")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", c.Dir, "tmpfs", syscall.MS_REMOUNT, "size=100m,mode=0700"); err != nil {
		t.Fatal(err)
	}
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
		t.Errorf("the next good run: %v", err)
	}
}

// fill writes until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
}
