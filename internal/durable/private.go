package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// privateMode lets nobody but the owner in.
const privateMode fs.FileMode = 0o700

// MkdirPrivate makes the folder at path with mode 0700, and its parents (0755, less the umask) when they are missing.
// A folder that is there already is used only if it is a real folder (no symbolic link), belongs to this user and is
// open to nobody else; otherwise the error is fault.Refused with a hint, because what lies in it could be anybody's.
func MkdirPrivate(path string) error {
	err := os.Mkdir(path, privateMode)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(filepath.Clean(path)), 0o755); err == nil {
			err = os.Mkdir(path, privateMode)
		}
	}
	switch {
	case err == nil:
		return SyncDir(filepath.Dir(filepath.Clean(path)))
	case errors.Is(err, fs.ErrExist):
		return CheckPrivate(path)
	default:
		return diskFault(path, fmt.Errorf("make folder: %w", err))
	}
}

// CheckPrivate refuses, with fault.Refused and a hint, a path that is not a folder of this user's with no access for
// anybody else.
func CheckPrivate(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("check folder: %w", err)
	}
	switch owner, known := ownerOf(info); {
	case !info.IsDir():
		return fault.WithHint(
			fault.New(fault.Refused, "folder %s is not a folder but %v", path, info.Mode().Type()),
			"name the real folder; a symbolic link is not followed here")
	case known && owner != os.Geteuid():
		return fault.WithHint(
			fault.New(fault.Refused, "folder %s belongs to user %d, not to user %d", path, owner, os.Geteuid()),
			"run as its owner, or choose another folder")
	case info.Mode().Perm()&0o077 != 0:
		return fault.WithHint(
			fault.New(fault.Refused, "folder %s is open to others (mode %04o)", path, info.Mode().Perm()),
			"if nobody else has written to it: chmod 700 %s", path)
	}
	return nil
}
