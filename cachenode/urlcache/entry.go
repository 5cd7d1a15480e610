package urlcache

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// entry is what is known of one URL. Its fields are guarded by Cache.mu, but for those that never change.
type entry struct {
	c   *Cache
	key key
	url string // "" until somebody asks: the disk has names only

	users  int         // requests, and the one who asks
	used   int64       // Cache.clock at the newest use
	bytes  int64       // that are kept
	id     string      // of the generation that is kept; "" for none
	gen    *generation // nil: none, or it is not open
	rec    record      // of gen
	asking *asking     // nil: nobody finds out what there is now

	passUntil time.Time // answers are not kept
	passed    error     // errPass, with the reason for it
	failure   error     // of the newest time that the origin was asked; nil when it answered
	failedAt  time.Time

	remembered bool // it is among Cache.failures
}

// view is a generation as an answer uses it.
type view struct {
	gen    *generation
	rec    record
	stale  bool   // the origin could not be asked
	joined func() // to be called when the answer reads, or does not
}

// wish is what a request wants.
type wish struct {
	first int         // slice that its bytes begin in, as far as that is known
	again bool        // have the origin asked, however fresh it is
	only  bool        // do not have it asked at all
	head  bool        // none of its bytes
	from  http.Header // of the request
}

// errPass is the error of a URL whose answers are not kept: they are to be passed through.
var errPass = errors.New("answers of that URL are not kept")

// errPassNow is the errPass of a disk that takes nothing.
var errPassNow = fmt.Errorf("%w: %w", errPass, errNoRoom)

// enter opens the entry of a URL for a request. leave must be called.
func (c *Cache) enter(rawURL string) *entry {
	k := keyOf(rawURL)
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[k]
	if e == nil {
		e = &entry{c: c, key: k}
		c.entries[k] = e
	}
	if e.url == "" { // it was found on the disk, under its key
		e.url = rawURL
	}
	e.users++
	c.clock = max(c.clock+1, time.Now().UnixNano())
	e.used = c.clock
	return e
}

// leave ends the use by a request. A URL of which nothing is known is forgotten, so that asking for what is not there fills
// nothing.
func (c *Cache) leave(e *entry) {
	c.mu.Lock()
	e.users--
	switch {
	case !c.isNothing(e):
	case e.failure != nil || !e.passUntil.IsZero():
		c.remember(e)
	default:
		delete(c.entries, e.key)
	}
	c.mu.Unlock()
	c.closeIdle(maxOpen)
}

// isNothing reports whether nothing is kept of a URL, and nobody wants it now. c.mu is held.
func (c *Cache) isNothing(e *entry) bool {
	return e.users == 0 && e.gen == nil && e.id == "" && c.entries[e.key] == e
}

// remember keeps in mind for a while how asking for a URL has failed. c.mu is held.
func (c *Cache) remember(e *entry) {
	if !e.remembered {
		e.remembered = true
		c.failures = append(c.failures, e)
	}
	for len(c.failures) > maxFailures {
		oldest := c.failures[0]
		c.failures = c.failures[1:]
		if oldest.remembered = false; c.isNothing(oldest) {
			delete(c.entries, oldest.key)
		}
	}
}

// ready returns the generation that a request is to be answered with. Its release must be called. The error is errPass when
// the answer is not kept.
func (e *entry) ready(ctx context.Context, w wish) (view, error) {
	for {
		e.c.mu.Lock()
		v, a, err := e.look(w, time.Now())
		e.c.mu.Unlock()
		if a == nil {
			return v, err
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			e.c.dismiss(a)
			return view{}, ctx.Err()
		}
		v, ok := e.c.collect(a)
		if ok && asksOtherwise(v.rec.Vary, w.from) { // another one has asked, without the field
			v.joined()
			e.c.release(v.gen)
			return view{}, errPass
		}
		if errors.Is(a.err, errMissing) && !w.only { // that was another one's wish
			continue
		}
		var beyond *beyondError
		if errors.As(a.err, &beyond) && beyond.first != w.first { // another one's bytes
			continue
		}
		if ok || a.err != nil {
			return v, a.err
		}
	}
}

// look says what to answer with, or whom to wait for. c.mu is held.
func (e *entry) look(w wish, now time.Time) (view, *asking, error) {
	open := e.gen != nil
	failed := e.failure != nil && now.Sub(e.failedAt) < retryAfter
	switch {
	case now.Before(e.passUntil):
		return view{}, nil, e.passed
	case open && asksOtherwise(e.rec.Vary, w.from):
		return view{}, nil, errPass
	case open && e.rec.Term.fresh(now) && (!w.again || e.rec.Term.Immutable):
		return e.hold(false), nil, nil
	case open && failed && e.rec.Term.usable(now):
		return e.hold(true), nil, nil
	case !open && e.id != "" || e.asking != nil:
	case w.head && !open && !w.only: // nothing is fetched for it
		return view{}, nil, errPass
	case w.only:
		return view{}, nil, errMissing
	case failed:
		return view{}, nil, e.failure
	}
	if e.asking == nil {
		if err := e.begin(w); err != nil {
			return view{}, nil, err
		}
	}
	e.asking.wait++
	return view{}, e.asking, nil
}

// errBusy is the error of a file that is asked for while too many others are.
var errBusy = fault.New(fault.Unavailable, "%d other files are being asked for", maxAskings)

// errMissing is the error of what is not here, and may not be asked for.
var errMissing = errors.New("it is not here")

// asksOtherwise reports whether a request has a field that the answer depends on.
func asksOtherwise(vary []string, h http.Header) bool {
	for _, name := range vary {
		if len(h.Values(name)) > 0 {
			return true
		}
	}
	return false
}

// hold makes a view of what is open. c.mu is held.
func (e *entry) hold(stale bool) view {
	e.gen.users++
	return view{gen: e.gen, rec: e.rec, stale: stale, joined: func() {}}
}

// collect takes the view that an asking has come to, for one who has waited; ok is false when it is over already.
func (c *Cache) collect(a *asking) (v view, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v = a.view
	if v.gen == nil || v.gen.closed {
		a.wait--
		return view{}, false
	}
	v.gen.users++
	v.joined = sync.OnceFunc(func() { c.dismiss(a) })
	return v, true
}

// dismiss counts one less who is to read. After the last one the first stream goes on only for readers.
func (c *Cache) dismiss(a *asking) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.wait--; a.wait == 0 && a.guard != nil {
		a.view.gen.part(a.guard)
	}
}
