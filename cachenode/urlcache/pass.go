package urlcache

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// passStep is how much is read before it is sent, in bytes: publicweb gives a client a time for each.
const passStep = 256 << 10

// onlyIfCached reports whether a request wants nothing of the origin.
func onlyIfCached(h http.Header) bool {
	return slices.ContainsFunc(slices.Collect(directives(strings.Join(h.Values("Cache-Control"), ","))), func(d string) bool {
		return strings.EqualFold(strings.Trim(d, " \t"), "only-if-cached")
	})
}

// asPassed lists the fields of a request that go to the origin when the answer is not kept.
func asPassed() []string {
	return []string{
		"Accept", "Accept-Language", "Cache-Control", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range",
		"If-Unmodified-Since", "Range", "User-Agent",
	}
}

// takePass waits for nobody: a client that gets nothing here gets it elsewhere, and one that is slow must not hold up the
// fetching of others.
func (a *answer) takePass() (give func(), err error) {
	*a.missed = true
	select {
	case a.c.passing <- struct{}{}:
		return func() { <-a.c.passing }, nil
	default:
		return nil, fault.New(fault.Unavailable, "%d answers are passed through already", cap(a.c.passing))
	}
}

// pass sends what the origin answers, and keeps nothing.
func (a *answer) pass() {
	give, err := a.takePass()
	if err != nil {
		a.fail(err)
		return
	}
	defer give()
	h := a.c.header(a.r.Header)
	for _, name := range asPassed() {
		if v := a.r.Header.Values(name); len(v) > 0 {
			h[name] = slices.Clone(v)
		}
	}
	r, err := a.c.ask(a.r.Context(), a.r.Method, a.url, h)
	if err != nil {
		a.fail(err)
		return
	}
	defer r.Close()
	if c := r.Header.Get("Content-Encoding"); c != "" && !strings.EqualFold(c, "identity") {
		a.fail(fault.New(fault.Untrusted, "get %.100q: its body is in a coding that nobody asked for", label(a.url)))
		return
	}
	if r.Status/100 != 2 && r.Status != http.StatusNotModified && r.Status != http.StatusPreconditionFailed {
		a.fail(passedStatus(r))
		return
	}
	a.passBody(r)
}

func passedStatus(r *httpfallback.Reply) error {
	switch {
	case r.Status == http.StatusRequestedRangeNotSatisfiable:
		size, _ := strings.CutPrefix(r.Header.Get("Content-Range"), "bytes */")
		if _, ok := decimal(size); !ok {
			size = ""
		}
		return &beyondError{size: size}
	case r.Status/100 == 4 && r.Status != http.StatusTooManyRequests:
		return &statusError{r.Status}
	case r.Status < 500:
		return fault.Wrap(fault.Untrusted, &statusError{r.Status})
	default:
		return fault.Wrap(fault.Unavailable, &statusError{r.Status})
	}
}

// passBody sends an answer of the origin on. One that breaks off ends the connection.
func (a *answer) passBody(r *httpfallback.Reply) {
	h := a.w.Header()
	for _, name := range append(kept(), "Accept-Ranges", "Age", "Content-Range", "ETag", "Vary") {
		if v := r.Header.Values(name); len(v) > 0 {
			h[name] = slices.Clone(v)
		}
	}
	hasBody := r.Status != http.StatusNotModified && r.Status != http.StatusNoContent
	if r.Length >= 0 && hasBody {
		h.Set("Content-Length", r.Header.Get("Content-Length"))
	}
	a.w.WriteHeader(r.Status)
	if a.r.Method == http.MethodHead || !hasBody {
		return
	}
	if _, err := a.relay(r, -1); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// relay sends the body of an answer, at most so many bytes of it; -1 is no bound.
func (a *answer) relay(r *httpfallback.Reply, most int64) (sent int64, err error) {
	buf := make([]byte, passStep)
	for most < 0 || sent < most {
		b := buf
		if most >= 0 {
			b = buf[:min(most-sent, passStep)]
		}
		n, err := r.Read(b)
		if n > 0 {
			r.Keep(int64(n))
			m, failed := a.w.Write(b[:n])
			if sent += int64(m); failed != nil {
				return sent, failed
			}
		}
		if errors.Is(err, io.EOF) {
			return sent, nil
		}
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// passOn sends bytes off to end of the generation that an answer is of, past a disk that takes nothing.
func (a *answer) passOn(off, end int64) error {
	give, err := a.takePass()
	if err != nil {
		return err
	}
	defer give()
	is := a.view.gen.is
	h := a.c.header(nil)
	h.Set("Range", rangeField(off, end-1))
	h.Set("If-Range", is.validator())
	r, err := a.c.ask(a.r.Context(), http.MethodGet, a.url, h)
	if err != nil {
		return err
	}
	defer r.Close()
	if r.Status != http.StatusPartialContent && (r.Status != http.StatusOK || off > 0 || end < is.Size) {
		return fmt.Errorf("pass on bytes %d-%d: status %d", off, end-1, r.Status)
	}
	size, whole, err := partOf(r, off, end-1)
	if err == nil && (size != is.Size || !is.is(r.Header, !whole)) {
		err = errChanged
	}
	if err != nil {
		return err
	}
	sent, err := a.relay(r, end-off)
	if err == nil && sent < end-off {
		err = io.ErrUnexpectedEOF
	}
	return err
}
