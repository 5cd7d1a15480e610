package urlcache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
)

// Why bytes of a generation cannot be had.
var (
	// errChanged: there is another version at the URL. An answer of this one cannot go on.
	errChanged = errors.New("the file at the origin has changed")
	// errNoRoom: nothing can be kept now, on a disk that is full or broken. An answer goes on without.
	errNoRoom = errors.New("there is no room to keep it")
)

// generation is one version of the file at a URL, in slices that are there, on their way, or missing.
type generation struct {
	e     *entry
	files files
	is    version
	data  *os.File
	sums  *os.File

	users   int  // guarded by Cache.mu
	retired bool // guarded by Cache.mu: its files are deleted, and closed when its users have gone
	closed  bool // guarded by Cache.mu

	mu      sync.Mutex       // guards the rest
	have    piecehash.Bitmap // slices that are on the disk, with their sum
	checked piecehash.Bitmap // those of them that this process has hashed
	since   time.Time        // when it last believed in none
	sum     []sum            // of the slices that are there
	flights map[int]*flight  // slices that are on their way
	readers map[*reader]bool // answers under way
	moved   chan struct{}    // closed, and made anew, when a flight ends
	plain   bool             // the origin has no ranges: one stream brings all of it
	streams int              // under way
	brought int              // requests that have come to their end
	width   int              // how many streams the origin seems to bear
	ended   error            // errChanged: no further slice is fetched

	written    piecehash.Bitmap // slices of which it is not known whether the disk has taken them
	confirming bool             // the disk is being asked that
}

// flight is a slice that is on its way.
type flight struct {
	n    int64         // bytes of it that are in the file
	more chan struct{} // closed, and made anew, when n has grown; closed for good at its end
	err  error         // why it has ended, for those who wait; nil: look again
}

// reader is an answer under way: it is at an offset and wants what is before an end. Guarded by generation.mu.
type reader struct {
	at, end int64
	waited  bool // some of what it wants was not there
}

func (c *Cache) newGeneration(e *entry, r record, data, sums *os.File) *generation {
	n := int((r.Is.Size + c.slice - 1) / c.slice)
	return &generation{
		e: e, files: files{c.cfg.Dir, e.key, r.Generation}, is: r.Is, data: data, sums: sums, plain: r.Plain,
		have: piecehash.NewBitmap(n), checked: piecehash.NewBitmap(n), sum: make([]sum, n),
		since: time.Now(), flights: make(map[int]*flight), readers: make(map[*reader]bool), moved: make(chan struct{}),
		width: c.grid.streams, written: piecehash.NewBitmap(n),
	}
}

// load reads which slices are there. What follows a damaged entry of the list is cut off.
func (g *generation) load() error {
	info, err := g.sums.Stat()
	if err != nil {
		return err
	}
	b := make([]byte, min(info.Size(), int64(2*len(g.sum)+16)*sumSize))
	if _, err := io.ReadFull(io.NewSectionReader(g.sums, 0, int64(len(b))), b); err != nil {
		return err
	}
	valid := parseSums(g.files.id, len(g.sum), b, func(i int, s sum) {
		g.have.Set(i)
		g.sum[i] = s
	})
	if int64(valid) < info.Size() {
		return g.sums.Truncate(int64(valid))
	}
	return nil
}

// stored is how many bytes are there.
func (g *generation) stored() (n int64) {
	for i := range g.sum {
		if g.have.Has(i) {
			n += g.length(i)
		}
	}
	return n
}

func (g *generation) close() {
	g.data.Close()
	g.sums.Close()
}

func (g *generation) offset(i int) int64 { return int64(i) * g.e.c.slice }

func (g *generation) length(i int) int64 { return min(g.e.c.slice, g.is.Size-g.offset(i)) }

// isBusy reports whether something is on its way.
func (g *generation) isBusy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.streams > 0
}

// join notes an answer, so that what it wants is fetched.
func (g *generation) join(r *reader) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.readers[r] = true
}

func (g *generation) part(r *reader) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.readers, r)
}

