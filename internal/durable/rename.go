package durable

import (
	"errors"
	"io/fs"
	"os"
)

// renameChecked looks before it renames. Somebody who makes the file in between loses it.
func renameChecked(from, to string) error {
	switch _, err := os.Lstat(to); {
	case err == nil:
		return fs.ErrExist
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return os.Rename(from, to)
}
