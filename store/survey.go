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

	"golang.org/x/sys/unix"

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
// contents takes a second or two.
func (s *Store) Survey() ([]Entry, error) {
	var out []Entry
	err := s.Each(func(e Entry) { out = append(out, e) })
	return out, err
}

// Each is Survey for who keeps less of it. Content that is both complete and partial, as a crash may leave it, comes twice.
func (s *Store) Each(do func(Entry)) error {
	for _, sealed := range []bool{false, true} {
		if err := s.each(sealed, do); err != nil {
			return fmt.Errorf("survey store: %w", diskError(s.dir, err))
		}
	}
	return nil
}

// each looks at one of the two folders. What is kept beside a file is looked at with the file; it alone is listed when the file
// is missing.
func (s *Store) each(sealed bool, do func(Entry)) error {
	dir, beside := partialDir, stateFileSuffix
	if sealed {
		dir, beside = sealedDir, recordSuffix
	}
	return eachName(filepath.Join(s.dir, dir), func(d *os.File, name string) {
		text, isBeside := strings.CutSuffix(name, beside)
		root, err := piecehash.ParseRoot(text)
		if err != nil {
			return
		}
		data, there := statAt(d, text)
		if there && isBeside {
			return // it comes, or came, with the file
		}
		other, otherThere := statAt(d, text+beside)
		if there || otherThere {
			do(newEntry(root, sealed, data, other))
		}
	})
}

// Look is Survey for one content, and reports whether it is there.
func (s *Store) Look(root piecehash.Root) (e Entry, there bool) {
	for _, sealed := range []bool{false, true} {
		dir, beside := partialDir, stateFileSuffix
		if sealed {
			dir, beside = sealedDir, recordSuffix
		}
		d, err := os.Open(filepath.Join(s.dir, dir))
		if err != nil {
			continue
		}
		data, ok := statAt(d, root.String())
		other, otherOK := statAt(d, root.String()+beside)
		d.Close()
		if ok || otherOK {
			e, there = e.Join(newEntry(root, sealed, data, other)), true
		}
	}
	return e, there
}

// Join is what two entries for one content say together. The zero Entry says nothing.
func (e Entry) Join(other Entry) Entry {
	if e.Whole || other.Root == (piecehash.Root{}) {
		e, other = other, e
	}
	other.Bytes += e.Bytes
	return other
}

// fileStat is what is looked at of a file.
type fileStat struct {
	size, disk int64 // bytes
	mtime      time.Time
}

// statAt looks at a regular file of a folder.
func statAt(d *os.File, name string) (fileStat, bool) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fileStat{}, false
	}
	return fileStat{st.Size, clamp(uint64(st.Blocks), 512), time.Unix(st.Mtim.Unix())}, true
}

func newEntry(root piecehash.Root, sealed bool, data, beside fileStat) Entry {
	e := Entry{Root: root, Whole: sealed && data.size > 0, Length: data.size, Bytes: data.disk + beside.disk, Used: data.mtime, Worth: data.mtime}
	if !sealed {
		e.Bytes = max(data.disk, data.size) + beside.disk
	}
	if sealed && !beside.mtime.IsZero() {
		e.Worth = beside.mtime
	}
	if data.mtime.IsZero() { // only what is beside it is there
		e.Used, e.Worth = beside.mtime, beside.mtime
	}
	return e
}

// eachName calls do with every name in a folder, which is open.
func eachName(dir string, do func(d *os.File, name string)) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(surveyStep)
		for _, name := range names {
			do(d, name)
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
	err := eachName(filepath.Join(s.dir, pinnedDir), func(_ *os.File, name string) {
		if root, err := piecehash.ParseRoot(name); err == nil {
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
