package archive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	copyBuffer  = 256 << 10          // bytes
	othersWrite = fs.FileMode(0o022) // bits that nothing gets: a zip from another system says 0666 for want of better
)

// nowhere is the maker of Check: it reads what files hold, so that all of it has been decoded, and keeps nothing.
type nowhere struct{}

func (nowhere) make(n node) error {
	if n.kind != file {
		return nil
	}
	_, err := io.Copy(io.Discard, n.body)
	return err
}

func (nowhere) finish(context.Context) error { return nil }

// disk is the maker of Unpack: the folder being filled. One goroutine uses it.
type disk struct {
	dir   *os.Root
	owner *Owner
	links []string // symlinks, to be followed at the end
	buf   []byte
}

func (d *disk) make(n node) error {
	var err error
	switch n.kind {
	case file:
		err = d.makeFile(n)
	case folder:
		err = d.makeFolder(n)
	case symlink:
		d.links = append(d.links, n.name)
		err = made(n.name, d.dir.Symlink(n.link, n.name))
	case hardlink: // mode and owner are those of the file
		return made(n.name, d.dir.Link(n.link, n.name))
	}
	if err != nil || d.owner == nil {
		return err
	}
	return d.dir.Lchown(n.name, d.owner.UID, d.owner.GID)
}

func (d *disk) makeFolder(n node) error {
	if n.fresh {
		if err := d.dir.Mkdir(n.name, 0o700); err != nil {
			return made(n.name, err)
		}
	}
	// Whatever the umask; and with less than 0700 nobody but root could fill the folder, or ever remove it.
	return d.dir.Chmod(n.name, n.mode&^othersWrite|0o700)
}

func (d *disk) makeFile(n node) error {
	f, err := d.dir.OpenFile(n.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return made(n.name, err)
	}
	// The body's errors are about the archive and say so; the file's are the disk's, and stay as they are.
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, n.body, d.buf)
	if err == nil {
		err = f.Chmod(n.mode &^ othersWrite)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return d.setTime(n)
}

// setTime keeps the time of a file, because builds and caches look at it. Times that file systems cannot hold are left.
func (d *disk) setTime(n node) error {
	if n.time.Before(time.Unix(0, 0)) || n.time.After(time.Unix(1<<32, 0)) {
		return nil
	}
	return d.dir.Chtimes(n.name, time.Time{}, n.time)
}

// finish follows every link on the disk, too, and opens the folder to its readers.
func (d *disk) finish(ctx context.Context) error {
	for _, name := range d.links {
		if err := ctx.Err(); err != nil {
			return err
		}
		// The walk has followed it by the names of the archive. The root follows as the kernel does; if they ever
		// differed, the root would be right.
		if _, err := d.dir.Stat(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return hostile("link %q leads nowhere allowed: %w", shorten(name), err)
		}
	}
	if d.owner != nil {
		if err := d.dir.Lchown(".", d.owner.UID, d.owner.GID); err != nil {
			return err
		}
	}
	return d.dir.Chmod(".", 0o755)
}

// made explains why something could not be made: in a new folder a name that is taken means that the file system sees
// two names of the archive as one (case, Unicode forms).
func made(name string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return hostile("%q is in it twice: %w", shorten(name), err)
	}
	return err
}
