package cachenode

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxRanges is how many ranges one request may name. Players and download managers ask for one, or a few; a hundred small
// ones cost the server far more than the one who asks (RFC 9110, section 17.15).
const maxRanges = 16

// maxRangeHeader bounds the text of the header that is looked at, in bytes: two numbers of 19 digits for each range.
const maxRangeHeader = maxRanges * 48

// errRanges is the error of ranges that are not served: none lies in the content, they are too many, they overlap, or the
// header makes no sense.
var errRanges = errors.New("ranges cannot be served")

// span is a slice of content, in bytes.
type span struct{ first, length int64 }

// contentRange is the span as the header Content-Range has it.
func (s span) contentRange(size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", s.first, s.first+s.length-1, size)
}

// parseRanges reads the header Range for content of the given size, which is at least 1. No spans and no error mean that it
// says nothing about bytes, and all of the content is meant. The spans keep their order.
func parseRanges(values []string, size int64) ([]span, error) {
	if len(values) == 0 {
		return nil, nil
	}
	if len(values) > 1 || len(values[0]) > maxRangeHeader {
		return nil, errRanges
	}
	unit, set, ok := strings.Cut(values[0], "=")
	switch {
	case !ok:
		return nil, errRanges
	case !strings.EqualFold(strings.TrimSpace(unit), "bytes"):
		return nil, nil
	}
	specs := strings.Split(set, ",")
	if len(specs) > maxRanges {
		return nil, errRanges
	}
	var out []span
	for _, spec := range specs {
		s, inside, err := parseRange(strings.Trim(spec, " \t"), size)
		if err != nil {
			return nil, err
		}
		if inside {
			out = append(out, s)
		}
	}
	if len(out) == 0 || overlap(out) {
		return nil, errRanges
	}
	return out, nil
}

// parseRange reads one range. One that begins beyond the end is not inside, and may stand beside others that are.
func parseRange(spec string, size int64) (s span, inside bool, err error) {
	from, to, ok := strings.Cut(spec, "-")
	if !ok || from == "" && to == "" {
		return span{}, false, errRanges
	}
	if from == "" {
		n, err := parseOffset(to)
		n = min(n, size)
		return span{size - n, n}, n > 0, err
	}
	first, err := parseOffset(from)
	if err != nil {
		return span{}, false, err
	}
	last := size - 1
	if to != "" {
		if last, err = parseOffset(to); err != nil || last < first {
			return span{}, false, errRanges
		}
		last = min(last, size-1)
	}
	return span{first, last - first + 1}, first < size, nil
}

// parseOffset takes digits only. More than fit mean as far as one can count.
func parseOffset(text string) (int64, error) {
	for _, d := range []byte(text) {
		if d < '0' || d > '9' {
			return 0, errRanges
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if errors.Is(err, strconv.ErrSyntax) {
		return 0, errRanges
	}
	return n, nil // at a number out of range it is the largest
}

func overlap(spans []span) bool {
	for i, a := range spans {
		for _, b := range spans[:i] {
			if a.first < b.first+b.length && b.first < a.first+a.length {
				return true
			}
		}
	}
	return false
}
