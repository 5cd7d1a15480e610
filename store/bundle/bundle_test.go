package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

const pieceLength = 16 << 10

// lengths of the contents of most tests: of less than a piece, of whole pieces, and of some.
func lengths() []int64 { return []int64{1, 5000, 4 * pieceLength, 9*pieceLength + 77} }

// shop is a store and what is in it, or is to come into it.
type shop struct {
	t testing.TB
	*store.Store
	dir  string
	data map[piecehash.Root][]byte
	m    []*piecehash.Manifest // in the order of roots
}

func emptyShop(t testing.TB) *shop {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &shop{t: t, Store: s, dir: dir, data: make(map[piecehash.Root][]byte)}
}

func fullShop(t testing.TB, lengths ...int64) *shop {
	t.Helper()
	s := emptyShop(t)
	for i, n := range lengths {
		data, m := fetchtest.Content(uint64(i), n, pieceLength)
		s.put(data, m, true)
		s.data[m.Root()] = data
		s.m = append(s.m, m)
	}
	slices.SortFunc(s.m, func(a, b *piecehash.Manifest) int { return compare(a.Root(), b.Root()) })
	return s
}

// put stores content, or half of it.
func (s *shop) put(data []byte, m *piecehash.Manifest, whole bool) {
	s.t.Helper()
	p, err := s.Begin(context.Background(), m)
	if err != nil {
		s.t.Fatal(err)
	}
	defer p.Close()
	for i := range m.Pieces() {
		if !whole && i%2 == 0 {
			continue
		}
		if _, err := p.Put(i, data[m.Offset(i):][:m.PieceSize(i)]); err != nil {
			s.t.Fatal(err)
		}
	}
	if whole {
		f, err := p.Seal(context.Background())
		if err != nil {
			s.t.Fatal(err)
		}
		f.Close()
	}
}

func (s *shop) roots() (out []piecehash.Root) {
	for _, m := range s.m {
		out = append(out, m.Root())
	}
	return out
}

func (s *shop) export() []byte {
	s.t.Helper()
	var b bytes.Buffer
	if _, err := Export(context.Background(), &b, s.Store, s.roots(), nil); err != nil {
		s.t.Fatal(err)
	}
	return b.Bytes()
}

// mustHave checks that a store has exactly what is in another shop, whole and right.
func (s *shop) mustHave(want *shop) {
	s.t.Helper()
	got, err := s.Roots()
	if err != nil || len(got) != len(want.m) {
		s.t.Fatalf("%d contents, want %d: %v", len(got), len(want.m), err)
	}
	for _, m := range want.m {
		f, err := s.File(m.Root())
		if err != nil {
			s.t.Error(err)
			continue
		}
		b, err := os.ReadFile(f.Path())
		if err != nil || !bytes.Equal(b, want.data[m.Root()]) {
			s.t.Errorf("content %v is another one: %v", m.Root(), err)
		}
		f.Close()
	}
}

// TestThereAndBack: by a pipe and by a file, and once more into a store that has it all.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	from := fullShop(t, lengths()...)
	bundle := from.export()
	for name, r := range map[string]io.Reader{"pipe": io.MultiReader(bytes.NewReader(bundle)), "file": bytes.NewReader(bundle)} {
		to := emptyShop(t)
		got, err := Import(t.Context(), r, to.Store, nil)
		if err != nil || got.Contents != 4 || got.There != 0 || got.Bytes != got.Total {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		to.mustHave(from)
		got, err = Import(t.Context(), bytes.NewReader(bundle), to.Store, nil)
		if err != nil || got.Contents != 4 || got.There != 4 {
			t.Errorf("%s, again: %+v, %v", name, got, err)
		}
	}
	if again := from.export(); !bytes.Equal(again, bundle) {
		t.Error("a second export is another file")
	}
	none := fullShop(t)
	if got, err := Import(t.Context(), bytes.NewReader(none.export()), emptyShop(t).Store, nil); err != nil || got.Of != 0 {
		t.Errorf("an empty bundle: %+v, %v", got, err)
	}
}

