package urlcache

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback"
)

const (
	maxTag = 512 // bytes of an entity tag
	// settled is how old a date of change must be to tell versions apart: within one second a file may change twice, and
	// clocks differ (RFC 9110, section 8.8.2.2).
	settled = time.Minute
)

// version tells the bytes at a URL from those that were there before: a strong validator and a length. Slices are put
// together only when both are the same.
type version struct {
	ETag    string `json:"etag,omitempty"`          // strong, with its quotes; "" when there is none
	Changed string `json:"last_modified,omitempty"` // as the origin wrote it; looked at when there is no tag
	Size    int64  `json:"size"`                    // bytes
}

// versionOf reads the version of an answer; ok is false when it has no strong validator.
func versionOf(h http.Header, size int64, got time.Time) (v version, ok bool) {
	v.Size = size
	if tags := h.Values("ETag"); len(tags) == 1 && isStrong(tags[0]) {
		v.ETag = tags[0]
	}
	if at, ok := oneDate(h, "Last-Modified"); ok {
		date, dated := oneDate(h, "Date")
		if !dated {
			date = got
		}
		if date.Sub(at) >= settled {
			v.Changed = h.Get("Last-Modified")
		}
	}
	return v, v.ETag != "" || v.Changed != ""
}

func isStrong(tag string) bool {
	if len(tag) < 2 || len(tag) > maxTag || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return false
	}
	return strings.IndexFunc(tag[1:len(tag)-1], func(c rune) bool { return c == '"' || c <= ' ' || c >= 0x7f }) < 0
}

// same reports whether the bytes are the same.
func (v version) same(o version) bool {
	if v.ETag != "" || o.ETag != "" {
		return v.ETag == o.ETag && v.Size == o.Size
	}
	return v.Changed == o.Changed && v.Size == o.Size
}

// validator is what If-Range says.
func (v version) validator() string {
	if v.ETag != "" {
		return v.ETag
	}
	return v.Changed
}

// ask sets the header of a request that has an answer only if the version is another one.
func (v version) ask(h http.Header) {
	if v.ETag != "" {
		h.Set("If-None-Match", v.ETag)
		return
	}
	h.Set("If-Modified-Since", v.Changed)
}

// is reports whether an answer is of this version. The answer to an If-Range need not say a date of change again when it is
// the range (RFC 9110, section 15.3.7), but must say a tag.
func (v version) is(h http.Header, part bool) bool {
	name, want := "Last-Modified", v.Changed
	if v.ETag != "" {
		name, want = "ETag", v.ETag
	}
	got := h.Values(name)
	return len(got) == 1 && got[0] == want || len(got) == 0 && part && v.ETag == ""
}

// partOf checks an answer to a request for bytes first to last, which may lie beyond the end, and returns the length of the
// file. whole is true when it is all of the file, in place of the range.
func partOf(r *httpfallback.Reply, first, last int64) (size int64, whole bool, err error) {
	if c := r.Header.Values("Content-Encoding"); len(c) > 1 || len(c) == 1 && !strings.EqualFold(c[0], "identity") {
		return 0, false, &lie{"its body is in a coding that nobody asked for"}
	}
	if r.Status == http.StatusOK {
		return r.Length, true, nil
	}
	ranges := r.Header.Values("Content-Range")
	if len(ranges) != 1 {
		return 0, false, &lie{fmt.Sprintf("status 206 with %d Content-Range fields", len(ranges))}
	}
	from, to, size, ok := parseContentRange(ranges[0])
	switch {
	case !ok:
		return 0, false, &lie{"its Content-Range is not bytes FIRST-LAST/SIZE"}
	case from != first || to != min(last, size-1):
		return 0, false, &lie{fmt.Sprintf("asked for bytes %d-%d, it has sent %d-%d of %d", first, last, from, to, size)}
	case r.Length >= 0 && r.Length != to-from+1:
		return 0, false, &lie{fmt.Sprintf("a range of %d bytes in a body of %d", to-from+1, r.Length)}
	}
	return size, false, nil
}

// lie is the error of an answer that does not fit to what was asked, or to itself.
type lie struct{ what string }

func (l *lie) Error() string { return l.what }

// parseContentRange takes exactly `bytes FIRST-LAST/SIZE` with FIRST <= LAST < SIZE (RFC 9110, section 14.4).
func parseContentRange(text string) (first, last, size int64, ok bool) {
	rest, isBytes := strings.CutPrefix(text, "bytes ")
	span, of, hasSize := strings.Cut(rest, "/")
	from, to, isSpan := strings.Cut(span, "-")
	if !isBytes || !hasSize || !isSpan {
		return 0, 0, 0, false
	}
	first, ok1 := decimal(from)
	last, ok2 := decimal(to)
	size, ok3 := decimal(of)
	if !ok1 || !ok2 || !ok3 || first > last || last >= size {
		return 0, 0, 0, false
	}
	return first, last, size, true
}

// decimal takes one to eighteen digits and nothing else.
func decimal(text string) (int64, bool) {
	if len(text) == 0 || len(text) > 18 || strings.IndexFunc(text, func(c rune) bool { return c < '0' || c > '9' }) >= 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// rangeField is the value of Range for bytes first to last.
func rangeField(first, last int64) string { return fmt.Sprintf("bytes=%d-%d", first, last) }
