package cachenode

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

// source is where bytes of content lie. store.Partial and store.File are.
type source interface {
	Holding
	Has(i int) bool
	Doubt(i int)
	Open() (*os.File, error)
	Close() error
}

// content is one content that is open: stored, on its way, or only known. It is opened by its first user.
type content struct {
	node    *Node
	root    piecehash.Root
	opening sync.Once
	openErr error
	item    *Item // set by opening

	users int   // guarded by node.mu
	used  int64 // guarded by node.mu: node.clock at the newest use

	mu      sync.Mutex            // guards the rest
	src     source                // nil: nothing is here
	number  int                   // of src; another one is another file
	seat    *seat                 // among the devices; nil: not shared
	checked piecehash.Bitmap      // pieces of src that were hashed in this process: they may leave
	waiting map[int]chan struct{} // by piece; closed when it came or the fetch ended
	fill    *fill                 // nil: nothing is being fetched
	err     error                 // of the newest fetch
	failed  time.Time             // when it ended
	// failures is how many fetches have failed since one succeeded.
	failures int
	closed   bool
}

// fill is one fetch under way.
type fill struct {
	done   chan struct{}
	ahead  bool         // it began before anybody asked
	limit  *fetch.Limit // of this fetch alone
	stop   func()       // ends it; what has come stays
	wanted bool         // somebody has asked for the content by HTTP; guarded by content.mu
	asked  bool         // or is a device that shares it; guarded by content.mu
}

func newFill() *fill { return &fill{done: make(chan struct{}), limit: fetch.NewLimit(0)} }

// openStored looks for the content in the store. Without an item it must be there whole, for only then is there a manifest.
func (c *content) openStored(item *Item) error {
	f, err := c.node.cfg.Store.File(c.root)
	switch {
	case err == nil:
		if item == nil || item.Manifest.Content != f.Manifest().Content { // stored with another piece length
			old := item
			item = &Item{Manifest: f.Manifest()}
			if old != nil {
				item.Name, item.Origins, item.Hints = old.Name, old.Origins, old.Hints
			}
		}
	case item == nil && errors.Is(err, store.ErrNotFound) && !disk(err): // else its record is there and cannot be read now
		return ErrUnknown
	case item == nil:
		return fault.Wrap(fault.Unavailable, err)
	}
	c.item = item
	if err == nil {
		c.use(f)
		c.share(f)
	}
	return nil
}

// use serves from src from now on, and closes what was served from before unless it is the same.
func (c *content) use(src source) {
	c.mu.Lock()
	old := c.src
	c.src = src
	c.number++
	c.checked = piecehash.NewBitmap(c.item.Manifest.Pieces())
	c.wakeAll()
	c.mu.Unlock()
	if old != nil && old != src {
		c.putAway(old)
	}
}

func (c *content) putAway(src source) {
	if err := src.Close(); err != nil {
		c.node.log.Warn("content was not put away well", slog.Any("root", c.root), slog.Any("err", err))
	}
}

// share takes a seat among the devices, in place of the one that the content had. It returns nil where there are none, and
// for content that may not be given away (any more).
func (c *content) share(h Holding) *seat {
	c.leave()
	if c.node.cfg.Swarm == nil || c.node.forbids(c.root) {
		return nil
	}
	room, err := c.node.cfg.Swarm.Join(c.kept(h))
	if err != nil {
		c.node.log.Warn("content is not shared with devices", slog.Any("root", c.root), slog.Any("err", err))
		return nil
	}
	s := &seat{Room: room}
	c.mu.Lock()
	c.seat = s
	c.mu.Unlock()
	return s
}

// isApart reports whether something is here that devices do not share, while nothing is fetched.
func (c *content) isApart() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.src != nil && c.seat == nil && c.fill == nil
}

// leave gives the seat up.
func (c *content) leave() {
	c.mu.Lock()
	s := c.seat
	c.seat = nil
	c.mu.Unlock()
	if s == nil {
		return
	}
	if err := s.Close(); err != nil {
		c.node.log.Warn("content was not left well", slog.Any("root", c.root), slog.Any("err", err))
	}
}

// close ends the use of content that nobody uses and nobody fetches.
func (c *content) close() {
	c.leave()
	c.mu.Lock()
	src := c.src
	c.src, c.closed = nil, true
	c.wakeAll()
	c.mu.Unlock()
	if src != nil {
		c.putAway(src)
	}
}

