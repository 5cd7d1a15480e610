package depot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxSmall bounds a small public file, in bytes; the largest metadata file has 5 MiB.
	maxSmall = 8 << 20
	// maxSmallKept bounds what is kept of small files in memory, in bytes.
	maxSmallKept = 64 << 20
	// minCompressed is the least length that compression is tried on, in bytes: below, headers outweigh the gain.
	minCompressed = 512
)

// compressor is the zstd encoder of package metadata, which is that dependency's home.
type compressor func([]byte) []byte

// smallFiles answers for small files: whole, with a hash of the bytes as validator, compressed when the client can. It
// keeps those that never change under their name.
type smallFiles struct {
	compress compressor

	mu   sync.Mutex
	kept map[string]*small // by name; guarded by mu
	size int               // of kept, in bytes; guarded by mu
}

// small is a file in memory. It does not change.
type small struct {
	plain, packed []byte // packed is nil when it would not be shorter
	sum           string
	length        int64
	modified      time.Time
}

func newSmallFiles(c compressor) *smallFiles {
	return &smallFiles{compress: c, kept: map[string]*small{}}
}

func (f *face) serveSmall(w http.ResponseWriter, r *http.Request, p place) {
	s, err := f.loadSmall(p)
	if err != nil {
		f.refuse(w, r, p, err)
		return
	}
	h := w.Header()
	h.Set("Vary", "Accept-Encoding")
	h.Set("Content-Type", contentType(p.name))
	h.Set("Cache-Control", immutable)
	if p.class == classVolatile {
		h.Set("Cache-Control", "no-cache")
	}
	body, tag := s.plain, `"`+s.sum+`"`
	if s.packed != nil && acceptsZstd(r.Header["Accept-Encoding"]) {
		body, tag = s.packed, `"`+s.sum+`-zstd"`
		h.Set("Content-Encoding", "zstd")
	}
	h.Set("ETag", tag)
	if noneMatch(r.Header.Get("If-None-Match"), tag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

func contentType(name string) string {
	switch {
	case strings.HasSuffix(name, ".json"):
		return "application/json"
	case strings.HasSuffix(name, ".pem"):
		return "application/x-pem-file"
	default:
		return "application/octet-stream"
	}
}

// loadSmall reads a file, or takes it from memory when it can not have changed.
func (f *face) loadSmall(p place) (*small, error) {
	file, info, err := f.open(p.name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	keep := p.class == classSigned
	if keep {
		if s := f.small.get(p.name, info); s != nil {
			return s, nil
		}
	}
	b, err := io.ReadAll(io.LimitReader(file, maxSmall+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxSmall {
		return nil, fmt.Errorf("it has more than %d bytes", maxSmall)
	}
	sum := sha256.Sum256(b)
	s := &small{plain: b, sum: hex.EncodeToString(sum[:]), length: info.Size(), modified: info.ModTime()}
	if keep {
		f.small.pack(s)
		f.small.put(p.name, s)
	}
	return s, nil
}

// pack compresses what is kept. The one file that is asked for most, the timestamp, is small and never kept: packing it
// for each request would cost more than it gains.
func (c *smallFiles) pack(s *small) {
	if len(s.plain) < minCompressed || c.compress == nil {
		return
	}
	if packed := c.compress(s.plain); len(packed) < len(s.plain) {
		s.packed = packed
	}
}

func (c *smallFiles) get(name string, info fs.FileInfo) *small {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.kept[name]
	if s == nil || s.length != info.Size() || !s.modified.Equal(info.ModTime()) {
		return nil
	}
	return s
}

func (c *smallFiles) put(name string, s *small) {
	n := len(s.plain) + len(s.packed)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size+n > maxSmallKept { // the versions in use come back at once; nothing is worth an order of eviction
		clear(c.kept)
		c.size = 0
	}
	if old := c.kept[name]; old != nil {
		c.size -= len(old.plain) + len(old.packed)
	}
	c.kept[name] = s
	c.size += n
}

// acceptsZstd reads Accept-Encoding: zstd must be named, and not with a weight of nothing (RFC 9110, 12.5.3).
func acceptsZstd(values []string) bool {
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			coding, weight, _ := strings.Cut(item, ";")
			if !strings.EqualFold(strings.TrimSpace(coding), "zstd") {
				continue
			}
			q, given := strings.CutPrefix(strings.TrimSpace(weight), "q=")
			n, err := strconv.ParseFloat(q, 64)
			return !given || err == nil && n > 0
		}
	}
	return false
}

// noneMatch reports whether If-None-Match names the tag (weak comparison, as RFC 9110, 13.1.2 wants it).
func noneMatch(header, tag string) bool {
	if strings.TrimSpace(header) == "*" {
		return true
	}
	for item := range strings.SplitSeq(header, ",") {
		if strings.TrimPrefix(strings.TrimSpace(item), "W/") == tag {
			return true
		}
	}
	return false
}
