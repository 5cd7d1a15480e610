package urlcache

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// pinDir is the folder of the pins: each is an empty file, named by the key of a URL. A cache looks there before it deletes what
// the origin still has.
const pinDir = "pinned"

// Pin keeps the file at a URL in the folder of a cache, whoever needs room; it may be one that is not there yet. A cache that
// runs on the folder heeds it from now on. A file that changes at its origin is replaced all the same.
func Pin(dir, rawURL string) error {
	path, err := pinPath(dir, rawURL)
	if err != nil {
		return err
	}
	for _, folder := range []string{dir, filepath.Dir(path)} {
		if err := durable.MkdirPrivate(folder); err != nil {
			return err
		}
	}
	return durable.WriteFile(path, nil, 0o600)
}

// Unpin lets the file at a URL go like any other.
func Unpin(dir, rawURL string) error {
	path, err := pinPath(dir, rawURL)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unpin: %w", err)
	}
	return nil
}

func pinPath(dir, rawURL string) (string, error) {
	u, ok := Canonical(rawURL)
	if !ok {
		return "", fault.New(fault.Usage, "pin %.100q: it is no URL of a file", rawURL)
	}
	return filepath.Join(dir, pinDir, keyOf(u).String()), nil
}

// pins reads what is pinned. What cannot be read pins nothing.
func pins(dir string) map[key]bool {
	names, _ := os.ReadDir(filepath.Join(dir, pinDir))
	out := make(map[key]bool, len(names))
	for _, n := range names {
		if b, err := hex.DecodeString(n.Name()); err == nil && len(b) == len(key{}) {
			out[key(b)] = true
		}
	}
	return out
}

// notPinned is the error of removing what is pinned, nil for all else.
func notPinned(dir, u string) error {
	if !pins(dir)[keyOf(u)] {
		return nil
	}
	return fault.WithHint(fault.New(fault.Refused, "remove %.100q: it is pinned", label(u)), "dunlin cache unpin %s", u)
}
