package urlcache

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback"
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
	failure   error     // of the newest time that the origin was asked; nil when it answered
	failedAt  time.Time

	remembered bool // it is among Cache.failures
}

// asking is one who finds out, for all who wait, what there is at a URL now.
type asking struct {
	done  chan struct{}
	err   error // valid after done, like the rest
	view  view
	guard *reader // keeps the first stream going until all who waited are readers themselves
	wait  int     // those who have not taken the view yet; guarded by Cache.mu
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
var errPass = errors.New("this is not kept")

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
	case now.Before(e.passUntil), open && asksOtherwise(e.rec.Vary, w.from):
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

// release ends the use of a view.
func (c *Cache) release(g *generation) {
	c.mu.Lock()
	g.users--
	c.mu.Unlock()
	c.closeDone(g)
}

// closeDone closes the files of a generation that is not served any more.
func (c *Cache) closeDone(g *generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.retired && g.users == 0 && !g.closed && !g.isBusy() {
		g.closed = true
		g.close()
	}
}

// isIdle reports whether nobody uses the entry. c.mu is held.
func (e *entry) isIdle() bool {
	return e.users == 0 && (e.gen == nil || e.gen.users == 0 && !e.gen.isBusy())
}

// closeIdle closes what was used longest ago, while more than so many generations are open.
func (c *Cache) closeIdle(most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.opened) > most {
		var oldest *entry
		for e := range c.opened {
			if e.isIdle() && (oldest == nil || e.used < oldest.used) {
				oldest = e
			}
		}
		if oldest == nil {
			return
		}
		c.closeEntry(oldest)
	}
}

// closeEntry closes the files of an idle entry. c.mu is held.
func (c *Cache) closeEntry(e *entry) {
	if e.gen != nil {
		e.gen.closed = true
		e.gen.close()
		e.gen = nil
	}
	delete(c.opened, e)
}

// changed takes a generation out of use: the origin has another file now, or none. Who is being answered with it goes on
// as far as its slices are there.
func (c *Cache) changed(g *generation) {
	e := g.e
	c.mu.Lock()
	if g.retired {
		c.mu.Unlock()
		return
	}
	g.retired = true
	c.bytes -= e.bytes
	e.bytes = 0
	if e.gen == g {
		e.gen, e.id = nil, ""
		delete(c.opened, e)
	}
	c.mu.Unlock()
	g.finish(errChanged)
	c.removed(g.files.remove())
	c.log.Info("the file at an origin has changed; what was kept of it is deleted", slog.String("url", label(e.url)))
	c.closeDone(g)
}

// begin has somebody find out what there is. It goes on when who has asked for it is gone, so there is a bound. c.mu is held.
func (e *entry) begin(w wish) error {
	if e.c.askings >= maxAskings {
		return errBusy
	}
	ctx := e.c.lives.Enter()
	if ctx == nil {
		return errEnding
	}
	e.c.askings++
	e.users++
	a := &asking{done: make(chan struct{})}
	e.asking = a
	go func() {
		defer e.c.lives.Leave()
		defer e.c.leave(e)
		e.inquire(ctx, a, w)
	}()
	return nil
}

// inquire opens what is kept and asks the origin if that is not fresh. When something new comes, it goes on as its first
// stream.
func (e *entry) inquire(ctx context.Context, a *asking, w wish) {
	g, rec := e.opened()
	switch now := time.Now(); {
	case g != nil && rec.Term.fresh(now) && (!w.again || rec.Term.Immutable):
		e.answer(a, view{gen: g, rec: rec}, nil)
		return
	case w.only:
		e.answer(a, view{}, errMissing)
		return
	}
	h := e.c.header(w.from)
	span := e.c.grid.span(e.c.slice, w.first)
	h.Set("Range", rangeField(span.first, span.last))
	if g != nil {
		rec.Is.ask(h)
	}
	asked := time.Now()
	r, err := e.c.ask(ctx, http.MethodGet, e.url, h)
	if err == nil {
		err = e.receive(ctx, a, w, reception{r, span, asked, time.Now(), g, rec})
		r.Close()
	}
	if err != nil {
		e.failed(a, g, rec, err)
	}
}

