// Package bencode reads and writes the encoding of BitTorrent's metainfo files (BEP 3), strictly: only the canonical form
// of a value is accepted, so what was read encodes to the same bytes again. Depth and number of values are bounded, and
// strings share the memory of the input; the caller bounds its length. The package trusts nothing and imports only the
// standard library. Start reading at Decode.
//
// Values are int64, string (bytes), []any and map[string]any.
package bencode

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Limits of a message. A value takes up to some hundred bytes of memory, whatever it takes in the message.
const (
	MaxDepth  = 32
	MaxValues = 1 << 16
)

// SyntaxError is the error of a message that is not canonical bencode.
type SyntaxError struct {
	Offset int // of the fault, in bytes
	What   string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("decode bencode: byte %d: %s", e.Offset, e.What)
}

// Decode reads exactly one value. The error is a *SyntaxError.
func Decode(b []byte) (any, error) {
	d := decoder{s: string(b)}
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	if d.pos != len(d.s) {
		return nil, d.fault("more follows the value")
	}
	return v, nil
}

type decoder struct {
	s      string
	pos    int
	values int
}

func (d *decoder) fault(what string) error { return &SyntaxError{d.pos, what} }

// peek returns the next byte, 0 at the end: no value begins with it.
func (d *decoder) peek() byte {
	if d.pos < len(d.s) {
		return d.s[d.pos]
	}
	return 0
}

func (d *decoder) value(depth int) (any, error) {
	if d.values++; d.values > MaxValues {
		return nil, d.fault("too many values")
	}
	if depth > MaxDepth {
		return nil, d.fault("too deep")
	}
	switch c := d.peek(); {
	case c == 'i':
		d.pos++
		return d.integer('e')
	case c == 'l':
		d.pos++
		return d.list(depth)
	case c == 'd':
		d.pos++
		return d.dict(depth)
	case c >= '0' && c <= '9':
		return d.str()
	case d.pos == len(d.s):
		return nil, d.fault("the end is missing")
	default:
		return nil, d.fault("no value begins like this")
	}
}

// integer reads a canonical decimal up to and with the byte end: no leading zero, no plus, no minus zero.
func (d *decoder) integer(end byte) (int64, error) {
	start := d.pos
	for d.pos < len(d.s) && d.s[d.pos] != end {
		if d.pos-start > len("-9223372036854775808") {
			return 0, d.fault("integer is too long")
		}
		d.pos++
	}
	text := d.s[start:d.pos]
	if d.pos == len(d.s) {
		return 0, d.fault("the end of an integer is missing")
	}
	d.pos++
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != text {
		return 0, &SyntaxError{start, "no canonical 64-bit integer"}
	}
	return n, nil
}

func (d *decoder) str() (string, error) {
	start := d.pos
	n, err := d.integer(':')
	if err != nil {
		return "", err
	}
	if n < 0 || n > int64(len(d.s)-d.pos) {
		return "", &SyntaxError{start, "string is longer than the message"}
	}
	s := d.s[d.pos : d.pos+int(n)]
	d.pos += int(n)
	return s, nil
}

func (d *decoder) list(depth int) (any, error) {
	out := []any{}
	for d.peek() != 'e' {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	d.pos++
	return out, nil
}

func (d *decoder) dict(depth int) (any, error) {
	out := map[string]any{}
	last := ""
	for d.peek() != 'e' {
		start := d.pos
		if c := d.peek(); c < '0' || c > '9' {
			return nil, d.fault("no key begins like this")
		}
		key, err := d.str()
		if err != nil {
			return nil, err
		}
		if len(out) > 0 && key <= last {
			return nil, &SyntaxError{start, "keys are not in order, or one comes twice"}
		}
		last = key
		if out[key], err = d.value(depth + 1); err != nil {
			return nil, err
		}
	}
	d.pos++
	return out, nil
}

// Encode writes v: an int, int64, string, []byte, []any or map[string]any, and what these hold.
func Encode(v any) ([]byte, error) { return appendValue(nil, v) }

var errType = errors.New("encode bencode: no such type of value")

func appendValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case int:
		return appendInt(b, int64(v)), nil
	case int64:
		return appendInt(b, v), nil
	case string:
		return appendString(b, v), nil
	case []byte:
		return appendString(b, string(v)), nil
	case []any:
		return appendList(b, v)
	case map[string]any:
		return appendDict(b, v)
	default:
		return nil, fmt.Errorf("%w: %T", errType, v)
	}
}

func appendInt(b []byte, n int64) []byte {
	return append(strconv.AppendInt(append(b, 'i'), n, 10), 'e')
}

func appendString(b []byte, s string) []byte {
	return append(append(strconv.AppendInt(b, int64(len(s)), 10), ':'), s...)
}

func appendList(b []byte, list []any) (_ []byte, err error) {
	b = append(b, 'l')
	for _, v := range list {
		if b, err = appendValue(b, v); err != nil {
			return nil, err
		}
	}
	return append(b, 'e'), nil
}

func appendDict(b []byte, dict map[string]any) (_ []byte, err error) {
	b = append(b, 'd')
	for _, k := range slices.Sorted(maps.Keys(dict)) {
		if b, err = appendValue(appendString(b, k), dict[k]); err != nil {
			return nil, err
		}
	}
	return append(b, 'e'), nil
}