func (c *content) filling() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fill != nil
}

// ready waits until piece i may leave, and returns the number of the file that it lies in. It has the content fetched if
// need be.
func (c *content) ready(ctx context.Context, i int) (number int, err error) {
	number, _, err = c.readyNow(ctx, i)
	return number, err
}

// readyNow is ready, and reports whether the piece was missing.
func (c *content) readyNow(ctx context.Context, i int) (number int, missed bool, err error) {
	for {
		c.mu.Lock()
		src, number := c.src, c.number
		if c.checked.Has(i) {
			c.mu.Unlock()
			return number, missed, nil
		}
		var wait chan struct{}
		has := src != nil && src.Has(i)
		if !has {
			wait, err = c.await(i)
		}
		c.mu.Unlock()
		if err == nil && has {
			err = c.check(ctx, src, number, i)
		}
		if err != nil {
			return 0, missed, err
		}
		if has {
			continue
		}
		missed = true
		select {
		case <-wait:
		case <-ctx.Done():
			return 0, missed, ctx.Err()
		}
	}
}

// await returns what is closed when piece i may be here. c.mu is held.
func (c *content) await(i int) (chan struct{}, error) {
	if err := c.begin(newFill()); err != nil {
		return nil, err
	}
	c.fill.wanted = true
	c.want()
	w := c.waiting[i]
	if w == nil {
		w = make(chan struct{})
		c.waiting[i] = w
	}
	return w, nil
}

// check has a piece hashed that this process has not seen. A damaged one is no error: it is missing then.
func (c *content) check(ctx context.Context, src source, number, i int) error {
	var buf []byte
	select {
	case buf = <-c.node.buffers:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { c.node.buffers <- buf }()
	if c.isChecked(number, i) { // by another reader, while this one waited
		return nil
	}
	b, err := src.ReadPiece(i, buf)
	switch {
	case err == nil:
		buf = b
		c.node.metrics.checks.WithLabelValues(checkGood).Inc()
		c.mark(number, i)
	case errors.Is(err, store.ErrDropped):
		c.node.metrics.checks.WithLabelValues(checkDamaged).Inc()
		_ = c.node.keeper.Failed(err) // the disk may be why
		c.node.log.Warn("a stored piece is damaged and is fetched again", slog.Any("root", c.root), slog.Int("piece", i), slog.Any("err", err))
	case errors.Is(err, store.ErrMissing), errors.Is(err, os.ErrClosed): // things have changed: look again
		if c.isClosed() {
			return fault.New(fault.Unavailable, "serve %v: it was closed", c.root)
		}
	default:
		return err
	}
	return nil
}

func (c *content) isChecked(number, i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.number == number && c.checked.Has(i)
}

func (c *content) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// mark notes that piece i of file number was hashed.
func (c *content) mark(number, i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.number == number {
		c.checked.Set(i)
		c.wake(i)
	}
}

// doubt has a piece looked at again before it leaves once more: reading it has failed.
func (c *content) doubt(number, i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.number == number {
		c.checked.Clear(i)
	}
}

// run returns how many bytes from offset on lie in pieces of file number that may leave, at most runLength.
func (c *content) run(number int, offset int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, end := c.item.Manifest, offset
	for i := int(offset / m.PieceLength()); c.number == number && c.checked.Has(i) && end-offset < runLength; i++ {
		end = m.Offset(i) + m.PieceSize(i)
	}
	return end - offset
}

// open returns a reader on the file, and its number.
func (c *content) open() (*os.File, int, error) {
	for {
		c.mu.Lock()
		src, number := c.src, c.number
		c.mu.Unlock()
		if src == nil {
			return nil, 0, fault.New(fault.Unavailable, "serve %v: it was closed", c.root)
		}
		f, err := src.Open()
		if err == nil || c.current() == number {
			return f, number, err
		}
	}
}

func (c *content) current() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.number
}

// wake and wakeAll let readers look again. c.mu is held.
func (c *content) wake(i int) {
	if w := c.waiting[i]; w != nil {
		close(w)
		delete(c.waiting, i)
	}
}

func (c *content) wakeAll() {
	for i := range c.waiting {
		c.wake(i)
	}
}