// failed ends an asking without an answer: what is kept is served on as long as that is allowed.
func (e *entry) failed(a *asking, g *generation, rec record, err error) {
	now := time.Now()
	c := e.c
	if errors.Is(err, errPass) || g == nil || !fault.Is(err, fault.Unavailable) || !rec.Term.usable(now) {
		e.note(err, now)
		e.answer(a, view{}, err)
		return
	}
	c.log.Warn("an origin does not answer; what is kept is served", slog.String("url", label(e.url)), slog.Any("err", err))
	e.note(err, now)
	e.answer(a, view{gen: g, rec: rec, stale: true}, nil)
}

// note remembers how asking has failed.
func (e *entry) note(err error, now time.Time) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	switch {
	case errors.Is(err, errPass):
		e.passUntil = now.Add(passFor)
	case errors.As(err, new(*beyondError)), errors.Is(err, errMissing): // that is about one request only
	default:
		e.failure, e.failedAt = err, now
	}
}

// answer tells those who wait.
func (e *entry) answer(a *asking, v view, err error) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	a.view, a.err = v, err
	e.asking = nil
	e.c.askings--
	close(a.done)
}

// opened returns the generation that is kept, and opens its files if need be. One that is damaged is deleted.
func (e *entry) opened() (*generation, record) {
	c := e.c
	c.mu.Lock()
	g, rec, f := e.gen, e.rec, files{c.cfg.Dir, e.key, e.id}
	c.mu.Unlock()
	if g != nil || f.id == "" {
		return g, rec
	}
	rec, data, sums, err := f.open(e.url, c.slice)
	if err == nil {
		g = c.newGeneration(e, rec, data, sums)
		if err = g.load(); err != nil {
			g.close()
		}
	}
	c.mu.Lock()
	c.bytes -= e.bytes
	if e.bytes = 0; err == nil {
		e.bytes = g.stored()
		e.gen, e.rec = g, rec
		c.opened[e] = struct{}{}
	} else {
		e.id = ""
	}
	c.bytes += e.bytes
	c.mu.Unlock()
	if err != nil {
		c.log.Warn("what was kept of a file is of no use and is deleted", slog.String("url", label(e.url)), slog.Any("err", err))
		c.removed(f.remove())
		return nil, record{}
	}
	return g, rec
}

// label is the URL as logs show it: a query may hold a signature.
func label(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	u.RawQuery = ""
	return u.Redacted()
}

// reception is an answer of the origin, with what it answers.
type reception struct {
	*httpfallback.Reply
	span       bytesOf
	asked, got time.Time
	gen        *generation // what is kept; nil for nothing
	rec        record
}

// receive takes the first answer in. When it is new bytes, they are read until they end; the error is of what comes before.
func (e *entry) receive(ctx context.Context, a *asking, w wish, r reception) error {
	switch {
	case r.Status == http.StatusNotModified && r.gen != nil && unshared(r.Header) == "":
		return e.renew(a, r)
	case r.Status == http.StatusNotModified && r.gen != nil:
		e.c.changed(r.gen)
		return errPass
	case r.Status != http.StatusOK && r.Status != http.StatusPartialContent:
		return e.reject(r)
	}
	size, whole, err := partOf(r.Reply, r.span.first, r.span.last)
	if err != nil {
		return fault.New(fault.Untrusted, "get %.100q: %w", label(e.url), err)
	}
	v, known := versionOf(r.Header, size, r.got)
	why := unshared(r.Header)
	switch {
	case why == "" && !known:
		why = "it has no strong validator"
	case why == "" && (size <= 0 || size > min(maxSize, e.c.cfg.Size)):
		why = "its length is unknown, nothing, or more than may be kept"
	case why == "" && e.c.isPaused(r.got):
		why = "nothing is kept now"
	case why == "" && asksOtherwise(varies(r.Header), w.from):
		why = "it depends on what the request says"
	}
	if r.gen != nil && (why != "" || !r.gen.is.same(v)) {
		e.c.changed(r.gen)
		r.gen = nil
	}
	if why != "" {
		e.c.log.Debug("a file is passed through", slog.String("url", label(e.url)), slog.String("why", why))
		return errPass
	}
	return e.adopt(ctx, a, r, v, whole)
}
