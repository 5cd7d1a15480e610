package install

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/dunlin-project/dunlin/install/internal/disk"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// change describes the switch of one name from an old state to a new one, exactly enough to be taken back after a crash
// at any moment. Old and new state are each a file or a symlink.
type change struct {
	Base   string `json:"base,omitempty"` // Config.Root: nothing may lead out of it; empty: the machine
	Prefix string `json:"prefix"`         // absolute, below Base: the folder that nothing below it may lead out of
	Folder string `json:"folder"`         // below Prefix: where all the other names lie
	Name   string `json:"name"`           // what others see
	New    string `json:"new"`            // the new state before the switch
	Old    string `json:"old"`            // the old state after it
	Work   string `json:"work"`           // the handler's own

	Made []string `json:"made,omitempty"` // belong to the new state: removed with it
	Drop []string `json:"drop,omitempty"` // belong to the old state: removed with it

	// Since the last note before the switch:
	Had   bool   `json:"had,omitempty"`   // there was an old state
	Which *which `json:"which,omitempty"` // which file New is; nil: the switch has not begun
}

// which tells a file from one that somebody else has put in its place. The number alone does not: it is given again as
// soon as the file is gone.
type which struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	Size   int64  `json:"size"`
	Time   int64  `json:"time"` // of the last change, in nanoseconds since 1970
}

func whichOf(info fs.FileInfo) (which, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return which{}, false
	}
	return which{uint64(st.Dev), st.Ino, info.Size(), info.ModTime().UnixNano()}, true //nolint:unconvert // not everywhere of this type
}

const temporary = ".dunlin-" // every name of ours begins with it; .conf.d folders and shells pass over such names

func newChange(base, prefix, destination string) *change {
	id := strings.ToLower(rand.Text()[:10])
	folder, name := path.Split(destination)
	if path.Clean(folder) != prefix && !strings.HasPrefix(folder, strings.TrimSuffix(prefix, "/")+"/") {
		prefix = path.Clean(folder) // the destination is the prefix itself
	}
	below := strings.Trim(strings.TrimPrefix(folder, prefix), "/")
	if below == "" {
		below = "."
	}
	return &change{
		Base: base, Prefix: prefix, Folder: below, Name: name,
		New: temporary + id + ".new", Old: temporary + id + ".old", Work: temporary + id + ".work",
	}
}

// check refuses a change that no transaction of ours has written down.
func (c *change) check() error {
	if c == nil {
		return nil
	}
	ok := (c.Base == "" || isAbsolute(c.Base)) && isAbsolute(c.Prefix) && fs.ValidPath(c.Folder) &&
		isName(c.Name) && isTemporary(c.New) && isTemporary(c.Old) && isTemporary(c.Work)
	for _, p := range append(append([]string{}, c.Made...), c.Drop...) {
		ok = ok && fs.ValidPath(p) && p != "." && p != c.Name
	}
	if !ok {
		return errors.New("it describes a change that cannot be")
	}
	return nil
}

func isAbsolute(s string) bool  { return path.IsAbs(s) && path.Clean(s) == s }
func isName(s string) bool      { return fs.ValidPath(s) && s != "." && !strings.Contains(s, "/") }
func isTemporary(s string) bool { return isName(s) && strings.HasPrefix(s, temporary) }

// open takes hold of the folder, without ever leaving base and prefix on the way to it.
func (c *change) open() (*os.Root, error) {
	prefix, err := c.openPrefix()
	if err != nil {
		return nil, err
	}
	defer prefix.Close()
	return prefix.OpenRoot(c.Folder)
}

// openPrefix follows whatever links the machine has above the prefix, but none that leads out of a base.
func (c *change) openPrefix() (*os.Root, error) {
	if c.Base == "" {
		return os.OpenRoot(c.Prefix)
	}
	base, err := os.OpenRoot(c.Base)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	return base.OpenRoot(c.below())
}

// below is the prefix as seen from the base.
func (c *change) below() string { return path.Clean(strings.TrimPrefix(c.Prefix, "/")) }

// makeFolder makes the folder, and those above it, if they are missing, and sees to it that they last.
func (c *change) makeFolder() error {
	if err := c.makePrefix(); err != nil {
		return err
	}
	prefix, err := c.openPrefix()
	if err != nil {
		return err
	}
	defer prefix.Close()
	made, err := disk.MkdirAll(prefix, c.Folder)
	if err != nil || !made {
		return err
	}
	return disk.SyncTree(prefix)
}

