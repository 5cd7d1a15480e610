package piecehash

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxNameLength bounds a file name in bytes. File systems take 255; the rest is room for the suffixes of partial files.
const MaxNameLength = 240

// CheckName refuses a file name that is not safe to create because a stranger said so: it must be one path element of
// printable UTF-8, not hidden, and must not change the direction of the text around it.
func CheckName(name string) error {
	reason := ""
	switch {
	case name == "":
		reason = "it is empty"
	case len(name) > MaxNameLength:
		reason = fmt.Sprintf("it has more than %d bytes", MaxNameLength)
	case !utf8.ValidString(name):
		reason = "it is not UTF-8"
	case name[0] == '.':
		reason = "it begins with a dot"
	case strings.ContainsAny(name, `/\`):
		reason = "it has a slash in it"
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }):
		reason = "it has a control character in it"
	default:
		return nil
	}
	if len(name) > MaxNameLength {
		name = name[:MaxNameLength]
	}
	return fmt.Errorf("file name %q: %w", name, errors.New(reason))
}
