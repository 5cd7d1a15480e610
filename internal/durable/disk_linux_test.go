package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dunlin-project/dunlin/internal/disktest"
	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// TestAFullOrReadOnlyDiskIsUnavailable needs root, to mount a disk that is small.
func TestAFullOrReadOnlyDiskIsUnavailable(t *testing.T) {
	t.Parallel()
	dir := disktest.Memory(t, "size=16k,mode=0700")
	path := filepath.Join(dir, "state")
	if err := durable.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := durable.WriteFile(path, make([]byte, 64<<10), 0o600)
	if !errors.Is(err, syscall.ENOSPC) || !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
		t.Errorf("full: %v (%v; %s)", err, fault.Of(err), fault.Hint(err))
	}
	if got := names(t, dir); len(got) != 1 || read(t, path) != "old" {
		t.Errorf("a full disk left %v", got)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"write":  durable.WriteFile(path, []byte("new"), 0o600),
		"rename": durable.Rename(path, filepath.Join(dir, "other")),
		"remove": durable.Remove(path),
		"folder": durable.MkdirPrivate(filepath.Join(dir, "folder")),
	} {
		if !errors.Is(err, syscall.EROFS) || !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
			t.Errorf("read-only, %s: %v (%v; %s)", what, err, fault.Of(err), fault.Hint(err))
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
