package tuf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Source gives the raw files of one repository. What it gives is not believed.
type Source interface {
	// Fetch returns the file with the given name below the base of the repository ("metadata/timestamp.json"). The name
	// is escaped as in a URL already. It returns at most limit+1 bytes; more than limit means that the file is larger.
	// The error wraps ErrNotFound when there is no such file, and has a kind.
	Fetch(ctx context.Context, name string, limit int64) ([]byte, error)
	// String names the source in messages.
	String() string
}

// Memory is a source that holds its files, by name.
type Memory map[string][]byte

// Fetch implements Source.
func (m Memory) Fetch(_ context.Context, name string, limit int64) ([]byte, error) {
	b, ok := m[name]
	if !ok {
		return nil, notFound(name)
	}
	return b[:min(int64(len(b)), limit+1)], nil
}

func (m Memory) String() string { return "the bundle" }

// Folder is a source in a folder, which is its path. Nothing outside the folder is read, also not by way of a link.
type Folder string

// Fetch implements Source.
func (f Folder) Fetch(_ context.Context, name string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return nil, fault.New(fault.Unavailable, "open repository: %w", err)
	}
	defer root.Close()
	// Without O_NONBLOCK, opening a pipe would wait for a writer.
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(name)
	}
	if err != nil {
		return nil, fault.New(fault.Unavailable, "open repository: %w", err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fault.New(fault.Unavailable, "read %s: not a regular file", name)
	}
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fault.New(fault.Unavailable, "read %s: %w", name, err)
	}
	return b, nil
}

func (f Folder) String() string { return string(f) }

func notFound(name string) error {
	return fault.Wrap(fault.Unavailable, fmt.Errorf("read %s: %w", name, ErrNotFound))
}
