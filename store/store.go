package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

var (
	// ErrSealed is the error of beginning what is complete already: open it with Store.File.
	ErrSealed = errors.New("content is complete already")
	// ErrNotFound is the error of content that the store does not have, or not completely.
	ErrNotFound = errors.New("content is not in the store")
)

// Folders of a store.
const (
	partialDir   = "partial"
	sealedDir    = "sealed"
	recordSuffix = ".manifest"

	stateFileSuffix = ".state" // beside what is partial
)

// sweepAge is how old an unfinished record must be to be nobody's.
const sweepAge = time.Hour

// sealedPerm lets nobody write to what has been checked, the owner included.
const sealedPerm fs.FileMode = 0o400

// Store is a private folder with content under its roots. It is safe for concurrent use, also by several processes.
//
//	partial/ROOT, partial/ROOT.state    on its way
//	sealed/ROOT, sealed/ROOT.manifest   complete (0400), and its length, piece length and piece layer
//	pinned/ROOT                         empty: the content is to stay
type Store struct {
	dir string
	opt Options
}

// Open opens the store in dir, which it makes when it is missing. A folder that others can write to or read, or that
// belongs to somebody else, is fault.Refused.
func Open(dir string, o Options) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	for _, d := range []string{dir, filepath.Join(dir, partialDir), filepath.Join(dir, sealedDir), filepath.Join(dir, pinnedDir)} {
		if err := durable.MkdirPrivate(d); err != nil {
			return nil, fmt.Errorf("open store: %w", diskError(d, err))
		}
	}
	sweep(filepath.Join(dir, sealedDir))
	return &Store{dir, o}, nil
}

// sweep deletes unfinished records that a crash has left; a young one may be another process's.
func sweep(dir string) {
	_ = eachName(dir, func(_ *os.File, name string) {
		if name[0] != '.' {
			return // there may be hundreds of thousands
		}
		path := filepath.Join(dir, name)
		if unfinished, _ := filepath.Match(durable.TempPattern, name); !unfinished {
			return
		}
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > sweepAge {
			_ = os.Remove(path)
		}
	})
}

func (s *Store) place(root piecehash.Root) place {
	partial, final := filepath.Join(s.dir, partialDir, root.String()), filepath.Join(s.dir, sealedDir, root.String())
	return place{data: partial, state: partial + stateFileSuffix, final: final, record: final + recordSuffix, perm: sealedPerm}
}

// Begin begins, or goes on with, the download of content; pieces of an earlier run are kept. The error is ErrSealed when
// it is complete already, fault.Unavailable when another process has the same download open or the disk is too full. ctx
// ends the hashing of what an earlier run has left.
func (s *Store) Begin(ctx context.Context, m *piecehash.Manifest) (*Partial, error) {
	pl := s.place(m.Root())
	if f, err := s.File(m.Root()); err == nil {
		f.Close()
		return nil, fmt.Errorf("begin %s: %w", pl.final, ErrSealed)
	}
	// What is there without a good manifest, or shorter than it should be, is a damaged file: keep what is right in it.
	_, err := os.Lstat(pl.final)
	return begin(ctx, pl, m, s.opt, err == nil)
}

// Repair makes a download again of content that is complete and turned out damaged: what is right in it is kept, the
// rest is missing. Content that is not complete is ErrNotFound.
func (s *Store) Repair(ctx context.Context, m *piecehash.Manifest) (*Partial, error) {
	return begin(ctx, s.place(m.Root()), m, s.opt, true)
}

// File opens complete content. The error is ErrNotFound when it is not there, not complete, or its record is damaged;
// Begin then mends it. Each piece is hashed at its first read.
func (s *Store) File(root piecehash.Root) (*File, error) {
	pl := s.place(root)
	m, err := loadRecord(pl.record, root)
	if err != nil {
		return nil, fmt.Errorf("open content %v: %w: %w", root, ErrNotFound, err)
	}
	f, err := openRegular(pl.final, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("open content %v: %w", root, err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() != m.Length() {
		err = fmt.Errorf("%w: %d bytes, want %d", ErrNotFound, info.Size(), m.Length())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open content %v: %w", root, err), f.Close())
	}
	out := newFile(m, f, nil)
	out.believeAll()
	return out, nil
}

// Roots lists the complete content, in no order.
func (s *Store) Roots() ([]piecehash.Root, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, sealedDir))
	if err != nil {
		return nil, fmt.Errorf("list store: %w", err)
	}
	var out []piecehash.Root
	for _, e := range entries {
		if root, err := piecehash.ParseRoot(e.Name()); err == nil && e.Type().IsRegular() {
			out = append(out, root)
		}
	}
	return out, nil
}

// Partials lists the content that is on its way, in no order: what a download is filling now, and what was begun and left.
// Remove deletes it, too.
func (s *Store) Partials() ([]piecehash.Root, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, partialDir))
	if err != nil {
		return nil, fmt.Errorf("list store: %w", err)
	}
	seen := make(map[piecehash.Root]bool)
	for _, e := range entries {
		// A crash may have left one of the two files without the other.
		root, err := piecehash.ParseRoot(strings.TrimSuffix(e.Name(), stateFileSuffix))
		if err == nil && e.Type().IsRegular() {
			seen[root] = true
		}
	}
	return slices.Collect(maps.Keys(seen)), nil
}

// Remove deletes content, complete or partial. Whoever has the file open keeps it until then. A download that is
// running is fault.Unavailable; content that is not there is no error.
func (s *Store) Remove(root piecehash.Root) error {
	pl := s.place(root)
	st, err := openState(pl.state)
	if errors.Is(err, syscall.ENOSPC) && s.Has(root) {
		st, err = nil, nil // no room even for the lock; complete content can do without, and its end is what makes room
	}
	if err != nil {
		return fmt.Errorf("remove content %v: %w", root, err)
	}
	// The file goes before its manifest: without one it would only be mended, and never be listed as gone.
	err = errors.Join(durable.Remove(pl.final), durable.Remove(pl.record), durable.Remove(pl.data))
	if st != nil {
		err = errors.Join(err, st.remove())
	}
	if err != nil {
		return fault.Wrap(fault.Unavailable, fmt.Errorf("remove content %v: %w", root, err))
	}
	return nil
}
