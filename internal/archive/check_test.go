package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/internal/archive"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// Every other test of this package holds Check to Unpack, too: see unpack in helper_test.go.

func TestCheck(t *testing.T) {
	t.Parallel()
	want := archive.Stats{Entries: 7, Bytes: int64(len("the program" + "read me"))}
	for name, packed := range map[string][]byte{"tar": makeTar(t, good()...), "zip": makeZip(t, good()...)} {
		for _, most := range []int64{want.Bytes, 1 << 40} {
			if got, err := archive.Check(t.Context(), section(packed), archive.Options{Bytes: most}); err != nil || got != want {
				t.Errorf("%s of at most %d: %+v, %v", name, most, got, err)
			}
		}
		_, err := archive.Check(t.Context(), section(packed), archive.Options{Bytes: want.Bytes - 1})
		if !errors.Is(err, archive.ErrTooLarge) || !fault.Is(err, fault.Untrusted) {
			t.Errorf("%s, one less: %v", name, err)
		}
	}
}

func TestCheckStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := archive.Check(ctx, section(makeTar(t, good()...)), archive.Options{Bytes: 1 << 20})
	if !errors.Is(err, context.Canceled) || fault.Of(err) != fault.Internal {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
}

func link(name, to string) item { return item{name: name, kind: tar.TypeSymlink, link: to} }

// chain is n links that lead one to the next, and the last of them to end.
func chain(n int, end string) []item {
	var items []item
	for i := 1; i < n; i++ {
		items = append(items, link(fmt.Sprintf("l%d", i), fmt.Sprintf("l%d", i+1)))
	}
	return append(items, link(fmt.Sprintf("l%d", n), end))
}

// Where a link leads is decided by the names of the archive; the folder on the disk must agree.
func TestWhereLinksLead(t *testing.T) {
	t.Parallel()
	const nowhere = "nowhere allowed"
	for name, a := range map[string]struct {
		items []item
		why   string // "": it is allowed
	}{
		"eight":                   {append(chain(8, "f"), item{name: "f"}), ""},
		"nine":                    {append(chain(9, "f"), item{name: "f"}), nowhere},
		"nine, dangling":          {chain(9, "none"), nowhere},
		"folder with slash":       {[]item{{name: "d/f"}, link("l", "d/")}, ""},
		"folder with dots":        {[]item{{name: "d/f"}, link("l", "./d//./f")}, ""},
		"file with slash":         {[]item{{name: "f"}, link("l", "f/")}, nowhere},
		"file with dot":           {[]item{{name: "f"}, link("l", "f/.")}, nowhere},
		"through a file":          {[]item{{name: "f"}, {name: "g"}, link("l", "f/../g")}, nowhere},
		"below a file":            {[]item{{name: "f"}, link("l", "f/g")}, nowhere},
		"link with slash to file": {[]item{{name: "f"}, link("m", "f"), link("l", "m/")}, nowhere},
		"through what is missing": {[]item{{name: "f"}, link("l", "none/../f")}, ""},
		"itself":                  {[]item{link("l", "l")}, nowhere},
		"the folder":              {[]item{{name: "d/f"}, link("d/l", "..")}, ""},
		"below itself":            {[]item{link("l", "l/x")}, nowhere},
		"up from a link":          {[]item{{name: "a/b/f"}, link("l", "a/b"), link("m", "l/../b/f")}, ""},
		"out over a link":         {[]item{{name: "a/f"}, link("a/l", "../a"), link("m", "a/l/../../a")}, "out of the folder"},
		"out, seen only on foot":  {[]item{{name: "a/b/f"}, link("a/b/up", "../.."), link("m", "a/b/up/../f")}, nowhere},
		"turns eight times":       {[]item{{name: "d/f"}, link("l", strings.Repeat("d/../", 8)+"d")}, ""},
		"turns nine times":        {[]item{{name: "d/f"}, link("l", strings.Repeat("d/../", 9)+"d")}, nowhere},
		"many up are one turn":    {[]item{{name: "a/b/c/d/f"}, link("l", "a/b/c/d/../../../../a")}, ""},
		"element too long":        {[]item{link("l", strings.Repeat("n", 256))}, "element"},
		"longest element":         {[]item{link("l", strings.Repeat("n", 255))}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if a.why != "" {
				refused(t, makeTar(t, a.items...), a.why)
			} else if _, err := unpack(t, makeTar(t, a.items...), archive.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// What a tar takes beside the content of its files is bounded whatever the files hold; a publisher's large bound must not
// hide what a device's exact one would refuse.
func TestHeadersDoNotGrowWithTheContent(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]struct {
		comment int
		sound   bool
	}{"a little": {4 << 10, true}, "too much": {100 << 10, false}} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		h := item{name: "f", body: "x"}.header()
		h.PAXRecords = map[string]string{"DUNLIN.comment": strings.Repeat("c", a.comment)}
		must(t, w.WriteHeader(h))
		_, err := w.Write([]byte("x"))
		must(t, err)
		must(t, w.Close())
		for _, most := range []int64{1, 1 << 40} {
			if _, err := unpack(t, b.Bytes(), archive.Options{Bytes: most}); (err == nil) != a.sound || errors.Is(err, archive.ErrTooLarge) {
				t.Errorf("%s, at most %d: %v", name, most, err)
			}
		}
	}
}
