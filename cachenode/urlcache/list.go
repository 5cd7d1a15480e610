package urlcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// File is what a folder keeps of a file.
type File struct {
	URL   string
	Size  int64     // of the file, in bytes
	Have  int64     // of them, those that are kept
	Got   time.Time // when the origin was last asked
	Age   time.Duration
	Fresh bool // it is served without asking the origin
	// Pinned is what no need of room deletes.
	Pinned bool
}

// List reads what the folder of a cache keeps, what was fetched or asked for last first. It changes nothing, so that a cache may
// run on the folder, and believes nothing that is damaged. A folder that is not there keeps nothing.
func List(dir string, now time.Time) ([]File, error) {
	dirs, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list files known by their URL: %w", fault.Wrap(fault.Unavailable, err))
	}
	byKey, pinned := make(map[key]File), pins(dir)
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		names, err := os.ReadDir(filepath.Join(dir, d.Name()))
		if err != nil {
			return nil, fmt.Errorf("list files known by their URL: %w", fault.Wrap(fault.Unavailable, err))
		}
		for _, e := range names {
			k, id, kind, ok := parseName(e.Name())
			if !ok || kind != kindRecord {
				continue
			}
			if f, ok := (files{dir, k, id}).look(now); ok && !f.Got.Before(byKey[k].Got) {
				f.Pinned = pinned[k]
				byKey[k] = f
			}
		}
	}
	out := make([]File, 0, len(byKey))
	for _, f := range byKey {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b File) int {
		if c := b.Got.Compare(a.Got); c != 0 {
			return c
		}
		return strings.Compare(a.URL, b.URL)
	})
	return out, nil
}

// look reads what is kept of one generation.
func (f files) look(now time.Time) (file File, ok bool) {
	b, err := readFile(f.path(kindRecord), maxRecord)
	if err != nil {
		return file, false
	}
	r, err := parseRecord(b)
	if err != nil || keyOf(r.URL) != f.key || r.Generation != f.id {
		return file, false
	}
	file = File{URL: r.URL, Size: r.Is.Size, Got: r.Term.Got, Age: r.Term.age(now), Fresh: r.Term.fresh(now)}
	n := int((r.Is.Size + r.Slice - 1) / r.Slice)
	sums, err := readFile(f.path(kindSums), int64(2*n+16)*sumSize)
	if err != nil {
		return file, true
	}
	there := make(map[int]bool)
	parseSums(f.id, n, sums, func(i int, _ sum) { there[i] = true })
	for i := range there {
		file.Have += min(r.Slice, r.Is.Size-int64(i)*r.Slice)
	}
	return file, true
}

// notKept is the error of a URL of which nothing is kept.
func notKept(u string) error {
	return fault.New(fault.Usage, "remove %.100q: it is not kept", label(u))
}

// Remove deletes what is kept of the file at a URL. What is in use stays, which is the error unavailable; what is pinned
// is refused, and that nothing is kept is usage.
func (c *Cache) Remove(rawURL string) error {
	u, _ := Canonical(rawURL)
	if err := notPinned(c.cfg.Dir, u); err != nil {
		return err
	}
	c.mu.Lock()
	e := c.entries[keyOf(u)]
	if e == nil || e.id == "" {
		c.mu.Unlock()
		return notKept(u)
	}
	if !e.isIdle() {
		c.mu.Unlock()
		return fault.WithHint(fault.New(fault.Unavailable, "remove %.100q: it is being read or fetched", label(u)), "run the command again later")
	}
	gone := files{c.cfg.Dir, e.key, e.id}
	c.closeEntry(e)
	c.bytes -= e.bytes
	delete(c.entries, e.key)
	c.mu.Unlock()
	return gone.remove()
}

// Remove deletes what a folder keeps of the file at a URL. No cache may run on it.
func Remove(dir, rawURL string) error {
	u, _ := Canonical(rawURL)
	if err := notPinned(dir, u); err != nil {
		return err
	}
	name := keyOf(u).String()
	found, err := filepath.Glob(filepath.Join(dir, name[:2], name+".*"))
	if err != nil || len(found) == 0 {
		return errors.Join(err, notKept(u))
	}
	var errs []error
	for _, path := range found {
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}
