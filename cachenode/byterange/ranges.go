package byterange

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxRanges is how many ranges one request may name. Players and download managers ask for one, or a few; a hundred small
// ones cost the server far more than the one who asks (RFC 9110, section 17.15).
const MaxRanges = 16

// maxRangeHeader bounds the text of the header that is looked at, in bytes: two numbers of 19 digits for each range.
const maxRangeHeader = MaxRanges * 48

// ErrRanges is the error of ranges that are not served: none lies in the content, they are too many, they overlap, or the
// header makes no sense.
var ErrRanges = errors.New("ranges cannot be served")

// Span is a slice of content, in bytes.
type Span struct{ First, Length int64 }

// ContentRange is the span as the header Content-Range has it.
func (s Span) ContentRange(size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", s.First, s.First+s.Length-1, size)
}

// Parse reads the header Range for content of the given size, which is at least 1. No spans and no error mean that it
// says nothing about bytes, and all of the content is meant. The spans keep their order.
func Parse(values []string, size int64) ([]Span, error) {
	if len(values) == 0 {
		return nil, nil
	}
	if len(values) > 1 || len(values[0]) > maxRangeHeader {
		return nil, ErrRanges
	}
	unit, set, ok := strings.Cut(values[0], "=")
	switch {
	case !ok:
		return nil, ErrRanges
	case !strings.EqualFold(strings.TrimSpace(unit), "bytes"):
		return nil, nil
	}
	specs := strings.Split(set, ",")
	if len(specs) > MaxRanges {
		return nil, ErrRanges
	}
	var out []Span
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
		return nil, ErrRanges
	}
	return out, nil
}

// parseRange reads one range. One that begins beyond the end is not inside, and may stand beside others that are.
func parseRange(spec string, size int64) (s Span, inside bool, err error) {
	from, to, ok := strings.Cut(spec, "-")
	if !ok || from == "" && to == "" {
		return Span{}, false, ErrRanges
	}
	if from == "" {
		n, err := parseOffset(to)
		n = min(n, size)
		return Span{size - n, n}, n > 0, err
	}
	first, err := parseOffset(from)
	if err != nil {
		return Span{}, false, err
	}
	last := size - 1
	if to != "" {
		if last, err = parseOffset(to); err != nil || last < first {
			return Span{}, false, ErrRanges
		}
		last = min(last, size-1)
	}
	return Span{first, last - first + 1}, first < size, nil
}

// parseOffset takes digits only. More than fit mean as far as one can count.
func parseOffset(text string) (int64, error) {
	for _, d := range []byte(text) {
		if d < '0' || d > '9' {
			return 0, ErrRanges
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if errors.Is(err, strconv.ErrSyntax) {
		return 0, ErrRanges
	}
	return n, nil // at a number out of range it is the largest
}

func overlap(spans []Span) bool {
	for i, a := range spans {
		for _, b := range spans[:i] {
			if a.First < b.First+b.Length && b.First < a.First+a.Length {
				return true
			}
		}
	}
	return false
}
