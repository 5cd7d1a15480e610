package cachenode

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/cachenode/byterange"
	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/publicweb"
	"github.com/dunlin-project/dunlin/piecehash"
)

const (
	contentPath = "/content/"
	layerPath   = "/layer/"

	// immutable is for what never changes under its name: a year is as good as for ever to a cache.
	immutable = "public, max-age=31536000, immutable"
)

// handle is ServeHTTP; it notes what the answer was made of.
func (n *Node) handle(w *publicweb.Writer, r *http.Request, s *seen) {
	if n.lives.Enter() == nil {
		refuse(w, r, http.StatusServiceUnavailable, "This cache node is ending.")
		return
	}
	defer n.lives.Leave()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, complainPath):
		n.complain(w, r)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, r, http.StatusMethodNotAllowed, "Only GET and HEAD are answered here.")
		return
	case r.ContentLength != 0:
		refuse(w, r, http.StatusBadRequest, "A request here has no body.")
		return
	}
	if urlcache.Wants(r) {
		n.serveURL(w, r, s)
		return
	}
	root, layer, ok := parsePath(r.URL)
	if !ok {
		refuse(w, r, http.StatusNotFound, "Content is at "+contentPath+"ROOT, where ROOT is 64 lower-case hex digits.")
		return
	}
	n.serveRoot(w, r, s, root, layer)
}

// serveRoot answers with content, or its piece layer.
func (n *Node) serveRoot(w *publicweb.Writer, r *http.Request, s *seen, root piecehash.Root, layer bool) {
	c, err := n.take(root)
	if err != nil {
		n.fail(w, r, err)
		return
	}
	defer n.release(c)
	a := &answer{node: n, c: c, w: w, r: r, seen: s, size: c.item.Manifest.Length(), stuck: -1}
	if layer {
		a.serveLayer()
	} else {
		a.serve()
		n.sent.Add(a.w.Bytes())
		n.keeper.Use(root, a.w.Bytes())
	}
	n.log.Debug("answered", slog.String("remote", r.RemoteAddr), slog.Any("root", root), slog.Int("status", a.w.Status()), slog.Int64("bytes", a.w.Bytes()))
}

// parsePath knows two shapes of paths and no other.
func parsePath(u *url.URL) (root piecehash.Root, layer, ok bool) {
	path := u.EscapedPath()
	name, ok := strings.CutPrefix(path, contentPath)
	if !ok {
		name, layer = strings.CutPrefix(path, layerPath)
	}
	root, err := piecehash.ParseRoot(name)
	return root, layer, err == nil && (ok || layer) && u.RawQuery == "" && !u.ForceQuery
}

// answer is one answer about content that is known.
type answer struct {
	node *Node
	c    *content
	w    *publicweb.Writer
	r    *http.Request
	seen *seen
	size int64

	file   *os.File // the one that is read, nil before the first byte
	number int      // of file
	stuck  int64    // where the disk has failed last, -1 for nowhere
}

// begin sets what every answer has, and reports whether the conditions of the request let it go on.
func (a *answer) begin(etag string) bool {
	h := a.w.Header()
	h.Set("ETag", etag)
	h.Set("Cache-Control", immutable)
	code := precondition(a.r.Header, etag)
	if code != 0 {
		a.w.WriteHeader(code)
	}
	return code == 0
}

// serveLayer sends the piece layer, whatever range is asked for. Content of one piece has none.
func (a *answer) serveLayer() {
	layer := a.c.item.Manifest.Layer()
	if len(layer) == 0 {
		refuse(a.w, a.r, http.StatusNotFound, "This content has one piece, and so no piece layer.")
		return
	}
	if !a.begin(`"layer-` + a.c.root.String() + "-" + strconv.FormatInt(a.c.item.Manifest.PieceLength(), 10) + `"`) {
		return
	}
	a.head(http.StatusOK, int64(len(layer)), "")
	if a.r.Method == http.MethodGet {
		_, _ = a.w.ReadFrom(bytes.NewReader(layer))
	}
}

func (a *answer) serve() {
	etag := `"` + a.c.root.String() + `"`
	h := a.w.Header()
	h.Set("Accept-Ranges", "bytes")
	if !a.begin(etag) {
		return
	}
	if a.r.Method == http.MethodHead { // a range is about a GET only
		a.head(http.StatusOK, a.size, "")
		return
	}
	spans, err := byterange.Parse(rangesOf(a.r.Header, etag), a.size)
	if err != nil {
		h.Set("Content-Range", "bytes */"+strconv.FormatInt(a.size, 10))
		refuse(a.w, a.r, http.StatusRequestedRangeNotSatisfiable,
			"The ranges lie beyond the end, overlap, are more than "+strconv.Itoa(byterange.MaxRanges)+" or make no sense.")
		return
	}
	defer func() {
		if a.file != nil {
			a.file.Close()
		}
	}()
	a.get(spans)
}

// get sends the spans, or all there is. A body that breaks off is shorter than its header says, for which net/http ends the
// connection: the client sees that something is missing.
func (a *answer) get(spans []byterange.Span) {
	parts := byterange.NewParts(spans, a.size)
	if err := a.await(parts[0].First); err != nil {
		a.node.fail(a.w, a.r, err)
		return
	}
	switch {
	case len(spans) == 0:
		a.head(http.StatusOK, a.size, "")
	case len(spans) == 1:
		a.w.Header().Set("Content-Range", spans[0].ContentRange(a.size))
		a.head(http.StatusPartialContent, spans[0].Length, "")
	default:
		a.head(http.StatusPartialContent, byterange.TotalLength(parts), "multipart/byteranges; boundary="+byterange.Boundary)
	}
	for _, p := range parts {
		if err := a.send(p); err != nil {
			if a.r.Context().Err() == nil {
				a.node.log.Debug("answer broke off", slog.Any("root", a.c.root), slog.Any("err", err))
			}
			return
		}
	}
}

