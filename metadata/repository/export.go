package repository

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-project/dunlin/internal/durable"
)

const publicMode = 0o644

// file is one file of the public folder.
type file struct {
	name string
	data []byte
}

// files lists the public files in the order in which they are written: nothing is named by a file before it lies there,
// and the timestamp, which makes all of it visible, is last.
func (t *tree) files() []file {
	var out []file
	for _, role := range slices.Sorted(maps.Keys(t.rec.Targets)) {
		out = append(out, file{versioned(t.roles[role].Signed.Version, role), t.rec.Targets[role]})
	}
	out = append(out, file{versioned(t.snapshot.Signed.Version, RoleSnapshot), t.rec.Snapshot})
	for i, b := range t.rec.Roots {
		out = append(out, file{versioned(int64(i)+1, RoleRoot), b})
	}
	return append(out, file{RoleTimestamp + ".json", t.rec.Timestamp})
}

func versioned(version int64, role string) string {
	return strconv.FormatInt(version, 10) + "." + role + ".json"
}

// export makes the public folder say what the tree says. It may be interrupted anywhere and run again.
func (r *Repository) export(t *tree) error {
	if err := makePublic(r.c.Public); err != nil {
		return err
	}
	for _, f := range t.files() {
		path := filepath.Join(r.c.Public, f.name)
		if same(path, f.data) {
			continue
		}
		if err := r.write(path, f.data, publicMode); err != nil {
			return fmt.Errorf("publish %s: %w", f.name, err)
		}
	}
	return r.prune(t)
}

func makePublic(dir string) error {
	const mode = 0o755
	if err := os.MkdirAll(dir, mode); err != nil {
		return fmt.Errorf("make public folder: %w", err)
	}
	if err := os.Chmod(dir, mode); err != nil { // the umask may have taken away what a web server needs
		return fmt.Errorf("make public folder: %w", err)
	}
	return durable.SyncDir(filepath.Dir(dir))
}

// same reports whether the regular file at path holds exactly data and can be read by a web server.
func same(path string, data []byte) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != publicMode || info.Size() != int64(len(data)) {
		return false
	}
	b, err := os.ReadFile(path)
	return err == nil && bytes.Equal(b, data)
}

// prune removes versions that nobody can still be in the middle of fetching, and what an interrupted write left behind.
// Roots stay: a client may come from any of them.
func (r *Repository) prune(t *tree) error {
	entries, err := os.ReadDir(r.c.Public)
	if err != nil {
		return fmt.Errorf("clean public folder: %w", err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !t.isStale(e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(r.c.Public, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clean public folder: %w", err)
		}
	}
	return nil
}

func (t *tree) isStale(name string) bool {
	if leftover, _ := filepath.Match(durable.TempPattern, name); leftover {
		return true
	}
	number, rest, _ := strings.Cut(name, ".")
	role, isJSON := strings.CutSuffix(rest, ".json")
	version, err := strconv.ParseInt(number, 10, 64)
	if err != nil || !isJSON || role == RoleRoot || role == RoleTimestamp {
		return false
	}
	current := t.lastVersion(role)
	if role == RoleSnapshot {
		current = t.snapshot.Signed.Version
	}
	return version < current-keepVersions
}
