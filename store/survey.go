package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/piecehash"
)

// pinnedDir has an empty file for each root that is to stay.
const pinnedDir = "pinned"

// surveyStep is how many names of a folder are in memory at once.
const surveyStep = 4096

// Entry is what the folder says of one content. Nothing in it was hashed.
type Entry struct {
	Root  piecehash.Root
	Whole bool
	// Length is that of the file in bytes: of a partial one what it is to become.
	Length int64
	// Bytes is what it takes of the disk, with what is kept beside it. A partial file counts with all of its length.
	Bytes int64
	// Used is when it was last used or written to.
	Used time.Time
	// Worth is when it came, unless Note has said otherwise: a second time, for whoever decides what goes.
	Worth time.Time
}

// Survey looks at all that is there, complete or partial, in no order. It reads names and sizes only: a store of 200,000
// contents takes about a second.
func (s *Store) Survey() ([]Entry, error) {
	var out []Entry
	at := make(map[piecehash.Root]int)
	for _, dir := range []string{partialDir, sealedDir} {
		err := eachFile(filepath.Join(s.dir, dir), func(root piecehash.Root, suffix string, info fs.FileInfo) {
			i, known := at[root]
			if !known {
				i = len(out)
				at[root] = i
				out = append(out, Entry{Root: root})
			}
			out[i].add(dir == sealedDir, suffix, info)
		})
		if err != nil {
			return nil, fmt.Errorf("survey store: %w", diskError(s.dir, err))
		}
	}
	return out, nil
}

// Look is Survey for one content, and reports whether it is there.
func (s *Store) Look(root piecehash.Root) (Entry, bool) {
	e, pl, found := Entry{Root: root}, s.place(root), false
	for _, f := range []struct {
		path   string
		sealed bool
		suffix string
	}{
		{pl.state, false, stateFileSuffix}, {pl.data, false, ""}, {pl.final, true, ""}, {pl.record, true, recordSuffix},
	} {
		if info, err := os.Lstat(f.path); err == nil && info.Mode().IsRegular() {
			e.add(f.sealed, f.suffix, info)
			found = true
		}
	}
	return e, found
}

// add takes one file of the content into account.
func (e *Entry) add(sealed bool, suffix string, info fs.FileInfo) {
	e.Bytes += allocated(info)
	switch {
	case suffix == recordSuffix:
		e.Worth = info.ModTime()
	case suffix != "":
	case sealed:
		e.Whole, e.Length, e.Used = true, info.Size(), info.ModTime()
	default:
		e.Length, e.Used, e.Worth = info.Size(), info.ModTime(), info.ModTime()
		e.Bytes += max(info.Size()-allocated(info), 0)
	}
}

// eachFile calls do with every file of a folder whose name begins with a root.
func eachFile(dir string, do func(root piecehash.Root, suffix string, info fs.FileInfo)) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(surveyStep)
		for _, e := range entries {
			name, suffix := e.Name(), ""
			if i := strings.IndexByte(name, '.'); i >= 0 {
				name, suffix = name[:i], name[i:]
			}
			root, bad := piecehash.ParseRoot(name)
			if bad != nil || !e.Type().IsRegular() {
				continue
			}
			if info, err := e.Info(); err == nil { // else it has gone meanwhile
				do(root, suffix, info)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Note keeps the two times of complete content that Survey gives back. They are those of its files, so a note takes no
// room, and nothing is synced for it: a power cut may cost the newest ones. Content that is not there is no error.
func (s *Store) Note(root piecehash.Root, used, worth time.Time) error {
	pl := s.place(root)
	var keep time.Time // the time of the last reading stays what it is
	for path, t := range map[string]time.Time{pl.final: used, pl.record: worth} {
		if err := os.Chtimes(path, keep, t); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("note use of content %v: %w", root, diskError(path, err))
		}
	}
	return nil
}

// Has reports whether complete content lies in the folder, without opening it.
func (s *Store) Has(root piecehash.Root) bool {
	info, err := os.Lstat(s.place(root).final)
	return err == nil && info.Mode().IsRegular()
}

// Pin says that content is to stay, whether it is there or not. Whoever makes room heeds it; Remove does not.
func (s *Store) Pin(root piecehash.Root) error {
	if err := durable.WriteFile(s.pin(root), nil, 0o600); err != nil {
		return fmt.Errorf("pin content %v: %w", root, err)
	}
	return nil
}

// Unpin takes a Pin back. There need not be one.
func (s *Store) Unpin(root piecehash.Root) error {
	if err := durable.Remove(s.pin(root)); err != nil {
		return fmt.Errorf("unpin content %v: %w", root, err)
	}
	return nil
}

func (s *Store) pin(root piecehash.Root) string {
	return filepath.Join(s.dir, pinnedDir, root.String())
}

// Pinned returns what is to stay.
func (s *Store) Pinned() (map[piecehash.Root]bool, error) {
	out := make(map[piecehash.Root]bool)
	err := eachFile(filepath.Join(s.dir, pinnedDir), func(root piecehash.Root, suffix string, _ fs.FileInfo) {
		if suffix == "" {
			out[root] = true
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list what is pinned: %w", diskError(s.dir, err))
	}
	return out, nil
}

// Disk is the file system of a store, in bytes.
type Disk struct{ Size, Free int64 }

// Disk says how large the disk is, and how much of it this user may still take.
func (s *Store) Disk() (Disk, error) {
	d, err := os.Open(s.dir)
	if err != nil {
		return Disk{}, fmt.Errorf("look at the disk: %w", diskError(s.dir, err))
	}
	defer d.Close()
	return diskOf(d)
}

// Pieces returns how many pieces a partial content has, and of how many, as its state says: none of them was hashed. The
// error is ErrNotFound for content that is not partial, or whose state is damaged.
func (s *Store) Pieces(root piecehash.Root) (have, all int, err error) {
	f, err := openRegular(s.place(root).state, os.O_RDONLY, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("look at content %v: %w: %w", root, ErrNotFound, err)
	}
	defer f.Close()
	st, err := (&stateFile{f: f}).load()
	if err == nil && st.content.Root() != root {
		err = errors.New("the state is another content's")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("look at content %v: %w: %w", root, ErrNotFound, err)
	}
	return st.have.Count(), st.have.Len(), nil
}
