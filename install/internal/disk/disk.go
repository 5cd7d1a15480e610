// Package disk holds what installing has to know of file systems: which errors mean that another try may do, and how a
// whole tree reaches the disk. It trusts the kernel. Start reading at Fault.
package disk

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Fault gives an error of the file system its kind. A full disk or a used-up quota is fault.Unavailable, with a hint;
// anything else gets kind, if it has none yet. A nil err stays nil.
func Fault(kind fault.Kind, path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC):
		return fault.WithHint(fault.New(fault.Unavailable, "%w", err), "free some space or some inodes on the disk of %s", path)
	case errors.Is(err, syscall.EDQUOT):
		return fault.WithHint(fault.New(fault.Unavailable, "%w", err), "raise the quota on the disk of %s, or free some space there", path)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		return fault.New(fault.Unavailable, "%w", err)
	}
	return fault.Wrap(kind, err)
}

// MkdirAll makes the folders of a path below dir that are missing, with mode 0755 whatever the umask: who starts an agent
// with a narrow one does not mean to hide what it installs. It reports whether one was missing.
func MkdirAll(dir *os.Root, name string) (made bool, err error) {
	for _, folder := range ancestors(name) {
		err := dir.Mkdir(folder, folderMode)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = dir.Chmod(folder, folderMode)
		}
		if err != nil {
			return made, err
		}
		made = true
	}
	return made, nil
}

const folderMode = 0o755

// ancestors returns every folder of a path, the outermost first, and the path itself.
func ancestors(name string) []string {
	var out []string
	for ; name != "."; name = path.Dir(name) {
		out = append([]string{name}, out...)
	}
	return out
}

// SyncTree makes everything on the file system of dir durable. One call for a tree of a hundred thousand files costs less
// than a hundred thousand calls.
func SyncTree(dir *os.Root) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(syncAll(f), f.Close())
}

// SyncDir makes the names in dir durable. Some network file systems cannot, and say so; there is nothing better to do on
// them.
func SyncDir(dir *os.Root) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