// TestOthersCanReadIt: it is a tar of metainfo files and of what they describe, and of nothing else.
func TestOthersCanReadIt(t *testing.T) {
	t.Parallel()
	from := fullShop(t, lengths()...)
	r := tar.NewReader(bytes.NewReader(from.export()))
	var names []string
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		switch root, err := piecehash.ParseRoot(h.Name); {
		case err == nil && !bytes.Equal(b, from.data[root]):
			t.Errorf("%s is another content", h.Name)
		case err != nil && filepath.Ext(h.Name) == ".torrent":
			if m, err := piecehash.ParseMetainfo(b); err != nil || m.Name+".torrent" != h.Name {
				t.Errorf("%s: %v", h.Name, err)
			}
		}
	}
	want := []string{"dunlin-bundle.json"}
	for _, m := range from.m {
		want = append(want, m.Root().String()+".torrent", m.Root().String())
	}
	if !slices.Equal(names, want) {
		t.Errorf("the names are %q", names)
	}
}

// TestImportGoesOn: whatever an import that broke off has left, the next one brings the rest.
func TestImportGoesOn(t *testing.T) {
	t.Parallel()
	from := fullShop(t, lengths()...)
	bundle := from.export()
	for n := 0; n < len(bundle)-1024; n += len(bundle)/7 + 13 { // of the end, which is zeros, none is missed
		to := emptyShop(t)
		_, err := Import(t.Context(), io.MultiReader(bytes.NewReader(bundle[:n])), to.Store, nil)
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("cut after %d bytes of %d: %v", n, len(bundle), err)
		}
		if _, err := Import(t.Context(), bytes.NewReader(bundle), to.Store, nil); err != nil {
			t.Errorf("after %d bytes and again: %v", n, err)
		}
		to.mustHave(from)
	}
}

// TestImportBesideOthers: what is begun is gone on with, what somebody is fetching is left to him.
func TestImportBesideOthers(t *testing.T) {
	t.Parallel()
	from := fullShop(t, lengths()...)
	to := emptyShop(t)
	begun, busy := from.m[0], from.m[2]
	to.put(from.data[begun.Root()], begun, false)
	p, err := to.Begin(t.Context(), busy)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Import(t.Context(), bytes.NewReader(from.export()), to.Store, nil)
	if err != nil || got.Contents != 4 || got.Busy != 1 || got.There != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if err := p.Discard(); err != nil {
		t.Fatal(err)
	}
	if got, err = Import(t.Context(), bytes.NewReader(from.export()), to.Store, nil); err != nil || got.There != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	to.mustHave(from)
}

// TestExportOfDamage: nothing leaves that is not what it should be, and no file has the name of a bundle that is none.
func TestExportOfDamage(t *testing.T) {
	t.Parallel()
	from := fullShop(t, lengths()...)
	path := filepath.Join(from.dir, "sealed", from.m[3].Root().String())
	b, err := os.ReadFile(path)
	if err == nil {
		b[len(b)/2] ^= 4
		err = errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, b, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "bundle")
	if _, err := File(t.Context(), out, from.Store, from.roots(), nil); !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
		t.Errorf("export: %v", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("the file has its name")
	}
	if _, err := File(t.Context(), out, from.Store, []piecehash.Root{{1}}, nil); !fault.Is(err, fault.Usage) {
		t.Errorf("export of what is not there: %v", err)
	}
}

// TestExportGoesOn: what an earlier run has left under the name is kept as far as it is right, and no further.
func TestExportGoesOn(t *testing.T) {
	t.Parallel()
	from := fullShop(t, lengths()...)
	want := from.export()
	for name, left := range map[string][]byte{
		"nothing": nil, "half": want[:len(want)/2], "a hole": append(slices.Clone(want[:9000]), make([]byte, 90000)...),
		"another": bytes.Repeat([]byte("x"), 3*len(want)), "all and more": append(slices.Clone(want), "more"...), "all": want,
	} {
		path := filepath.Join(t.TempDir(), "bundle")
		if err := os.WriteFile(path+partSuffix, left, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := File(t.Context(), path, from.Store, from.roots(), nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: another file: %v", name, err)
		}
		if _, err := File(t.Context(), path, from.Store, from.roots(), nil); !fault.Is(err, fault.Refused) {
			t.Errorf("%s, and again: %v", name, err)
		}
	}
}
