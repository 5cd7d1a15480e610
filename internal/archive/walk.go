package archive

import (
	"context"
	"io"
	"io/fs"
	"path"
	"time"
)

// entry is one thing in an archive, as the archive describes it: nothing of it has been checked.
type entry struct {
	name string
	kind kind
	mode fs.FileMode
	time time.Time
	size int64
	link string    // of a symlink and a hard link: where to
	body io.Reader // of a file
}

type kind int

const (
	file kind = iota + 1
	folder
	symlink
	hardlink
)

// node is an entry, or a folder that only a longer name mentions, that has been checked.
type node struct {
	name  string // clean; its folder is there
	kind  kind
	mode  fs.FileMode // permission bits only
	time  time.Time
	fresh bool      // of a folder: it is not there yet
	link  string    // of a symlink: where to; of a hard link: the clean name of a file before it
	body  io.Reader // of a file: its errors are those of Unpack already
}

// maker makes what the walk has checked.
type maker interface {
	// make makes one node, and reads the body of a file to its end.
	make(n node) error
	// finish is called once, when everything is made and sound.
	finish(ctx context.Context) error
}

// walk is an archive on its way through the rules. One goroutine uses it.
type walk struct {
	ctx     context.Context //nolint:containedctx // it lives as long as one call of Unpack or Check
	to      maker
	size    int64             // bytes that files may take together
	left    int64             // of these, not taken yet
	most    int               // entries
	names   int               // bytes of the names so far
	seen    map[string]kind   // everything made so far; folders that only a longer name mentions, too
	links   []string          // symlinks, to be followed at the end
	targets map[string]string // where they lead
	stats   Stats
}

func newWalk(ctx context.Context, o Options, to maker) *walk {
	if o.Entries == 0 {
		o.Entries = MaxEntries
	}
	return &walk{
		ctx: ctx, to: to, size: o.Bytes, left: o.Bytes, most: o.Entries,
		seen: map[string]kind{".": folder}, targets: map[string]string{},
	}
}

// put checks an entry and has it made.
func (w *walk) put(e entry) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if err := w.count(e); err != nil {
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
	if err := w.claim(e); err != nil {
		return err
	}
	n, err := w.check(e)
	if err != nil {
		return err
	}
	return w.to.make(n)
}

func (w *walk) count(e entry) error {
	w.stats.Entries++
	w.names += len(e.name) + len(e.link)
	switch {
	case w.stats.Entries > w.most:
		return hostile("more than %d entries", w.most)
	case w.names > MaxNames:
		return hostile("more than %d bytes of names", MaxNames)
	}
	return nil
}

// claim sees to it that nothing has the name yet, and that the folders above it are there and are folders.
func (w *walk) claim(e entry) error {
	switch old, taken := w.seen[e.name]; {
	case taken && old == folder && e.kind == folder: // mentioned by a longer name, or by an archive that was appended to
		return nil
	case taken:
		return hostile("%q is in it twice", shorten(e.name))
	}
	parents, err := w.parents(e.name)
	if err != nil {
		return err
	}
	for _, p := range parents {
		if err := w.enter(p); err != nil {
			return err
		}
		if err := w.to.make(node{name: p, kind: folder, mode: 0o755, fresh: true}); err != nil {
			return err
		}
	}
	return nil
}

// parents returns the folders above name that are not there yet, the outermost first.
func (w *walk) parents(name string) ([]string, error) {
	var missing []string
	for p := path.Dir(name); ; p = path.Dir(p) {
		switch k, there := w.seen[p]; {
		case !there:
			missing = append([]string{p}, missing...)
		case k != folder: // writing through a link of its own is how an archive gets out
			return nil, hostile("%q lies below %q, which is no folder", shorten(name), shorten(p))
		default:
			return missing, nil
		}
	}
}

// enter counts a new folder. Names that nothing in the archive spells out take memory and inodes just the same.
func (w *walk) enter(name string) error {
	if w.names += len(name); w.names > MaxNames || len(w.seen) > 2*w.most {
		return hostile("too many folders")
	}
	w.seen[name] = folder
	return nil
}

// check looks at what the kinds have of their own, and takes the entry in.
func (w *walk) check(e entry) (node, error) {
	n := node{name: e.name, kind: e.kind, mode: e.mode.Perm(), time: e.time}
	var err error
	switch e.kind {
	case file:
		n.body, err = w.body(e)
	case folder:
		n.fresh, err = w.folder(e.name)
	case symlink:
		n.link, err = e.link, checkLink(e)
		w.links, w.targets[e.name] = append(w.links, e.name), e.link
	case hardlink:
		n.link, err = w.hardLink(e)
	default:
		err = hostile("%q is neither file, folder nor link", shorten(e.name))
	}
	if w.seen[e.name] = e.kind; e.kind == hardlink {
		w.seen[e.name] = file
	}
	return n, err
}

func (w *walk) body(e entry) (io.Reader, error) {
	if e.size < 0 || e.size > w.left {
		return nil, w.tooLarge()
	}
	return &content{w, e.body, e.name}, nil
}

func (w *walk) folder(name string) (fresh bool, err error) {
	if _, there := w.seen[name]; there {
		return false, nil
	}
	return true, w.enter(name)
}

// hardLink takes links only to files of this archive.
func (w *walk) hardLink(e entry) (string, error) {
	target, err := cleanName(e.link, file)
	if err == nil && w.seen[target] != file {
		err = hostile("hard link %q leads to %q, which is no file before it", shorten(e.name), shorten(target))
	}
	return target, err
}

func (w *walk) tooLarge() error {
	return hostile("%w: more than the signed %d bytes", ErrTooLarge, w.size)
}

// content is what one file holds, counted as it comes and not as it is announced.
type content struct {
	w    *walk
	r    io.Reader
	name string
}

func (c *content) Read(b []byte) (int, error) {
	if err := c.w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(b)
	if c.w.left -= int64(n); c.w.left < 0 {
		return 0, c.w.tooLarge()
	}
	c.w.stats.Bytes += int64(n)
	if err != nil && err != io.EOF {
		return n, damaged(shorten(c.name), err)
	}
	return n, err
}

// finish follows every link, now that all names are known.
func (w *walk) finish() error {
	if len(w.seen) == 1 {
		return hostile("it is empty")
	}
	for _, name := range w.links {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if err := w.follow(name); err != nil {
			return hostile("link %q leads nowhere allowed: %w", shorten(name), err)
		}
	}
	return w.to.finish(w.ctx)
}
