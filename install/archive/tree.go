package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dunlin-project/dunlin/internal/fault"
)

const (
	copyBuffer  = 256 << 10          // bytes
	othersWrite = fs.FileMode(0o022) // bits that nothing gets: a zip from another system says 0666 for want of better
)

// tree is the folder being filled. One goroutine uses it.
type tree struct {
	ctx   context.Context //nolint:containedctx // it lives as long as one call of Unpack
	dir   *os.Root
	left  int64 // bytes that files may still take
	most  int   // entries
	owner *Owner
	names int             // bytes of the names so far
	seen  map[string]kind // everything made so far; folders that only a longer name mentions, too
	links []string        // symlinks, to be followed at the end
	buf   []byte
	stats Stats
}

func newTree(ctx context.Context, dir *os.Root, o Options) *tree {
	if o.Entries == 0 {
		o.Entries = MaxEntries
	}
	return &tree{
		ctx: ctx, dir: dir, left: o.Bytes, most: o.Entries, owner: o.Owner,
		seen: map[string]kind{".": folder}, buf: make([]byte, copyBuffer),
	}
}

// put checks an entry and makes it.
func (t *tree) put(e entry) error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	if err := t.count(e); err != nil {
		return err
	}
	name, err := cleanName(e.name, e.kind)
	if err != nil {
		return err
	}
	if name == "." { // the folder itself: made already, and by us
		return nil
	}
	e.name = name
	if err := checkMode(e); err != nil {
		return err
	}
	if err := t.claim(e); err != nil {
		return err
	}
	return t.make(e)
}

func (t *tree) count(e entry) error {
	t.stats.Entries++
	t.names += len(e.name) + len(e.link)
	switch {
	case t.stats.Entries > t.most:
		return hostile("more than %d entries", t.most)
	case t.names > MaxNames:
		return hostile("more than %d bytes of names", MaxNames)
	}
	return nil
}

func (t *tree) make(e entry) error {
	var err error
	switch e.kind {
	case file:
		err = t.makeFile(e)
	case folder:
		err = t.makeFolder(e)
	case symlink:
		err = t.makeSymlink(e)
	case hardlink:
		return t.makeHardLink(e)
	default:
		return hostile("%q is neither file, folder nor link", shorten(e.name))
	}
	if err != nil || t.owner == nil {
		return err
	}
	return t.dir.Lchown(e.name, t.owner.UID, t.owner.GID)
}

// claim takes a name that nothing has yet, and its folders, none of which may be anything else.
func (t *tree) claim(e entry) error {
	switch old, taken := t.seen[e.name]; {
	case taken && old == folder && e.kind == folder: // mentioned by a longer name, or by an archive that was appended to
		return nil
	case taken:
		return hostile("%q is in it twice", shorten(e.name))
	}
	parents, err := t.parents(e.name)
	if err != nil {
		return err
	}
	for _, p := range parents {
		if err := t.mkdir(p); err != nil {
			return err
		}
	}
	if e.kind != folder { // a folder is entered when it is made
		t.seen[e.name] = e.kind
	}
	return nil
}

// parents returns the folders above name that are not there yet, the outermost first.
func (t *tree) parents(name string) ([]string, error) {
	var missing []string
	for p := path.Dir(name); ; p = path.Dir(p) {
		switch k, there := t.seen[p]; {
		case !there:
			missing = append([]string{p}, missing...)
		case k != folder: // writing through a link of its own is how an archive gets out
			return nil, hostile("%q lies below %q, which is no folder", shorten(name), shorten(p))
		default:
			return missing, nil
		}
	}
}

func (t *tree) mkdir(name string) error {
	// Names that nothing in the archive spells out take memory and inodes just the same.
	if t.names += len(name); t.names > MaxNames || len(t.seen) > 2*t.most {
		return hostile("too many folders")
	}
	if err := t.dir.Mkdir(name, 0o755); err != nil {
		return made(name, err)
	}
	if err := t.dir.Chmod(name, 0o755); err != nil { // whatever the umask
		return err
	}
	t.seen[name] = folder
	if t.owner == nil {
		return nil
	}
	return t.dir.Lchown(name, t.owner.UID, t.owner.GID)
}

func (t *tree) makeFolder(e entry) error {
	if _, there := t.seen[e.name]; !there {
		if err := t.mkdir(e.name); err != nil {
			return err
		}
	}
	// With less than these bits nobody but root could fill the folder, or ever remove it.
	return t.dir.Chmod(e.name, e.mode.Perm()&^othersWrite|0o700)
}