func (a *answer) head(code int, length int64, contentType string) {
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	h := a.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	a.w.WriteHeader(code)
}

// await waits until the byte at an offset may leave.
func (a *answer) await(offset int64) error {
	_, err := a.ready(int(offset / a.c.item.Manifest.PieceLength()))
	return err
}

// ready waits until a piece may leave, and notes whether it had to be fetched.
func (a *answer) ready(i int) (number int, err error) {
	number, missed, err := a.c.readyNow(a.r.Context(), i)
	if missed {
		a.seen.missed, a.seen.missing = true, i
	}
	return number, err
}

// send sends one part, by and by as its pieces are ready. Between them nothing of it is in memory.
func (a *answer) send(p byterange.Part) error {
	if _, err := io.WriteString(a.w, p.Before); err != nil {
		return err
	}
	for off, end := p.First, p.First+p.Length; off < end; {
		i := int(off / a.c.item.Manifest.PieceLength())
		number, err := a.ready(i)
		if err != nil {
			return err
		}
		if err := a.openFile(number); err != nil {
			return err
		}
		n := min(a.c.run(a.number, off), end-off)
		if n <= 0 { // it has just become another file
			continue
		}
		was := a.w.Bytes()
		err = a.copy(off, n)
		sent := a.w.Bytes() - was
		a.seen.sent(i, sent, a.c.item.Manifest.Offset(i)+a.c.item.Manifest.PieceSize(i)-off)
		off += sent
		if err = a.goOn(off, err); err != nil {
			return err
		}
	}
	_, err := io.WriteString(a.w, p.After)
	return err
}

// goOn has the piece looked at again that has failed to leave. When that is the disk's fault, the answer goes on with it: it is
// fetched anew. Where the disk fails twice in one place, the answer ends.
func (a *answer) goOn(off int64, err error) error {
	if err == nil {
		return nil
	}
	a.c.doubt(a.number, int(off/a.c.item.Manifest.PieceLength()))
	if !disk(err) || off == a.stuck {
		return err
	}
	a.stuck = off
	return nil
}

// openFile opens the file of the content, if another one is open than that with the number.
func (a *answer) openFile(number int) error {
	if a.file != nil && a.number == number {
		return nil
	}
	if a.file != nil {
		a.file.Close()
	}
	var err error
	a.file, a.number, err = a.c.open()
	return err
}

func (a *answer) copy(off, n int64) error {
	if _, err := a.file.Seek(off, io.SeekStart); err != nil {
		return err
	}
	got, err := a.w.ReadFrom(&io.LimitedReader{R: a.file, N: n})
	if err == nil && got < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// rangesOf returns the values of Range, none when If-Range names anything but these bytes.
func rangesOf(h http.Header, etag string) []string {
	if v := h.Values("If-Range"); len(v) > 0 && (len(v) > 1 || strings.Trim(v[0], " \t") != etag) {
		return nil
	}
	return h.Values("Range")
}

// precondition returns the status of a request whose conditions end it, or 0 (RFC 9110, section 13.2.2). There is no date of
// change, so conditions about one are not looked at.
func precondition(h http.Header, etag string) int {
	if v := h.Values("If-Match"); len(v) > 0 && !names(v, etag, false) {
		return http.StatusPreconditionFailed
	}
	if v := h.Values("If-None-Match"); len(v) > 0 && names(v, etag, true) {
		return http.StatusNotModified
	}
	return 0
}

// names reports whether a list of entity tags has etag, or is "*". A tag of ours has no comma in it.
func names(values []string, etag string, weakly bool) bool {
	return slices.ContainsFunc(strings.Split(strings.Join(values, ","), ","), func(v string) bool {
		v = strings.Trim(v, " \t")
		return v == "*" || v == etag || weakly && v == "W/"+etag
	})
}

// fail answers for content that cannot be served.
func (n *Node) fail(w http.ResponseWriter, r *http.Request, err error) {
	code, text := http.StatusInternalServerError, "This cache node has failed. Its log says why."
	switch {
	case errors.Is(err, ErrUnknown):
		code, text = http.StatusNotFound, "This content is not known here. Put its metainfo file into the node's folder, or get it elsewhere."
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // the client is gone; if it only says so, it must not take this for an empty answer
	case fault.Is(err, fault.Refused):
		code, text = http.StatusForbidden, "This content may not be given away by a cache node. Get it from its origin."
	case disk(err):
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
		code, text = http.StatusServiceUnavailable, "This cache node cannot store this content now: its disk is full or broken. Get it elsewhere."
	case fault.Is(err, fault.Unavailable):
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
		code, text = http.StatusServiceUnavailable, "No source delivers this content now. Try again, or get it elsewhere."
	case fault.Is(err, fault.Untrusted):
		code, text = http.StatusBadGateway, "What the sources sent is not this content. Get it elsewhere."
	}
	if code >= http.StatusInternalServerError {
		n.log.Warn("request failed", slog.Int("status", code), slog.String("path", r.URL.EscapedPath()), slog.Any("err", err))
	}
	refuse(w, r, code, text)
}

// refuse ends a request without content.
func refuse(w http.ResponseWriter, r *http.Request, code int, text string) {
	h := w.Header()
	h.Del("ETag")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if code == http.StatusBadRequest || code == http.StatusMethodNotAllowed { // there may be a body that nobody reads
		h.Set("Connection", "close")
	}
	text += "\n"
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, text)
	}
}
