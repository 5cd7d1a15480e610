package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// TempPattern is the form of the names of unfinished files, for filepath.Match. A crash in the middle of WriteFile may
// leave one behind; it is never read and may be deleted when nobody writes to the folder.
const TempPattern = ".*.dunlin-tmp"

// WriteFile replaces the file at path with data. After a crash the path holds the old content or the new. The mode is
// perm exactly, whatever the umask, and is set before the first byte is written. A symbolic link at path is replaced,
// not followed. Concurrent calls for one path are safe: one of them wins. Here as in the whole package, a disk that is
// full, read-only or broken is fault.Unavailable.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	temp, err := writeTemp(path, data, perm)
	if err != nil {
		return diskFault(path, fmt.Errorf("write %s: %w", path, err))
	}
	if err := Rename(temp, path); err != nil {
		_ = os.Remove(temp)
		return err
	}
	return nil
}

// writeTemp returns the name of a synced file beside path.
func writeTemp(path string, data []byte, perm fs.FileMode) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.dunlin-tmp")
	if err != nil {
		return "", err
	}
	err = errors.Join(fill(f, data, perm), f.Close())
	if err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

func fill(f *os.File, data []byte, perm fs.FileMode) error {
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// Rename moves from to to, replacing it, and syncs the folders of both. The bytes behind from must be synced already.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return diskFault(to, fmt.Errorf("rename to %s: %w", to, err))
	}
	return syncDirs(from, to)
}

// RenameNew is Rename for a name that must be free: it fails with fs.ErrExist when to exists, without touching it.
func RenameNew(from, to string) error {
	if err := renameNew(from, to); err != nil {
		return diskFault(to, fmt.Errorf("rename to %s: %w", to, err))
	}
	return syncDirs(from, to)
}

func syncDirs(from, to string) error {
	if err := SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	if filepath.Dir(from) == filepath.Dir(to) {
		return nil
	}
	return SyncDir(filepath.Dir(from))
}

// Remove deletes the file at path and syncs its folder, so that it cannot come back. A missing file is no error.
func Remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return diskFault(path, fmt.Errorf("remove %s: %w", path, err))
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a folder durable.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return diskFault(path, fmt.Errorf("sync folder %s: %w", path, err))
	}
	defer d.Close()
	// Some network and FUSE file systems cannot sync a folder and say so; there is nothing better to do on them.
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return diskFault(path, fmt.Errorf("sync folder %s: %w", path, err))
	}
	return nil
}
