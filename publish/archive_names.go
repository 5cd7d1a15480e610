package publish

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// node is one name of an archive: its type as in a tar header, and where a link leads.
type node struct {
	kind byte
	link string
}

// entry takes the next name in, with the folders above it.
func (w *walk) entry(name string, mode fs.FileMode, n node) error {
	if err := w.count(name, n.link); err != nil {
		return err
	}
	clean, err := cleanName(name, n.kind == tar.TypeDir)
	if err != nil || clean == "." {
		return err
	}
	if mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
		return fmt.Errorf("%.200q has the setuid, setgid or sticky bit", name)
	}
	if old, taken := w.seen[clean]; taken {
		if old.kind == tar.TypeDir && n.kind == tar.TypeDir {
			return nil
		}
		return fmt.Errorf("%.200q is in it twice", name)
	}
	if err := w.parents(clean); err != nil {
		return err
	}
	if err := w.checkKind(clean, n); err != nil {
		return err
	}
	if n.kind == tar.TypeLink {
		n = node{kind: tar.TypeReg}
	}
	w.seen[clean] = n
	return nil
}

func (w *walk) count(name, link string) error {
	w.entries++
	w.names += len(name) + len(link)
	if w.entries > maxEntries || w.names > maxNames || len(w.seen) > 2*maxEntries {
		return fmt.Errorf("more than %d entries or %d bytes of names", maxEntries, maxNames)
	}
	return nil
}

func (w *walk) parents(name string) error {
	for p := path.Dir(name); ; p = path.Dir(p) {
		switch n, there := w.seen[p]; {
		case !there:
			w.seen[p] = node{kind: tar.TypeDir}
			w.names += len(p)
		case n.kind != tar.TypeDir:
			return fmt.Errorf("%.200q lies below %.200q, which is no folder", name, p)
		default:
			return nil
		}
	}
}

func (w *walk) checkKind(name string, n node) error {
	switch n.kind {
	case tar.TypeReg, tar.TypeDir:
		return nil
	case tar.TypeSymlink:
		if n.link == "" || len(n.link) > maxName || path.IsAbs(n.link) || !fs.ValidPath(path.Join(path.Dir(name), n.link)) {
			return fmt.Errorf("link %.200q leads outside, to %.200q", name, n.link)
		}
		return checkText(n.link)
	case tar.TypeLink:
		target, err := cleanName(n.link, false)
		if err == nil && w.seen[target].kind != tar.TypeReg {
			err = fmt.Errorf("hard link %.200q leads to %.200q, which is no file before it", name, n.link)
		}
		return err
	default:
		return fmt.Errorf("%.200q is neither file, folder nor link", name)
	}
}

// cleanName returns the name below the folder, "." for the folder itself. A leading "./" and the slash behind a folder are
// what tar writes; any other detour is refused.
func cleanName(name string, folder bool) (string, error) {
	clean := strings.TrimPrefix(name, "./")
	if folder {
		clean = strings.TrimSuffix(clean, "/")
		if name == "./" {
			return ".", nil
		}
	}
	if clean == "" || clean != path.Clean(clean) || !fs.ValidPath(clean) {
		return "", fmt.Errorf("name %.200q is absolute, leads upwards or takes a detour", name)
	}
	if len(clean) > maxName || strings.Count(clean, "/") >= maxDepth {
		return "", fmt.Errorf("name %.200q is too long or too deep", name)
	}
	for element := range strings.SplitSeq(clean, "/") {
		if len(element) > maxElement {
			return "", fmt.Errorf("name %.200q has an element of more than %d bytes", name, maxElement)
		}
	}
	return clean, checkText(clean)
}

func checkText(s string) error {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }) {
		return fmt.Errorf("name %.200q is not UTF-8 or holds control characters", s)
	}
	return nil
}

// finish follows every link now that all names are known: one that looks harmless may lead outside over another.
func (w *walk) finish() error {
	if len(w.seen) == 1 {
		return errors.New("it is empty")
	}
	for name, n := range w.seen {
		if n.kind != tar.TypeSymlink {
			continue
		}
		if err := w.follow(name); err != nil {
			return fmt.Errorf("link %.200q: %w", name, err)
		}
	}
	return nil
}

// follow walks a path element by element, as a kernel does. A name that is not there is no harm.
func (w *walk) follow(name string) error {
	const maxLinks = 40 // as in Linux
	var at []string     // where we are, below the folder
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		element := rest[0]
		rest = rest[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return errors.New("it leads outside")
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(at, element)
		n, there := w.seen[strings.Join(at, "/")]
		if !there {
			return nil
		}
		if n.kind != tar.TypeSymlink {
			continue
		}
		if links++; links > maxLinks {
			return errors.New("it leads in circles")
		}
		at = at[:len(at)-1]
		rest = append(strings.Split(n.link, "/"), rest...)
	}
	return nil
}
