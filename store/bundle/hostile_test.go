package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

// item is one entry of a bundle that is written by hand.
type item struct {
	name string
	body []byte
	kind byte   // 0 is a file
	link string // of a link
}

func pack(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := tarHeader(i.name, int64(len(i.body)))
		if i.kind != 0 {
			h.Typeflag, h.Linkname = i.kind, i.link
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(i.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sound are the entries of a good bundle of two contents.
func sound(t testing.TB) (items []item, m []*piecehash.Manifest) {
	t.Helper()
	from := fullShop(t, 3*pieceLength, 5000)
	items = []item{{name: headName, body: fmt.Appendf(nil, `{"format":"dunlin-bundle","version":1,"contents":2,"bytes":%d}`, 3*pieceLength+5000)}}
	for _, m := range from.m {
		b, err := metainfo(m)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, item{name: m.Root().String() + metaSuffix, body: b}, item{name: m.Root().String(), body: from.data[m.Root()]})
	}
	return items, from.m
}

func with(items []item, i int, change func(*item)) []item {
	out := append([]item(nil), items...)
	change(&out[i])
	return out
}

// TestHostileBundles: whoever wrote the file, nothing gets into the store that is not what its root says, and nothing gets
// anywhere else.
func TestHostileBundles(t *testing.T) {
	t.Parallel()
	good, m := sound(t)
	other, _ := fetchtest.Content(77, 5000, pieceLength)
	head := func(text string) []item { return with(good, 0, func(i *item) { i.body = []byte(text) }) }
	foreign, err := (&piecehash.Metainfo{Name: "evil.iso", Manifest: m[0]}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	flipped := func(b []byte, at int) []byte { out := bytes.Clone(b); out[at] ^= 1; return out }
	for name, c := range map[string]struct {
		bundle []byte
		kind   fault.Kind
		stored int // contents that came before, and are right
	}{
		"no tar":                {[]byte(strings.Repeat("hello", 1000)), fault.Untrusted, 0},
		"empty":                 {nil, fault.Unavailable, 0},
		"a tar of others":       {pack(t, item{name: "etc/passwd", body: []byte("x")}), fault.Untrusted, 0},
		"no head":               {pack(t, good[1:]...), fault.Untrusted, 0},
		"head is no JSON":       {pack(t, head("hello")...), fault.Untrusted, 0},
		"head of another":       {pack(t, head(`{"format":"x","version":1,"contents":2,"bytes":54152}`)...), fault.Untrusted, 0},
		"a later version":       {pack(t, head(`{"format":"dunlin-bundle","version":2,"contents":"many"}`)...), fault.Untrusted, 0},
		"a later version, read": {pack(t, head(`{"format":"dunlin-bundle","version":2,"more":1}`)...), fault.Usage, 0},
		"head says more":        {pack(t, head(`{"format":"dunlin-bundle","version":1,"contents":2,"bytes":54152,"x":1}`)...), fault.Untrusted, 0},
		"head is large":         {pack(t, head(strings.Repeat(" ", maxHead+1))...), fault.Untrusted, 0},
		"contents missing":      {pack(t, head(`{"format":"dunlin-bundle","version":1,"contents":3,"bytes":54152}`)...), fault.Unavailable, 2},
		"contents too many":     {pack(t, head(`{"format":"dunlin-bundle","version":1,"contents":1,"bytes":49152}`)...), fault.Untrusted, 1},
		"too many by far":       {pack(t, head(`{"format":"dunlin-bundle","version":1,"contents":99999999,"bytes":1}`)...), fault.Untrusted, 0},
		"bytes do not add up":   {pack(t, head(`{"format":"dunlin-bundle","version":1,"contents":2,"bytes":54151}`)...), fault.Untrusted, 2},
		"wrong order":           {pack(t, good[0], good[3], good[4], good[1], good[2]), fault.Untrusted, 1},
		"twice the same":        {pack(t, good[0], good[1], good[2], good[1], good[2]), fault.Untrusted, 1},
		"data before metainfo":  {pack(t, good[0], good[2], good[1], good[3], good[4]), fault.Untrusted, 0},
		"another's name":        {pack(t, with(good, 1, func(i *item) { i.body = foreign })...), fault.Untrusted, 0},
		"another's metainfo":    {pack(t, with(good, 1, func(i *item) { i.body = good[3].body })...), fault.Untrusted, 0},
		"a name that leads out": {pack(t, with(good, 2, func(i *item) { i.name = "../" + i.name })...), fault.Untrusted, 0},
		"metainfo leads out":    {pack(t, with(good, 1, func(i *item) { i.name = "/etc/" + i.name })...), fault.Untrusted, 0},
		"a link for data":       {pack(t, with(good, 2, func(i *item) { i.kind, i.link, i.body = tar.TypeSymlink, "/etc/passwd", nil })...), fault.Untrusted, 0},
		"a folder for data":     {pack(t, with(good, 2, func(i *item) { i.kind, i.body = tar.TypeDir, nil })...), fault.Untrusted, 0},
		"a device between":      {pack(t, good[0], item{name: "null", kind: tar.TypeChar}, good[1], good[2], good[3], good[4]), fault.Untrusted, 0},
		"another length":        {pack(t, with(good, 2, func(i *item) { i.body = i.body[1:] })...), fault.Untrusted, 0},
		"a piece is wrong":      {pack(t, with(good, 4, func(i *item) { i.body = flipped(i.body, len(i.body)-1) })...), fault.Untrusted, 1},
		"all of it is wrong":    {pack(t, with(good, 4, func(i *item) { i.body = append(bytes.Clone(other), make([]byte, len(i.body))...)[:len(i.body)] })...), fault.Untrusted, 1},
		"a layer is wrong":      {pack(t, with(good, 1, func(i *item) { i.body = flipped(i.body, len(i.body)-20) })...), fault.Untrusted, 0},
		"something behind":      {pack(t, append(good[:5:5], item{name: "more", body: []byte("x")})...), fault.Untrusted, 2},
		"noise behind":          {append(pack(t, good...), 1), fault.Untrusted, 2},
		"endless zeros behind":  {append(pack(t, good...), make([]byte, maxTail+tarPerEntry+1<<20)...), fault.Untrusted, 2},
		"endless headers":       {longNames(t), fault.Untrusted, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := emptyShop(t)
			_, err := Import(t.Context(), bytes.NewReader(c.bundle), to.Store, nil)
			if fault.Of(err) != c.kind {
				t.Errorf("kind %v, want %v: %v", fault.Of(err), c.kind, err)
			}
			mustBeRight(t, to, c.stored)
		})
	}
}

// longNames is a head behind long names without end, each of which a tar reader takes into memory.
func longNames(t testing.TB) []byte {
	t.Helper()
	one := pack(t, item{name: strings.Repeat("n", 4000), body: nil})
	one = one[:len(one)-1024-512] // without the entry itself, and the end
	return bytes.Repeat(one, 100)
}

// mustBeRight checks that every content of a store is what its root says, and that nothing lies where it should not.
func mustBeRight(t testing.TB, s *shop, want int) {
	t.Helper()
	roots, err := s.Roots()
	if err != nil || len(roots) != want && want >= 0 {
		t.Errorf("%d contents are stored, want %d: %v", len(roots), want, err)
	}
	for _, root := range roots {
		f, err := s.File(root)
		if err != nil {
			t.Fatal(err)
		}
		again, err := store.OpenAt(context.Background(), f.Path(), f.Manifest(), nil)
		if err != nil {
			t.Errorf("content %v: %v", root, err)
		} else {
			again.Close()
		}
		f.Close()
	}
	entries, err := os.ReadDir(filepath.Dir(s.dir))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the store there are %v: %v", entries, err)
	}
}

// TestBrokenInput: a disk that fails is not taken for an attack.
func TestBrokenInput(t *testing.T) {
	t.Parallel()
	good, _ := sound(t)
	r := io.MultiReader(bytes.NewReader(pack(t, good...)[:20_000]), brokenReader{})
	if _, err := Import(t.Context(), r, emptyShop(t).Store, nil); fault.Is(err, fault.Untrusted) || err == nil || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("got %v", err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, os.NewSyscallError("read", errIO) }

func TestProgressIsTold(t *testing.T) {
	t.Parallel()
	from := fullShop(t, lengths()...)
	tl := teller{tell: func(Progress) {}}
	tl.add(5)
	first := tl.last
	if tl.add(5); tl.Bytes != 10 || !tl.last.Equal(first) || time.Since(first) > time.Minute {
		t.Errorf("%+v", tl)
	}
	n := 0
	if _, err := Export(t.Context(), io.Discard, from.Store, from.roots(), func(p Progress) { n++ }); err != nil || n == 0 {
		t.Errorf("told %d times, %v", n, err)
	}
}

func FuzzImport(f *testing.F) {
	good, _ := sound(f)
	f.Add(pack(f, good...))
	f.Add(pack(f, good[:3]...))
	f.Add(longNames(f)[:20_000])
	f.Fuzz(func(t *testing.T, b []byte) {
		to := emptyShop(t)
		_, err := Import(t.Context(), bytes.NewReader(b), to.Store, nil)
		_, err2 := Import(t.Context(), io.MultiReader(bytes.NewReader(b)), to.Store, nil)
		if (err == nil) != (err2 == nil) {
			t.Errorf("of a file %v, of a pipe %v", err, err2)
		}
		mustBeRight(t, to, -1)
	})
}
