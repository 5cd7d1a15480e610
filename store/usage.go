package store

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/dunlin-project/dunlin/piecehash"
)

// Usage is what a store takes of its disk.
type Usage struct {
	Whole, Partial int   // contents
	Bytes          int64 // that their files take on the disk, records included
	Room           int64 // bytes more that it may take: what is free beyond the reserve, at least 0
}

// Usage looks at every file of the store, but reads none.
func (s *Store) Usage() (Usage, error) {
	var u Usage
	for dir, count := range map[string]*int{partialDir: &u.Partial, sealedDir: &u.Whole} {
		bytes, err := usage(filepath.Join(s.dir, dir), count)
		if err != nil {
			return Usage{}, fmt.Errorf("measure store: %w", err)
		}
		u.Bytes += bytes
	}
	f, err := os.Open(s.dir)
	if err != nil {
		return Usage{}, fmt.Errorf("measure store: %w", err)
	}
	defer f.Close()
	free, err := freeBytes(f)
	u.Room = max(0, free-s.opt.Reserve)
	return u, err
}

// usage sums what the files of a folder take, and counts those that are content.
func usage(dir string, contents *int) (sum int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() { // it has just gone, or is none of ours
			continue
		}
		sum += allocated(info)
		if _, err := piecehash.ParseRoot(e.Name()); err == nil {
			*contents++
		}
	}
	return sum, nil
}
