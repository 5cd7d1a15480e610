package urlcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// asking is one who finds out, for all who wait, what there is at a URL now.
type asking struct {
	done  chan struct{}
	err   error // valid after done, like the rest
	view  view
	guard *reader // keeps the first stream going until all who waited are readers themselves
	wait  int     // those who have not taken the view yet; guarded by Cache.mu
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
	g, rec, err := e.opened()
	switch now := time.Now(); {
	case err != nil && !w.only:
		e.failed(a, nil, record{}, errPass)
		return
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
		e.passUntil, e.passed = now.Add(passFor), err
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
	why, because := unshared(r.Header), errPass
	switch {
	case why == "" && !known:
		why = "it has no strong validator"
	case why == "" && (size <= 0 || size > min(maxSize, e.c.cfg.Size)):
		why = "its length is unknown, nothing, or more than may be kept"
	case why == "" && e.c.isPaused(r.got):
		why, because = "nothing is kept now", errPassNow
	case why == "" && asksOtherwise(varies(r.Header), w.from):
		why = "it depends on what the request says"
	}
	if r.gen != nil && (why != "" || !r.gen.is.same(v)) {
		e.c.changed(r.gen)
		r.gen = nil
	}
	if why != "" {
		e.c.log.Debug("a file is passed through", slog.String("url", label(e.url)), slog.String("why", why))
		return fmt.Errorf("%w: %s", because, why)
	}
	return e.adopt(ctx, a, r, v, whole)
}
