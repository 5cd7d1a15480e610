package urlcache

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// bytesOf are the bytes that a request asks for, which may lie beyond the end.
type bytesOf struct{ first, last int64 }

// span is what the first request for a file asks for, when the reader begins in a slice.
func (g grid) span(slice int64, first int) bytesOf {
	return bytesOf{int64(first) * slice, int64(first+g.first)*slice - 1}
}

// statusError is an answer of the origin that is no file.
type statusError struct{ code int }

func (s *statusError) Error() string {
	return fmt.Sprintf("the origin answers %d %s", s.code, http.StatusText(s.code))
}

// beyondError is the error of bytes that lie beyond the end.
type beyondError struct {
	first int    // the slice that was asked for
	size  string // as the origin has said it; "" when it has not
}

func (*beyondError) Error() string { return "the range lies beyond the end" }

// reject makes an error of an answer that is no file.
func (e *entry) reject(r reception) error {
	switch code := r.Status; {
	case code == http.StatusRequestedRangeNotSatisfiable && r.span.first == 0: // nothing is there, which is not worth keeping
		return errPass
	case code == http.StatusRequestedRangeNotSatisfiable:
		size, _ := strings.CutPrefix(r.Header.Get("Content-Range"), "bytes */")
		if _, ok := decimal(size); !ok {
			size = ""
		}
		return &beyondError{int(r.span.first / e.c.slice), size}
	case code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		return fault.Wrap(fault.Unavailable, &statusError{code})
	case code/100 != 4:
		return fault.Wrap(fault.Untrusted, &statusError{code})
	case r.gen != nil && (code == http.StatusNotFound || code == http.StatusGone):
		e.c.changed(r.gen)
		return &statusError{code}
	default:
		return &statusError{code}
	}
}

// renew notes that what is kept is what the origin has.
func (e *entry) renew(a *asking, r reception) error {
	rec := r.rec.renewed(r.Header, r.asked, r.got)
	e.c.mu.Lock()
	e.failure = nil
	if e.gen == r.gen {
		e.rec = rec
	}
	e.c.mu.Unlock()
	if err := r.gen.files.write(rec); err != nil { // it will be asked for again after a start
		e.c.log.Warn("the record of a file could not be written", slog.String("url", label(e.url)), slog.Any("err", err))
	}
	e.answer(a, view{gen: r.gen, rec: rec}, nil)
	return nil
}

// adopt begins a generation with an answer, and reads that to its end.
func (e *entry) adopt(ctx context.Context, a *asking, r reception, v version, whole bool) error {
	if r.gen != nil {
		return e.renew(a, r)
	}
	rec := newRecord(e.url, v, e.c.slice, whole, r.Header, termOf(r.Header, r.asked, r.got), newGenerationID())
	f := files{e.c.cfg.Dir, e.key, rec.Generation}
	data, sums, err := f.create(rec)
	if err != nil {
		return fmt.Errorf("%w: %w", errPass, e.c.pause(err))
	}
	g := e.c.newGeneration(e, rec, data, sums)
	what := run{int(r.span.first / e.c.slice), e.c.grid.first}
	if whole {
		what.first, what.count = 0, len(g.sum)
	}
	what.count = min(what.count, len(g.sum)-what.first)
	g.reserve(what)
	e.install(a, g, rec)
	e.answer(a, view{gen: g, rec: rec}, nil)
	s := g.newStream(what)
	err = s.read(r.Reply)
	r.Close()
	if fault.Is(err, fault.Unavailable) && !whole {
		err = s.bring(ctx)
	}
	s.end(ctx, err)
	return nil
}

// install makes a generation that of its entry.
func (e *entry) install(a *asking, g *generation, rec record) {
	c := e.c
	c.mu.Lock()
	defer c.mu.Unlock()
	e.gen, e.rec, e.id, e.failure = g, rec, rec.Generation, nil
	c.opened[e] = struct{}{}
	if a.wait > 0 {
		a.view = view{gen: g, rec: rec} // dismiss looks there for what the guard is in
		a.guard = &reader{at: 0, end: 0}
		g.join(a.guard)
	}
}

// openBytes opens the file of a generation for one reader.
func (g *generation) openBytes() (*os.File, error) {
	return openFile(g.files.path(kindBytes), os.O_RDONLY)
}
