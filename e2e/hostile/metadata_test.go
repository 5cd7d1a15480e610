package hostile

import (
	"bufio"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// asked returns the files of metadata and piece layers that the depot has given out since the last call.
func (w *world) asked() []string {
	w.t.Helper()
	f, err := os.OpenFile(w.path("access.log"), os.O_RDWR, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	paths := map[string]bool{}
	for s := bufio.NewScanner(f); s.Scan(); {
		var r struct {
			Path   string
			Status int
		}
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			w.t.Fatalf("access log: %s: %v", s.Text(), err)
		}
		if r.Status == 200 && strings.HasPrefix(r.Path, "/v1/") {
			paths[r.Path] = true
		}
	}
	if err := f.Truncate(0); err != nil {
		w.t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(paths))
}

// TestAFlippedBitInAnyMetadataFile flips one bit at the beginning, in the middle and at the end of every file that the
// depot gives a device besides content, one after the other: for a device that has only joined, and for one that has
// older metadata and an older version. Both repositories have a new root meanwhile.
func TestAFlippedBitInAnyMetadataFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := payload("first", 300_000), payload("second", 300_000)
	w.offer("app", "1.0", first)
	fresh, old := w.join(), w.join()
	old.ends(0)
	old.has("app", first)

	w.must("publish", "rotate", w.path(publisherName), "--key", "online")
	w.depot("renew", "--root").check(t, 0)
	w.offer("app", "2.0", second)
	w.unapprove("app", "1.0")
	for _, c := range []struct {
		name   string
		device *device
		has    []byte
	}{{"on a fresh device", fresh, nil}, {"on a device with state", old, first}} {
		w.asked()
		good := c.device.clone()
		good.ends(0)
		good.has("app", second)
		files := w.asked()
		t.Logf("%s: %d files: %s", c.name, len(files), strings.Join(files, " "))
		// Of each repository root, timestamp, snapshot, targets; a ring; a piece layer.
		if len(files) < 10 {
			t.Fatalf("%s: only %d files are asked for", c.name, len(files))
		}
		for _, file := range files {
			path := w.public(filepath.FromSlash(file))
			for _, at := range positions(len(read(t, path))) {
				d := c.device.clone()
				mend := flip(t, path, at)
				r := d.once()
				mend()
				r.check(t, 4)
				d.has("app", c.has)
				d.ends(0)
				d.has("app", second)
			}
		}
	}
}

// positions are the bytes to spoil in a file of n.
func positions(n int) []int {
	if n == 0 {
		return nil
	}
	return slices.Compact([]int{0, n / 2, n - 1})
}