func (c *change) makePrefix() error {
	if c.Base == "" {
		return os.MkdirAll(c.Prefix, 0o755)
	}
	if err := os.MkdirAll(c.Base, 0o755); err != nil {
		return err
	}
	base, err := os.OpenRoot(c.Base)
	if err != nil {
		return err
	}
	defer base.Close()
	_, err = disk.MkdirAll(base, c.below())
	return err
}

// path is where the name lies on this machine.
func (c *change) path() string { return path.Join("/", c.Base, c.Prefix, c.Folder, c.Name) }

// in does something in the folder. Without a change, or without the folder, there is nothing to do.
func (c *change) in(do func(dir *os.Root) error) error {
	if c == nil {
		return nil
	}
	dir, err := c.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(do(dir), dir.Close())
}

// prepare looks at both states before they are switched.
func (c *change) prepare(dir *os.Root) error {
	fresh, err := dir.Lstat(c.New)
	if err != nil {
		return err
	}
	w, ok := whichOf(fresh)
	if !ok {
		return errors.New("the file system tells nothing about its files")
	}
	c.Which = &w
	old, err := dir.Lstat(c.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.Had = false
		return nil
	case err != nil:
		return err
	case !old.Mode().IsRegular() && old.Mode().Type() != fs.ModeSymlink:
		return fault.WithHint(
			fault.New(fault.Install, "%s is neither a file nor a link but %v", c.path(), old.Mode().Type()),
			"move it away, then try again")
	}
	c.Had = true
	return nil
}

// switchOver keeps the old state under another name, and then replaces it in one step.
func (c *change) switchOver(dir *os.Root, probe func(string)) error {
	if c.Had {
		if err := keep(dir, c.Name, c.Old); err != nil {
			return fmt.Errorf("keep what was there: %w", err)
		}
		// The second name must reach the disk before the first one is lost.
		if err := disk.SyncDir(dir); err != nil {
			return err
		}
		probe("kept")
	}
	if err := dir.Rename(c.New, c.Name); err != nil {
		return err
	}
	probe("switched")
	return disk.SyncDir(dir)
}

// undo restores the old state. It may be called again after a crash in its middle.
func (c *change) undo(dir *os.Root) error {
	if c.Which == nil || !c.isNew(dir) {
		return nil
	}
	if err := c.restore(dir); err != nil {
		return fault.WithHint(
			fault.New(fault.Install, "put back %s: %w", c.path(), err),
			"make %s writable again: nothing is installed before it is put back", path.Dir(c.path()))
	}
	return disk.SyncDir(dir)
}

// isNew reports whether it is the new state that others see.
func (c *change) isNew(dir *os.Root) bool {
	info, err := dir.Lstat(c.Name)
	if err != nil {
		return false
	}
	w, ok := whichOf(info)
	return ok && w == *c.Which
}

// restore puts the old state back. If somebody has taken it away meanwhile, the new one stays rather than none.
func (c *change) restore(dir *os.Root) error {
	if !c.Had {
		return dir.Remove(c.Name)
	}
	if err := dir.Rename(c.Old, c.Name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// tidy takes away what only one of the two states needs: the new one's when it was undone, the old one's when it holds.
func (c *change) tidy(dir *os.Root, holds bool) error {
	names := c.Made
	if holds {
		names = c.Drop
	}
	return errors.Join(remove(dir, append([]string{c.Old, c.New, c.Work}, names...)), disk.SyncDir(dir))
}

func remove(dir *os.Root, names []string) error {
	var err error
	for _, name := range names {
		err = errors.Join(err, dir.RemoveAll(name)) // a missing one is no error
	}
	return err
}

// keep gives what is called name a second name. A hard link costs nothing and keeps everything; where the file system has
// none, or does not let this user make one, it is a copy.
func keep(dir *os.Root, name, second string) error {
	if dir.Link(name, second) == nil {
		return nil
	}
	info, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	if info.Mode().Type() == fs.ModeSymlink {
		target, err := dir.Readlink(name)
		if err != nil {
			return err
		}
		return dir.Symlink(target, second)
	}
	return duplicate(dir, name, second, info)
}

func duplicate(dir *os.Root, name, second string, info fs.FileInfo) error {
	from, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := dir.OpenFile(second, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if st, ok := info.Sys().(*syscall.Stat_t); ok && err == nil {
		err = to.Chown(int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = to.Chmod(info.Mode().Perm() | info.Mode()&(fs.ModeSetuid|fs.ModeSetgid))
	}
	if err == nil {
		err = to.Sync()
	}
	return errors.Join(err, to.Close())
}
