package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// MaxInteger bounds the absolute value of every number: beyond 2^53-1 other readers of JSON lose digits.
const MaxInteger = 1<<53 - 1

// Limits says how much is read, and how strictly.
type Limits struct {
	Bytes int // length of the text; required
	Depth int // levels of objects and arrays; required

	// PlainKeys demands that every key is made of a-z, 0-9 and underscores. Records of our own are so; it rules out keys
	// that encoding/json would take for one another.
	PlainKeys bool
}

// Check reports whether b is one JSON value within the limits: valid UTF-8 without a byte order mark, no carriage return,
// no null, integers only (no fraction, no exponent, no minus zero) of at most MaxInteger, no key twice in an object,
// no \u escape with upper-case digits or for half a surrogate pair, nothing after the value but line feeds and spaces.
func Check(b []byte, l Limits) error {
	if len(b) > l.Bytes {
		return fmt.Errorf("check JSON: %d bytes, at most %d are read", len(b), l.Bytes)
	}
	if !utf8.Valid(b) {
		return fmt.Errorf("check JSON: not valid UTF-8")
	}
	if i := bytes.IndexByte(b, '\r'); i >= 0 {
		return fmt.Errorf("check JSON: carriage return at byte %d", i)
	}
	s := scanner{b: b, limits: l}
	if err := s.document(); err != nil {
		return fmt.Errorf("check JSON: byte %d: %w", s.at, err)
	}
	return nil
}

// Unmarshal checks b and decodes it into v as encoding/json does.
func Unmarshal(b []byte, l Limits, v any) error {
	if err := Check(b, l); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// Canonical returns b with sorted keys, without white space and with the fewest escapes. b must have passed Check; two
// texts of the same value have the same canonical form.
func Canonical(b []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("canonicalise JSON: %w", err)
	}
	return Marshal(v)
}

// Marshal is json.Marshal without the escapes that are only of use inside HTML.
func Marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
