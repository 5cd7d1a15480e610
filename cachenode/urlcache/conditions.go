package urlcache

import (
	"net/http"
	"slices"
	"strings"
)

// precondition returns the status of a request whose conditions end it, or 0 (RFC 9110, section 13.2.2).
func precondition(h http.Header, v version, changed string) int {
	switch {
	case len(h.Values("If-Match")) > 0:
		if !names(h.Values("If-Match"), v.ETag, false) {
			return http.StatusPreconditionFailed
		}
	case len(h.Values("If-Unmodified-Since")) > 0:
		if since, ok := oneDate(h, "If-Unmodified-Since"); ok {
			if at, err := http.ParseTime(changed); err == nil && at.After(since) {
				return http.StatusPreconditionFailed
			}
		}
	}
	switch {
	case len(h.Values("If-None-Match")) > 0:
		if names(h.Values("If-None-Match"), v.ETag, true) {
			return http.StatusNotModified
		}
	case len(h.Values("If-Modified-Since")) > 0:
		if since, ok := oneDate(h, "If-Modified-Since"); ok {
			if at, err := http.ParseTime(changed); err == nil && !at.After(since) {
				return http.StatusNotModified
			}
		}
	}
	return 0
}

// names reports whether a list of entity tags has the tag, or is "*".
func names(values []string, tag string, weakly bool) bool {
	return slices.ContainsFunc(tags(strings.Join(values, ",")), func(t string) bool {
		return t == "*" || tag != "" && (t == tag || weakly && t == "W/"+tag)
	})
}

// tags takes a list of entity tags apart; a tag may hold a comma.
func tags(list string) (out []string) {
	from, quoted := 0, false
	for i := 0; i <= len(list); i++ {
		switch {
		case i == len(list) || list[i] == ',' && !quoted:
			out = append(out, strings.Trim(list[from:i], " \t"))
			from = i + 1
		case list[i] == '"':
			quoted = !quoted
		}
	}
	return out
}

// rangesOf returns the values of Range, none when If-Range names another version.
func rangesOf(h http.Header, v version) []string {
	if c := h.Values("If-Range"); len(c) > 0 {
		is := strings.Trim(c[0], " \t")
		if len(c) > 1 || is == "" || is != v.ETag && is != v.Changed {
			return nil
		}
	}
	return h.Values("Range")
}

// firstByte is where the bytes begin that a request wants, as far as that can be told without the length of the file.
func firstByte(h http.Header) int64 {
	v := h.Values("Range")
	if len(v) != 1 {
		return 0
	}
	spec, ok := strings.CutPrefix(strings.ToLower(v[0]), "bytes=")
	from, _, isRange := strings.Cut(spec, "-")
	n, isNumber := decimal(strings.Trim(from, " \t"))
	if !ok || !isRange || !isNumber || n >= maxSize {
		return 0
	}
	return n
}
