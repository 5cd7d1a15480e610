package urlcache

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/dunlin-project/dunlin/cachenode/byterange"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/publicweb"
)

// minSent is how many bytes of a file net/http sends at once, at least.
const minSent = 512

// answer is one answer.
type answer struct {
	c   *Cache
	w   *publicweb.Writer
	r   *http.Request
	url string
	// missed is set when some of the answer was not here.
	missed *bool

	view view
	file *os.File // of the generation
	// stuck is where the disk has failed last, -1 for nowhere.
	stuck int64
}

// serve answers the request.
func (a *answer) serve() {
	h := a.w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'") // a page of an origin is no page of this node
	h.Set("Via", "1.1 "+a.c.name)
	var err error
	if a.url, err = a.c.admit(a.r); err != nil {
		a.fail(err)
		return
	}
	e := a.c.enter(a.url)
	defer a.c.leave(e)
	asked := parseControl(a.r.Header.Values("Cache-Control"))
	if asked.noStore {
		a.pass()
		return
	}
	w := wish{
		first: int(firstByte(a.r.Header) / a.c.slice), again: asked.noCache || asked.maxAge == 0,
		only: onlyIfCached(a.r.Header), head: a.r.Method == http.MethodHead, from: a.r.Header,
	}
	for {
		switch a.view, err = e.ready(a.r.Context(), w); {
		case errors.Is(err, errPass):
			a.pass()
			return
		case err != nil:
			a.fail(err)
			return
		}
		if a.serveView() {
			return
		}
	}
}

// serveView answers with a generation. It returns false when that has just been replaced, and nothing is sent yet.
func (a *answer) serveView() bool {
	g := a.view.gen
	defer a.c.release(g)
	defer a.view.joined()
	a.head()
	if code := precondition(a.r.Header, g.is, a.view.rec.Header["Last-Modified"]); code != 0 {
		a.w.Header().Del("Content-Type")
		a.w.WriteHeader(code)
		return true
	}
	if a.r.Method == http.MethodHead { // a range is about a GET only
		a.begin(http.StatusOK, g.is.Size, "")
		return true
	}
	spans, err := byterange.Parse(rangesOf(a.r.Header, g.is), g.is.Size)
	if err != nil {
		a.w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(g.is.Size, 10))
		a.refuse(http.StatusRequestedRangeNotSatisfiable,
			"The ranges lie beyond the end, overlap, are more than "+strconv.Itoa(byterange.MaxRanges)+" or make no sense.")
		return true
	}
	if a.file, err = g.openBytes(); err != nil {
		if errors.Is(err, os.ErrNotExist) && a.c.isRetired(g) {
			a.behead()
			return false
		}
		if isBroken(err) {
			_ = a.c.pause(err)
			a.behead()
			a.pass()
			return true
		}
		a.fail(fault.Wrap(fault.Unavailable, err))
		return true
	}
	defer a.file.Close()
	a.get(spans)
	return true
}

// behead takes back what head has set: another version has other fields.
func (a *answer) behead() {
	for _, name := range append(kept(), "ETag", "Age", "Accept-Ranges", "Warning") {
		a.w.Header().Del(name)
	}
}

// head sets what the answer of a generation says about it.
func (a *answer) head() {
	h, rec, now := a.w.Header(), a.view.rec, time.Now()
	for name, v := range rec.Header {
		h.Set(name, v)
	}
	if rec.Is.ETag != "" {
		h.Set("ETag", rec.Is.ETag)
	}
	if rec.Header["Content-Type"] == "" {
		h.Set("Content-Type", "application/octet-stream")
	}
	h.Set("Accept-Ranges", "bytes")
	h.Set("Age", strconv.FormatInt(int64(rec.Term.age(now)/time.Second), 10))
	if a.view.stale { // obsolete since RFC 9111, and still what people look for
		h.Set("Warning", `111 - "Revalidation Failed"`)
	}
}

// begin sends the header.
func (a *answer) begin(code int, length int64, contentType string) {
	h := a.w.Header()
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	a.w.WriteHeader(code)
}

// get sends the spans, or all there is. A body that breaks off is shorter than its header says, for which net/http ends the
// connection: the client sees that something is missing, and no byte of another version.
func (a *answer) get(spans []byterange.Span) {
	size := a.view.gen.is.Size
	parts := byterange.NewParts(spans, size)
	r := &reader{at: parts[0].First, end: parts[0].First + parts[0].Length}
	a.view.gen.join(r)
	defer func() {
		a.view.gen.part(r)
		*a.missed = *a.missed || r.waited
	}()
	a.view.joined()
	if _, err := a.view.gen.next(a.r.Context(), r, r.at); err != nil && !errors.Is(err, errNoRoom) {
		a.fail(err)
		return
	}
	switch {
	case len(spans) == 0:
		a.begin(http.StatusOK, size, "")
	case len(spans) == 1:
		a.w.Header().Set("Content-Range", spans[0].ContentRange(size))
		a.begin(http.StatusPartialContent, spans[0].Length, "")
	default:
		a.begin(http.StatusPartialContent, byterange.TotalLength(parts), "multipart/byteranges; boundary="+byterange.Boundary)
	}
	for _, p := range parts {
		if err := a.send(r, p); err != nil {
			if a.r.Context().Err() == nil {
				a.c.log.Debug("answer broke off", slog.String("url", label(a.url)), slog.Any("err", err))
			}
			return
		}
	}
}

