package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// cleanName returns the name below the folder, "." for the folder itself. A leading "./" and a folder's trailing slash
// are what tar writes; any other detour is refused.
func cleanName(name string, k kind) (string, error) {
	clean := strings.TrimPrefix(name, "./")
	if k == folder {
		clean = strings.TrimSuffix(clean, "/")
	}
	if name == "./" && k == folder {
		return ".", nil
	}
	if err := checkText(clean); err != nil {
		return "", err
	}
	switch {
	case clean == "" || clean != path.Clean(clean) || !fs.ValidPath(clean):
		return "", hostile("name %q is absolute, leads upwards or takes a detour", shorten(name))
	case len(clean) > MaxPath || strings.Count(clean, "/") >= MaxDepth:
		return "", hostile("name %q is longer than %d bytes or deeper than %d folders", shorten(name), MaxPath, MaxDepth)
	}
	return clean, checkElements(clean)
}

func checkElements(name string) error {
	for element := range strings.SplitSeq(name, "/") {
		if len(element) > MaxElement {
			return hostile("name %q has an element longer than %d bytes", shorten(name), MaxElement)
		}
	}
	return nil
}

// checkText keeps out what would mislead whoever lists the folder.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return hostile("name %q is not UTF-8", shorten(s))
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return hostile("name %q holds the control character %q", shorten(s), r)
		}
	}
	return nil
}

func checkMode(e entry) error {
	if e.mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
		return fault.WithHint(
			hostile("%q has the setuid, setgid or sticky bit", shorten(e.name)),
			"the publisher must leave such bits to the packages of the system")
	}
	return nil
}

// checkLink looks at the text of a symlink; where it leads over other links is looked at in the end.
func checkLink(e entry) error {
	if e.link == "" || len(e.link) > MaxPath || path.IsAbs(e.link) || !fs.ValidPath(path.Join(path.Dir(e.name), e.link)) {
		return hostile("link %q leads to %q, out of the folder", shorten(e.name), shorten(e.link))
	}
	if err := checkElements(e.link); err != nil {
		return err
	}
	return checkText(e.link)
}

// damaged wraps what a decoder says about the archive.
func damaged(where string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return hostile("%s: it ends too early: %w", where, err)
	}
	return hostile("%s: %w", where, err)
}

// shorten keeps messages readable; %q at the place of use takes care of the rest.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s... (%d bytes)", s[:most], len(s))
}