// next waits until bytes at an offset may leave, and returns how many: of a slice that is on its way as many as have come.
func (g *generation) next(ctx context.Context, r *reader, off int64) (int64, error) {
	for {
		s, err := g.look(r, off)
		switch {
		case err != nil || s.n > 0:
			return s.n, err
		case s.wait == nil:
			if err := g.check(ctx, int(off/g.e.c.slice)); err != nil {
				return 0, err
			}
			continue
		}
		select {
		case <-s.wait:
			if err := g.failure(s.on); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// sight is what a reader finds at an offset: n bytes that may leave, or something to wait for, or else a slice to check.
type sight struct {
	n    int64
	wait <-chan struct{}
	on   *flight // nil: none that the reader waits for
}

func (g *generation) look(r *reader, off int64) (sight, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.at = off
	g.forgetChecks(time.Now())
	i := int(off / g.e.c.slice)
	var err error
	if !g.have.Full() {
		err = g.plan() // also for what comes after what is here: it is fetched while that is sent
	}
	switch {
	case g.checked.Has(i):
		end := off
		for ; i < len(g.sum) && g.checked.Has(i) && end < r.end; i++ {
			end = g.offset(i) + g.length(i)
		}
		return sight{n: min(end, r.end) - off}, nil
	case g.have.Has(i):
		return sight{}, nil
	}
	r.waited = true
	f := g.flights[i]
	switch {
	case f == nil && err != nil:
		return sight{}, err
	case f == nil:
		return sight{wait: g.moved}, nil
	}
	if here := g.offset(i) + f.n; here > off {
		return sight{n: min(here, r.end) - off}, nil
	}
	return sight{wait: f.more, on: f}, nil
}

func (g *generation) failure(f *flight) error {
	if f == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return f.err
}

// forgetChecks has every slice hashed again before it next leaves, when that was long ago: disks rot. g.mu is held.
func (g *generation) forgetChecks(now time.Time) {
	if now.Sub(g.since) >= g.e.c.believe {
		g.checked, g.since = piecehash.NewBitmap(len(g.sum)), now
	}
}

// check hashes a slice that this process has not seen, or not lately. A damaged one is no error: it is missing then.
func (g *generation) check(ctx context.Context, i int) error {
	c := g.e.c
	var buf []byte
	select {
	case buf = <-c.buffers:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { c.buffers <- buf }()
	g.mu.Lock()
	pending, want := g.have.Has(i) && !g.checked.Has(i), g.sum[i]
	g.mu.Unlock()
	if !pending { // another reader has done it meanwhile
		return nil
	}
	if int64(cap(buf)) < c.slice {
		buf = make([]byte, c.slice)
	}
	b := buf[:g.length(i)]
	err := forget(g.data, g.offset(i), int64(len(b)))
	if err == nil {
		_, err = g.data.ReadAt(b, g.offset(i))
	}
	if err == nil && sha256.Sum256(b) == want {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.checked.Set(i)
		return nil
	}
	if err == nil {
		err = errors.New("its bytes are not those that were written")
	}
	c.log.Warn("a stored slice is damaged and is fetched again", slog.String("url", label(g.e.url)), slog.Int("slice", i), slog.Any("err", err))
	g.drop(i)
	return nil
}

// drop forgets a slice. Its entry in the list stays: a later one counts, and until then the bytes do not fit to it.
func (g *generation) drop(i int) {
	g.mu.Lock()
	had := g.have.Has(i)
	g.have.Clear(i)
	g.checked.Clear(i)
	g.mu.Unlock()
	if had {
		g.e.c.shrink(g, g.length(i))
	}
}

// doubt has slices looked at again before they leave once more: sending them has failed.
func (g *generation) doubt(off, end int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := int(off / g.e.c.slice); i < len(g.sum) && g.offset(i) < end; i++ {
		g.checked.Clear(i)
	}
}

// settle notes that a slice is whole in the file. It is there when its sum is.
func (g *generation) settle(i int, s sum) error {
	if _, err := g.sums.Write(encodeSum(g.files.id, i, s)); err != nil {
		return fmt.Errorf("keep slice %d: %w", i, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.have.Set(i)
	g.checked.Set(i)
	g.written.Set(i)
	g.sum[i] = s
	g.land(i, nil)
	return nil
}

// land ends a flight. g.mu is held.
func (g *generation) land(i int, err error) {
	if f := g.flights[i]; f != nil {
		delete(g.flights, i)
		f.err = err
		close(f.more)
	}
	g.wake()
}

// wake lets those look again who wait for a slice that is not on its way. g.mu is held.
func (g *generation) wake() {
	close(g.moved)
	g.moved = make(chan struct{})
}

// finish lets no further slice be fetched.
func (g *generation) finish(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended == nil {
		g.ended = err
	}
	for i := range g.flights {
		g.land(i, err)
	}
}