// send sends one part, by and by as its slices come.
func (a *answer) send(r *reader, p byterange.Part) error {
	if _, err := io.WriteString(a.w, p.Before); err != nil {
		return err
	}
	a.view.gen.aim(r, p.First, p.First+p.Length)
	for off, end := p.First, p.First+p.Length; off < end; {
		sent, err := a.step(r, off)
		off += sent
		if errors.Is(err, errNoRoom) {
			if err := a.passOn(off, end); err != nil {
				return err
			}
			break
		}
		if err != nil {
			return err
		}
	}
	_, err := io.WriteString(a.w, p.After)
	return err
}

// step sends what there is at an offset. What the disk does not give is fetched again, and the answer goes on with it; where the
// disk fails twice in one place, the error is errNoRoom: the kernel may not even give what has just been written there.
func (a *answer) step(r *reader, off int64) (sent int64, err error) {
	n, err := a.view.gen.next(a.r.Context(), r, off)
	if err != nil {
		return 0, err
	}
	if sent, err = a.copy(off, n); err == nil {
		return sent, nil
	}
	a.view.gen.doubt(off+sent, off+n)
	switch {
	case !isBroken(err):
		return sent, err
	case a.stuck == off+sent:
		return sent, a.c.pause(err)
	}
	a.stuck = off + sent
	return sent, nil
}

func (a *answer) copy(off, n int64) (got int64, err error) {
	if _, err := a.file.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	got, err = a.w.ReadFrom(&io.LimitedReader{R: a.file, N: n})
	if err == nil && got < n {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && n < minSent { // net/http would wait for more, and so would the client
		err = http.NewResponseController(a.w).Flush()
	}
	return got, err
}

// fail answers for what cannot be served. It panics, as net/http wants it, when the client has gone.
func (a *answer) fail(err error) {
	var refused *refusal
	var status *statusError
	var beyond *beyondError
	switch {
	case errors.Is(err, context.Canceled) && a.r.Context().Err() != nil:
		panic(http.ErrAbortHandler)
	case errors.As(err, &refused):
		if refused.code == http.StatusMethodNotAllowed {
			a.w.Header().Set("Allow", "GET, HEAD")
		}
		a.refuse(refused.code, refused.text)
	case errors.As(err, &beyond):
		if beyond.size != "" {
			a.w.Header().Set("Content-Range", "bytes */"+beyond.size)
		}
		a.refuse(http.StatusRequestedRangeNotSatisfiable, "The ranges lie beyond the end.")
	case errors.Is(err, errMissing):
		a.refuse(http.StatusGatewayTimeout, "It is not here, and the request forbids to ask the origin.")
	case errors.As(err, &status) && status.code < 500 && status.code >= 400 && status.code != http.StatusTooManyRequests:
		a.refuse(status.code, "The origin answers with this status.")
	case errors.As(err, new(*httpfallback.ForbiddenError)), fault.Is(err, fault.Refused):
		a.warn(err)
		a.refuse(http.StatusForbidden, "The origin leads to an address that this node must not ask. Get the file from the origin itself, or have the node started with --allow-origin for that address.")
	case fault.Is(err, fault.Untrusted):
		a.warn(err)
		a.refuse(http.StatusBadGateway, "What the origin answers does not fit together. Get the file from the origin itself.")
	case fault.Is(err, fault.Unavailable), errors.Is(err, errChanged):
		a.warn(err)
		a.w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
		a.refuse(http.StatusBadGateway, "The origin does not deliver now. Try again, or get the file elsewhere.")
	default:
		a.warn(err)
		a.refuse(http.StatusInternalServerError, "This cache node has failed. Its log says why.")
	}
}

func (a *answer) warn(err error) {
	a.c.log.Warn("request failed", slog.String("url", label(a.url)), slog.Any("err", err))
}

// refuse ends a request without a file.
func (a *answer) refuse(code int, text string) {
	h := a.w.Header()
	for _, name := range append(kept(), "ETag", "Age", "Accept-Ranges", "Warning") {
		h.Del(name)
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if code == http.StatusBadRequest || code == http.StatusMethodNotAllowed { // there may be a body that nobody reads
		h.Set("Connection", "close")
	}
	text += "\n"
	h.Set("Content-Length", strconv.Itoa(len(text)))
	a.w.WriteHeader(code)
	if a.r.Method != http.MethodHead {
		_, _ = io.WriteString(a.w, text)
	}
}
