package disktest_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dunlin-project/dunlin/internal/disktest"
)

// TestABrokenDiskFailsForReal, beyond the place it is broken at, and is well afterwards.
func TestABrokenDiskFailsForReal(t *testing.T) {
	t.Parallel()
	d := disktest.Real(t, 16<<20)
	front, back, later := filepath.Join(d.Dir, "front"), filepath.Join(d.Dir, "back"), filepath.Join(d.Dir, "later")
	want := bytes.Repeat([]byte("dunlin"), 200_000)
	for _, path := range []string{front, back} {
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		disktest.Forget(t, path) // it gets its place on the disk, the first one the first
	}
	d.BreakAt(t, back, 0)
	disktest.Forget(t, front, back)
	if got, err := os.ReadFile(front); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the good part: %d bytes, %v", len(got), err)
	}
	if _, err := os.ReadFile(back); !errors.Is(err, syscall.EIO) {
		t.Errorf("the broken part is read: %v", err)
	}
	if err := writeSynced(later, want); !errors.Is(err, syscall.EIO) {
		t.Errorf("the broken part is written to: %v", err)
	}
	d.Mend(t)
	if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, want) {
		t.Errorf("mended: %d bytes, %v", len(got), err)
	}
	if err := writeSynced(later, want); err != nil {
		t.Errorf("mended: %v", err)
	}
}

func writeSynced(path string, b []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}
