package piecehash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/piecehash/bencode"
)

// sampleTorrent is the metainfo of three pieces as a dictionary, for tests to spoil.
func sampleTorrent(t testing.TB) (map[string]any, *Manifest) {
	t.Helper()
	m, _, err := Sum(context.Background(), bytes.NewReader(stream(40<<10)), 16<<10)
	if err != nil {
		t.Fatal(err)
	}
	mi := Metainfo{Name: "a file.bin", Manifest: m, URLs: []string{"http://o.example/dir/"}}
	b, err := mi.Encode()
	if err != nil {
		t.Fatal(err)
	}
	v, err := bencode.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return v.(map[string]any), m
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := bencode.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMetainfoComesBack(t *testing.T) {
	t.Parallel()
	sum := Hash(sha256.Sum256([]byte("whole")))
	for _, n := range []int{1, 16 << 10, 16<<10 + 1, 100 << 10} {
		m, _, err := Sum(t.Context(), bytes.NewReader(stream(n)), 16<<10)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range []Metainfo{
			{Name: "plain", Manifest: m},
			{Name: "ünï cödé.iso", Manifest: m, SHA256: &sum, URLs: []string{"http://a.example/x", "https://b.example/y/"}},
		} {
			b, err := in.Encode()
			if err != nil {
				t.Fatal(err)
			}
			out, err := ParseMetainfo(b)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*out, in) {
				t.Errorf("%d bytes: %+v became %+v", n, in, *out)
			}
		}
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	m := Metainfo{Name: "a b?.iso", URLs: []string{"http://h/f", "http://h/dir/"}}
	if got, want := m.Origins(), []string{"http://h/f", "http://h/dir/a%20b%3F.iso"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestURLList(t *testing.T) {
	t.Parallel()
	long := "http://h/" + strings.Repeat("x", MaxURLLength)
	for name, c := range map[string]struct {
		in   any
		want []string
		bad  bool
	}{
		"none":         {in: nil},
		"string":       {in: "http://h/f", want: []string{"http://h/f"}},
		"empty string": {in: ""},
		"list":         {in: []any{"http://h/f", "", "https://i/"}, want: []string{"http://h/f", "https://i/"}},
		"ftp too":      {in: []any{"ftp://h/f", "http://h/f"}, want: []string{"http://h/f"}},
		"integer":      {in: int64(1), bad: true},
		"nested":       {in: []any{[]any{"http://h/"}}, bad: true},
		"no host":      {in: "http:///f", bad: true},
		"no URL":       {in: "http://h\x00/", bad: true},
		"long":         {in: long, bad: true},
		"many":         {in: slices.Repeat([]any{"http://h/"}, MaxURLs+1), bad: true},
	} {
		top, _ := sampleTorrent(t)
		delete(top, "url-list")
		if c.in != nil {
			top["url-list"] = c.in
		}
		m, err := ParseMetainfo(encode(t, top))
		if (err != nil) != c.bad || err == nil && !slices.Equal(m.URLs, c.want) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// dig follows keys down to a dictionary.
func dig(d map[string]any, keys ...string) map[string]any {
	for _, k := range keys {
		d = d[k].(map[string]any)
	}
	return d
}

func TestUnsupportedTorrents(t *testing.T) {
	t.Parallel()
	file := []string{"info", "file tree", "a file.bin", ""}
	for name, c := range map[string]struct {
		spoil func(top map[string]any)
		want  *Unsupported
	}{
		"v1 only": {func(top map[string]any) {
			top["info"] = map[string]any{"name": "x", "piece length": 16384, "length": 5, "pieces": strings.Repeat("h", 20)}
		}, errV1Only},
		"newer":     {func(top map[string]any) { dig(top, "info")["meta version"] = 3 }, errVersion},
		"two files": {func(top map[string]any) { dig(top, "info", "file tree")["b"] = dig(top, file[:3]...) }, errMultiFile},
		"folder":    {func(top map[string]any) { dig(top, "info")["name"] = "folder" }, errMultiFile},
		"deep folder": {func(top map[string]any) {
			dig(top, file[:2]...)["a file.bin"] = map[string]any{"x": dig(top, file[:3]...)}
		}, errMultiFile},
		"no tree": {func(top map[string]any) { dig(top, "info")["file tree"] = map[string]any{} }, errMultiFile},
		"v1 folder": {func(top map[string]any) {
			maps.Copy(dig(top, "info"), map[string]any{"pieces": "", "files": []any{}})
		}, errMultiFile},
		"link":  {func(top map[string]any) { dig(top, file...)["attr"] = "xl" }, errSymlink},
		"empty": {func(top map[string]any) { d := dig(top, file...); d["length"] = 0; delete(d, "pieces root") }, errEmptyFile},
	} {
		top, _ := sampleTorrent(t)
		c.spoil(top)
		var u *Unsupported
		if _, err := ParseMetainfo(encode(t, top)); !errors.As(err, &u) || u != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDamagedTorrents(t *testing.T) {
	t.Parallel()
	file := []string{"info", "file tree", "a file.bin", ""}
	for name, spoil := range map[string]func(top map[string]any, m *Manifest){
		"no info":         func(top map[string]any, _ *Manifest) { delete(top, "info") },
		"info is a list":  func(top map[string]any, _ *Manifest) { top["info"] = []any{} },
		"no version":      func(top map[string]any, _ *Manifest) { delete(dig(top, "info"), "meta version") },
		"no name":         func(top map[string]any, _ *Manifest) { delete(dig(top, "info"), "name") },
		"name is a path":  func(top map[string]any, _ *Manifest) { dig(top, "info")["name"] = "../a" },
		"no piece length": func(top map[string]any, _ *Manifest) { delete(dig(top, "info"), "piece length") },
		"piece length":    func(top map[string]any, _ *Manifest) { dig(top, "info")["piece length"] = 16385 },
		"tree is a list":  func(top map[string]any, _ *Manifest) { dig(top, "info")["file tree"] = []any{} },
		"no length":       func(top map[string]any, _ *Manifest) { delete(dig(top, file...), "length") },
		"negative length": func(top map[string]any, _ *Manifest) { dig(top, file...)["length"] = -1 },
		"huge length":     func(top map[string]any, _ *Manifest) { dig(top, file...)["length"] = int64(1) << 62 },
		"other length":    func(top map[string]any, _ *Manifest) { dig(top, file...)["length"] = 64 << 10 },
		"no root":         func(top map[string]any, _ *Manifest) { delete(dig(top, file...), "pieces root") },
		"short root":      func(top map[string]any, _ *Manifest) { dig(top, file...)["pieces root"] = "short" },
		"attr":            func(top map[string]any, _ *Manifest) { dig(top, file...)["attr"] = 1 },
		"no layers":       func(top map[string]any, _ *Manifest) { delete(top, "piece layers") },
		"no layer":        func(top map[string]any, _ *Manifest) { top["piece layers"] = map[string]any{} },
		"flipped layer": func(top map[string]any, m *Manifest) {
			root, layer := m.Root(), m.Layer()
			layer[40] ^= 1
			top["piece layers"] = map[string]any{string(root[:]): layer}
		},
		"sha256 short": func(top map[string]any, _ *Manifest) { top[keySHA256] = "short" },
		"sha256 int":   func(top map[string]any, _ *Manifest) { top[keySHA256] = 1 },
		"v1 length": func(top map[string]any, _ *Manifest) {
			maps.Copy(dig(top, "info"), map[string]any{"pieces": strings.Repeat("h", 60), "length": 40<<10 - 1})
		},
		"v1 pieces": func(top map[string]any, _ *Manifest) {
			maps.Copy(dig(top, "info"), map[string]any{"pieces": strings.Repeat("h", 40), "length": 40 << 10})
		},
		"v1 no length": func(top map[string]any, _ *Manifest) { dig(top, "info")["pieces"] = strings.Repeat("h", 60) },
		"v1 type":      func(top map[string]any, _ *Manifest) { dig(top, "info")["pieces"] = 1 },
	} {
		top, m := sampleTorrent(t)
		spoil(top, m)
		var u *Unsupported
		if got, err := ParseMetainfo(encode(t, top)); err == nil || errors.As(err, &u) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	for name, b := range map[string][]byte{"empty": nil, "no bencode": []byte("<html>"), "list": []byte("le")} {
		if _, err := ParseMetainfo(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := ParseMetainfo(make([]byte, MaxMetainfoSize+1)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too large: %v", err)
	}
}

func TestAGoodHybridAndStrangeKeys(t *testing.T) {
	t.Parallel()
	top, m := sampleTorrent(t)
	maps.Copy(dig(top, "info"), map[string]any{"pieces": strings.Repeat("h", 60), "length": 40 << 10, "private": 1})
	top["announce"], top["zzz"] = "udp://t/", []any{}
	if got, err := ParseMetainfo(encode(t, top)); err != nil || got.Manifest.Root() != m.Root() {
		t.Errorf("%+v %v", got, err)
	}
}

func TestEncodeRefusesWhatParseWould(t *testing.T) {
	t.Parallel()
	_, m := sampleTorrent(t)
	for name, mi := range map[string]Metainfo{
		"no manifest": {Name: "x"},
		"name":        {Name: "a/b", Manifest: m},
		"ftp":         {Name: "x", Manifest: m, URLs: []string{"ftp://h/"}},
		"no URL":      {Name: "x", Manifest: m, URLs: []string{"http://"}},
	} {
		if _, err := mi.Encode(); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{
		"a": true, "debian-13.iso": true, "ünï cödé": true, "-rf": true, "a..b": true, "семья👩‍👩‍👧": true,
		strings.Repeat("x", MaxNameLength): true, strings.Repeat("x", MaxNameLength+1): false,
		"": false, ".": false, "..": false, ".bashrc": false, "a/b": false, "/a": false, `a\b`: false, "a\x00b": false,
		"a\nb": false, "a\x7fb": false, "a\u202egpj.exe": false, "\xff": false,
	} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzParseMetainfo(f *testing.F) {
	top, _ := sampleTorrent(f)
	f.Add(encode(f, top))
	maps.Copy(dig(top, "info"), map[string]any{"pieces": strings.Repeat("h", 60), "length": 40 << 10})
	top["url-list"], top[keySHA256] = []any{"http://a/", "ftp://b"}, strings.Repeat("s", 32)
	f.Add(encode(f, top))
	for _, name := range []string{"v2.torrent", "hybrid.torrent", "v1.torrent"} {
		f.Add(testdata(f, name))
	}
	f.Add([]byte("d4:infod9:file treede12:meta versioni2e4:name1:xee"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMetainfo(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatalf("parsed but not encoded: %v", err)
		}
		if m2, err := ParseMetainfo(again); err != nil || !reflect.DeepEqual(m, m2) {
			t.Errorf("%+v became %+v: %v", m, m2, err)
		}
	})
}
