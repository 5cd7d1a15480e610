package depot

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// face is what devices see of the public folder: read-only, and only the paths that parse knows. It never lists a folder
// and never writes a word of the request back.
type face struct {
	public *os.Root
	parse  parsePath
	small  *smallFiles
	log    *slog.Logger
}

func (f *face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		answer(w, r, http.StatusMethodNotAllowed)
		return
	case r.ContentLength != 0:
		answer(w, r, http.StatusBadRequest)
		return
	}
	p, ok := f.parse(r.URL.EscapedPath())
	if !ok || r.URL.RawQuery != "" || r.URL.ForceQuery {
		answer(w, r, http.StatusNotFound)
		return
	}
	if p.class == classBulk {
		f.serveBulk(w, r, p)
		return
	}
	f.serveSmall(w, r, p)
}

// answer ends a request without a file. The connection of anybody who asks for what there never is goes with it.
func answer(w http.ResponseWriter, r *http.Request, code int) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if code != http.StatusNotFound {
		h.Set("Connection", "close")
	}
	text := http.StatusText(code) + "\n"
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, text)
	}
}

// open gives a regular file below public. A link that leaves the folder is refused by os.Root, and a pipe does not block.
func (f *face) open(name string) (*os.File, fs.FileInfo, error) {
	file, err := f.public.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// refuse answers for a file that could not be read. What is not there is no event; anything else is.
func (f *face) refuse(w http.ResponseWriter, r *http.Request, p place, err error) {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		answer(w, r, http.StatusNotFound)
		return
	}
	f.log.ErrorContext(r.Context(), "read public file", slog.String("file", p.name), slog.Any("err", err))
	answer(w, r, http.StatusInternalServerError)
}

// immutable is for what never changes under its name: a year is as good as for ever to a cache.
const immutable = "public, max-age=31536000, immutable"

// serveBulk serves ranges of a file whose name is its hash. The root is a strong validator: it can never name other
// bytes.
func (f *face) serveBulk(w http.ResponseWriter, r *http.Request, p place) {
	file, info, err := f.open(p.name)
	if err != nil {
		f.refuse(w, r, p, err)
		return
	}
	defer file.Close()
	h := w.Header()
	if manyRanges(r.Header["Range"]) {
		h.Set("Content-Range", "bytes */"+strconv.FormatInt(info.Size(), 10))
		answer(w, r, http.StatusRequestedRangeNotSatisfiable)
		return
	}
	h.Set("ETag", `"`+p.root+`"`)
	h.Set("Cache-Control", immutable)
	h.Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, file)
}

// manyRanges reports whether a request asks for more than one range. No client of ours does; a hundred small ranges cost
// the server far more than the one who asks (RFC 9110, 17.15).
func manyRanges(values []string) bool {
	return len(values) > 1 || len(values) == 1 && strings.Contains(values[0], ",")
}
