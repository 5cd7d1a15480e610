package strictjson

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
)

// scanner walks one JSON text. It builds nothing but the sets of keys of the objects it is inside of.
type scanner struct {
	b      []byte
	at     int
	depth  int
	limits Limits
}

func (s *scanner) document() error {
	if err := s.value(); err != nil {
		return err
	}
	s.space()
	if s.at != len(s.b) {
		return errors.New("something stands after the value")
	}
	return nil
}

func (s *scanner) space() {
	for s.at < len(s.b) && (s.b[s.at] == ' ' || s.b[s.at] == '\n' || s.b[s.at] == '\t') {
		s.at++
	}
}

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.at == len(s.b) {
		return 0
	}
	return s.b[s.at]
}

func (s *scanner) take(c byte) error {
	if s.peek() != c {
		return fmt.Errorf("want %q", c)
	}
	s.at++
	return nil
}

func (s *scanner) value() error {
	switch c := s.peek(); {
	case c == '{':
		return s.nested(s.object)
	case c == '[':
		return s.nested(s.array)
	case c == '"':
		_, err := s.text()
		return err
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == '-' || c >= '0' && c <= '9':
		return s.integer()
	case c == 'n':
		return errors.New("null has no meaning here")
	default:
		return errors.New("want a value")
	}
}

func (s *scanner) nested(read func() error) error {
	if s.depth++; s.depth > s.limits.Depth {
		return fmt.Errorf("nested deeper than %d levels", s.limits.Depth)
	}
	s.at++
	err := read()
	s.depth--
	return err
}

func (s *scanner) object() error {
	if s.peek() == '}' {
		s.at++
		return nil
	}
	seen := map[string]struct{}{}
	for {
		if err := s.member(seen); err != nil {
			return err
		}
		if s.peek() != ',' {
			return s.take('}')
		}
		s.at++
	}
}

func (s *scanner) member(seen map[string]struct{}) error {
	if s.peek() != '"' {
		return errors.New("want a key")
	}
	key, err := s.text()
	if err != nil {
		return err
	}
	if _, twice := seen[key]; twice {
		return fmt.Errorf("key %.60q stands twice in one object", key)
	}
	seen[key] = struct{}{}
	if s.limits.PlainKeys && !plain(key) {
		return fmt.Errorf("key %.60q: only a-z, 0-9 and underscores may stand in a key", key)
	}
	if err := s.take(':'); err != nil {
		return err
	}
	return s.value()
}

func plain(key string) bool {
	for i := range len(key) {
		if c := key[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return key != ""
}

func (s *scanner) array() error {
	if s.peek() == ']' {
		s.at++
		return nil
	}
	for {
		if err := s.value(); err != nil {
			return err
		}
		if s.peek() != ',' {
			return s.take(']')
		}
		s.at++
	}
}

func (s *scanner) word(w string) error {
	if len(s.b)-s.at < len(w) || string(s.b[s.at:s.at+len(w)]) != w {
		return fmt.Errorf("want %s", w)
	}
	s.at += len(w)
	return nil
}

func (s *scanner) integer() error {
	start := s.at
	if s.b[s.at] == '-' {
		s.at++
	}
	digits := s.at
	for s.at < len(s.b) && s.b[s.at] >= '0' && s.b[s.at] <= '9' {
		s.at++
	}
	text := string(s.b[start:s.at])
	if n := s.at - digits; n == 0 || s.b[digits] == '0' && (n > 1 || start != digits) {
		return fmt.Errorf("%.40s is no integer in its shortest form", text)
	}
	if s.at < len(s.b) && (s.b[s.at] == '.' || s.b[s.at] == 'e' || s.b[s.at] == 'E') {
		return errors.New("only integers are read")
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > MaxInteger || n < -MaxInteger {
		return fmt.Errorf("%.40s is beyond 2^53-1", text)
	}
	return nil
}

// text reads a string and returns its value.
func (s *scanner) text() (string, error) {
	s.at++
	var out []byte
	for s.at < len(s.b) {
		switch c := s.b[s.at]; {
		case c == '"':
			s.at++
			return string(out), nil
		case c < 0x20:
			return "", errors.New("control character in a string")
		case c == '\\':
			r, err := s.escape()
			if err != nil {
				return "", err
			}
			out = append(out, string(r)...)
		default:
			out = append(out, c)
			s.at++
		}
	}
	return "", errors.New("string without an end")
}

func (s *scanner) escape() (rune, error) {
	if len(s.b)-s.at < 2 {
		return 0, errors.New("string without an end")
	}
	c := s.b[s.at+1]
	s.at += 2
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return s.unicode()
	}
	return 0, fmt.Errorf("unknown escape %q", c)
}

func (s *scanner) unicode() (rune, error) {
	r, err := s.hex4()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	if len(s.b)-s.at < 2 || s.b[s.at] != '\\' || s.b[s.at+1] != 'u' {
		return 0, errors.New("half a surrogate pair")
	}
	s.at += 2
	low, err := s.hex4()
	if err != nil {
		return 0, err
	}
	if r = utf16.DecodeRune(r, low); r == '\uFFFD' {
		return 0, errors.New("half a surrogate pair")
	}
	return r, nil
}

func (s *scanner) hex4() (rune, error) {
	if len(s.b)-s.at < 4 {
		return 0, errors.New("string without an end")
	}
	var r rune
	for _, c := range s.b[s.at : s.at+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		default:
			return 0, fmt.Errorf("%q is no lower-case hex digit", c)
		}
	}
	s.at += 4
	return r, nil
}