func (t *tree) makeFile(e entry) error {
	if e.size < 0 || e.size > t.left {
		return t.tooBig()
	}
	f, err := t.dir.OpenFile(e.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return made(e.name, err)
	}
	err = t.fill(f, e)
	if err == nil {
		err = f.Chmod(e.mode.Perm() &^ othersWrite)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return t.setTime(e)
}

// fill copies by hand to know which side failed: the archive's word is not trusted, the disk's is passed on.
func (t *tree) fill(f *os.File, e entry) error {
	for {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		n, err := e.body.Read(t.buf)
		if t.left -= int64(n); t.left < 0 {
			return t.tooBig()
		}
		t.stats.Bytes += int64(n)
		if _, err := f.Write(t.buf[:n]); err != nil {
			return err
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return damaged(shorten(e.name), err)
		}
	}
}

func (t *tree) tooBig() error {
	return hostile("it holds more than the signed %d bytes", t.stats.Bytes+t.left)
}

// setTime keeps the time of a file, because builds and caches look at it. Times that file systems cannot hold are left.
func (t *tree) setTime(e entry) error {
	if e.time.Before(time.Unix(0, 0)) || e.time.After(time.Unix(1<<32, 0)) {
		return nil
	}
	return t.dir.Chtimes(e.name, time.Time{}, e.time)
}

func (t *tree) makeSymlink(e entry) error {
	if err := checkLink(e); err != nil {
		return err
	}
	if err := t.dir.Symlink(e.link, e.name); err != nil {
		return made(e.name, err)
	}
	t.links = append(t.links, e.name)
	return nil
}

// makeHardLink makes one only to a file of this archive. Its mode and owner are that file's.
func (t *tree) makeHardLink(e entry) error {
	target, err := cleanName(e.link, file)
	if err != nil {
		return err
	}
	if t.seen[target] != file {
		return hostile("hard link %q leads to %q, which is no file before it", shorten(e.name), shorten(target))
	}
	t.seen[e.name] = file
	return made(e.name, t.dir.Link(target, e.name))
}

// finish follows every link, now that all of them are there, and opens the folder to its readers.
func (t *tree) finish() error {
	if len(t.seen) == 1 {
		return hostile("it is empty")
	}
	for _, name := range t.links {
		// One link's text may look harmless and lead out over another link; the root follows as the kernel does.
		if _, err := t.dir.Stat(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return hostile("link %q leads nowhere allowed: %w", shorten(name), err)
		}
	}
	if t.owner != nil {
		if err := t.dir.Lchown(".", t.owner.UID, t.owner.GID); err != nil {
			return err
		}
	}
	return t.dir.Chmod(".", 0o755)
}

// cleanName returns the name below the folder, "." for the folder itself. A leading "./" and a folder's trailing slash
// are what tar writes; any other detour is refused.
func cleanName(name string, k kind) (string, error) {
	clean := strings.TrimPrefix(name, "./")
	if k == folder {
		clean = strings.TrimSuffix(clean, "/")
	}
	if name == "./" && k == folder {
		return ".", nil
	}
	if err := checkText(clean); err != nil {
		return "", err
	}
	switch {
	case clean == "" || clean != path.Clean(clean) || !fs.ValidPath(clean):
		return "", hostile("name %q is absolute, leads upwards or takes a detour", shorten(name))
	case len(clean) > MaxPath || strings.Count(clean, "/") >= MaxDepth:
		return "", hostile("name %q is longer than %d bytes or deeper than %d folders", shorten(name), MaxPath, MaxDepth)
	}
	for _, element := range strings.Split(clean, "/") {
		if len(element) > MaxElement {
			return "", hostile("name %q has an element longer than %d bytes", shorten(name), MaxElement)
		}
	}
	return clean, nil
}

// checkText keeps out what would mislead whoever lists the folder.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return hostile("name %q is not UTF-8", shorten(s))
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return hostile("name %q holds the control character %q", shorten(s), r)
		}
	}
	return nil
}

func checkMode(e entry) error {
	if e.mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
		return fault.WithHint(
			hostile("%q has the setuid, setgid or sticky bit", shorten(e.name)),
			"the publisher must leave such bits to the packages of the system")
	}
	return nil
}

// checkLink looks at the text of a symlink; where it leads over other links is looked at in the end.
func checkLink(e entry) error {
	if e.link == "" || len(e.link) > MaxPath || path.IsAbs(e.link) || !fs.ValidPath(path.Join(path.Dir(e.name), e.link)) {
		return hostile("link %q leads to %q, out of the folder", shorten(e.name), shorten(e.link))
	}
	return checkText(e.link)
}

// made explains why something could not be made: in a new folder a name that is taken means that the file system sees
// two names of the archive as one (case, Unicode forms).
func made(name string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return hostile("%q is in it twice: %w", shorten(name), err)
	}
	return err
}

// damaged wraps what a decoder says about the archive.
func damaged(where string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return hostile("%s: it ends too early: %w", where, err)
	}
	return hostile("%s: %w", where, err)
}

// shorten keeps messages readable; %q at the place of use takes care of the rest.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s... (%d bytes)", s[:most], len(s))
}
