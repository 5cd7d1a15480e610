package durable_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
)

func TestWriteFileReplaces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	for _, want := range []string{"first", "", "a longer third"} {
		if err := durable.WriteFile(path, []byte(want), 0o640); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := mode(t, path); got != 0o640 {
			t.Errorf("mode %v", got)
		}
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
}

func TestWriteFileReplacesALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	victim, link := filepath.Join(dir, "victim"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(victim, []byte("keep"), 0o600), os.Symlink(victim, link)); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(link, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if read(t, victim) != "keep" || read(t, link) != "new" {
		t.Error("the link was followed")
	}
}

func TestWriteFileFailsCleanly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := durable.WriteFile(filepath.Join(dir, "no", "such"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	taken := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(taken, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(taken, []byte("x"), 0o600); err == nil {
		t.Error("replaced a folder")
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
}

func TestConcurrentWritersLeaveOneOfThem(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := durable.WriteFile(path, bytes.Repeat([]byte{byte('a' + i)}, 4096), 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := read(t, path)
	if len(got) != 4096 || strings.Trim(got, got[:1]) != "" {
		t.Error("the writers were mixed")
	}
	if got := names(t, filepath.Dir(path)); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
}

func TestTempPatternMatches(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{".state.123.dunlin-tmp": true, "state": false, ".state": false} {
		if got, err := filepath.Match(durable.TempPattern, name); got != want || err != nil {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
}

func TestRename(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "sub", "b")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "sub"), 0o700), os.WriteFile(a, []byte("a"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := durable.Rename(a, b); err != nil {
		t.Fatal(err)
	}
	if err := durable.Rename(a, b); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a second time: %v", err)
	}
	if err := os.WriteFile(a, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.RenameNew(a, b); !errors.Is(err, fs.ErrExist) || read(t, b) != "a" {
		t.Errorf("RenameNew over a file: %v, it holds %q", err, read(t, b))
	}
	if err := durable.RenameNew(a, b+"2"); err != nil || read(t, b+"2") != "other" {
		t.Errorf("RenameNew: %v", err)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is gone, which is no error
		if err := durable.Remove(path); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it is still there")
	}
	if err := durable.SyncDir(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("sync of nothing: %v", err)
	}
}

func TestMkdirPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := durable.MkdirPrivate(path); err != nil {
			t.Fatal(err)
		}
	}
	if got := mode(t, path); got != 0o700 {
		t.Errorf("mode %v", got)
	}
}

func TestMkdirPrivateRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	cases := map[string]func(path string) error{
		"not a folder":   func(p string) error { return os.WriteFile(p, nil, 0o700) },
		"link":           func(p string) error { return os.Symlink(real, p) },
		"open to others": func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chmod(p, 0o710)) },
		"belongs to":     func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chown(p, 4711, 4711)) },
	}
	for name, plant := range cases {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if name == "belongs to" && os.Geteuid() != 0 {
			continue // only root can give a folder away
		}
		if err := plant(path); err != nil {
			t.Fatal(err)
		}
		err := durable.MkdirPrivate(path)
		if !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
