package metadata_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// TestAFileThatCannotBeReplaced is done without, one or all, and replaced once it can be. A folder that is open to others is no
// such thing: it is refused.
func TestAFileThatCannotBeReplaced(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	d.good()
	stores, err := filepath.Glob(filepath.Join(d.cfg.Dir, "*-*"))
	if err != nil || len(stores) != 2 {
		t.Fatal(stores, err)
	}
	files, err := filepath.Glob(filepath.Join(stores[0], "*"))
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for i, path := range append(files, filepath.Join(d.cfg.Dir, "bundle")) {
		if err := errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o700)); err != nil {
			t.Fatal(err)
		}
		d.org.Unapprove("pilot", "acme", "app", "1.0")
		if i%2 == 1 {
			d.org.Approve("pilot", d.pub, d.app, nil)
		}
		d.publish()
		v, _, err := d.client.Sync(t.Context(), start())
		if v == nil || len(v.Offers("pilot")) != i%2 || !errors.Is(err, metadata.ErrUnsaved) {
			t.Errorf("%s: %v", path, err)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.client.Sync(t.Context(), start()); err != nil {
			t.Errorf("%s can be replaced again: %v", path, err)
		}
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s was not replaced: %v", path, err)
		}
	}
	if err := os.Chmod(stores[0], 0o777); err != nil {
		t.Fatal(err)
	}
	if v, _, err := d.client.Sync(t.Context(), start()); v != nil || !fault.Is(err, fault.Refused) {
		t.Errorf("a folder that is open to others: %v", err)
	}
}
