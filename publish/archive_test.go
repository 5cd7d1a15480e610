package publish

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/internal/fault"
)

func quiet(int64) {}

func measured(b []byte, most int64) (int64, error) {
	return measure(context.Background(), bytes.NewReader(b), int64(len(b)), most, quiet)
}

func file(name, content string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}, content}
}

func special(name string, kind byte, link string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: kind, Mode: 0o755, Linkname: link}, ""}
}

type tarEntry struct {
	tar.Header
	content string
}

func tarOf(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipOf(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstdOf(t testing.TB, b []byte, o ...zstd.EOption) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, o...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type zipEntry struct {
	name, content string
	mode          fs.FileMode
}

func zipOf(t testing.TB, entries ...zipEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(e.mode)
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(f, e.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func goodTar(t testing.TB) []byte {
	return tarOf(t, special("./", tar.TypeDir, ""), special("bin/", tar.TypeDir, ""), file("bin/editor", strings.Repeat("x", 3000)),
		special("bin/e", tar.TypeSymlink, "editor"), special("lib/up", tar.TypeSymlink, "../bin/editor"), file("./README", "hi"))
}

func TestMeasureGoodArchives(t *testing.T) {
	t.Parallel()
	plain := goodTar(t)
	zipped := zipOf(t, zipEntry{"bin/", "", fs.ModeDir | 0o755}, zipEntry{"bin/editor", strings.Repeat("x", 3000), 0o755},
		zipEntry{"bin/e", "editor", fs.ModeSymlink | 0o777})
	for name, tc := range map[string]struct {
		b    []byte
		want int64
	}{
		"tar":        {plain, int64(len(plain))},
		"tar.gz":     {gzipOf(t, plain), int64(len(plain))},
		"tar.zst":    {zstdOf(t, plain), int64(len(plain))},
		"zip":        {zipped, 3000 + int64(len("editor"))},
		"empty file": {zipOf(t, zipEntry{"a", "", 0o644}), 1},
	} {
		got, err := measured(tc.b, 0)
		if err != nil || got != tc.want {
			t.Errorf("%s: %d %v, want %d", name, got, err, tc.want)
		}
		if _, err := measured(tc.b, got); err != nil {
			t.Errorf("%s: within its own bound: %v", name, err)
		}
		if _, err := measured(tc.b, got-1); got > 1 && (!fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "--uncompressed-size")) {
			t.Errorf("%s: beyond the bound: %v", name, err)
		}
	}
}

func TestMeasureRefusesHostileArchives(t *testing.T) {
	t.Parallel()
	setuid := file("su", "x")
	setuid.Mode = 0o4755
	for name, b := range map[string][]byte{
		"upwards":              tarOf(t, file("../x", "")),
		"deep upwards":         tarOf(t, file("a/../../x", "")),
		"rooted":               tarOf(t, file("/etc/x", "")),
		"backslash":            tarOf(t, file(`..\x`, "")),
		"link out":             tarOf(t, special("l", tar.TypeSymlink, "../x"), file("a", "")),
		"rooted link":          tarOf(t, special("l", tar.TypeSymlink, "/etc/passwd"), file("a", "")),
		"link out of a folder": tarOf(t, special("d/l", tar.TypeSymlink, "../../x"), file("a", "")),
		"hard link":            tarOf(t, file("a", ""), special("l", tar.TypeLink, "a")),
		"device":               tarOf(t, special("d", tar.TypeChar, ""), file("a", "")),
		"FIFO":                 tarOf(t, special("d", tar.TypeFifo, ""), file("a", "")),
		"setuid":               tarOf(t, setuid),
		"nothing":              tarOf(t),
		"only folders":         tarOf(t, special("d/", tar.TypeDir, "")),
		"garbage":              []byte("hello, world"),
		"one byte":             []byte("x"),
		"cut tar":              goodTar(t)[:1500],
		"cut gzip":             gzipOf(t, goodTar(t))[:60],
		"cut zstd":             zstdOf(t, goodTar(t))[:40],
		"cut zip":              zipOf(t, zipEntry{"a", "b", 0o644})[:30],
		"gzip of nothing":      gzipOf(t, nil),
		"zip upwards":          zipOf(t, zipEntry{"../x", "", 0o644}),
		"zip link out":         zipOf(t, zipEntry{"l", "../x", fs.ModeSymlink | 0o777}, zipEntry{"a", "", 0o644}),
		"zip device":           zipOf(t, zipEntry{"d", "", fs.ModeDevice | 0o644}),
		"zip setuid":           zipOf(t, zipEntry{"d", "", fs.ModeSetuid | 0o755}),
		"zip of nothing":       zipOf(t),
	} {
		if _, err := measured(b, 0); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A small payload that unpacks to gigabytes is noticed by counting, not by believing what it says of itself.
func TestMeasureStopsBombs(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, 32<<20)
	after := append(goodTar(t), zeros...)
	for name, b := range map[string][]byte{
		"gzip": gzipOf(t, after), "zstd": zstdOf(t, after),
		"file in tar.gz": gzipOf(t, tarOf(t, file("a", string(zeros)))),
		"zip":            zipOf(t, zipEntry{"a", string(zeros), 0o644}),
	} {
		if _, err := measured(b, 1<<20); !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), "more than 1048576") {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := measured(b, 0); err != nil || got < int64(len(zeros)) {
			t.Errorf("%s: counted %d, %v", name, got, err)
		}
	}
}

func TestMeasureEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := goodTar(t)
	if _, err := measure(ctx, bytes.NewReader(b), int64(len(b)), 0, quiet); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzMeasure(f *testing.F) {
	f.Add(goodTar(f))
	f.Add(gzipOf(f, goodTar(f)))
	f.Add(zstdOf(f, goodTar(f)))
	f.Add(zipOf(f, zipEntry{"a", "b", 0o644}))
	f.Fuzz(func(t *testing.T, b []byte) {
		const most = 1 << 20
		n, err := measured(b, most)
		if err == nil && (n < 1 || n > most) {
			t.Errorf("measured %d", n)
		}
	})
}

func TestFileNamesInComments(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"editor.tar.zst": "editor.tar.zst", "my file": "my_file", "a\nb": "a_b", "\x1b[31m": "_[31m", "é": "é",
		strings.Repeat("é", 150): strings.Repeat("é", 100),
	} {
		if got := plainName(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	got := TrustedComment("acme", "editor", "1.0", "x y")
	if strings.Count(got, " ") != 4 || strings.ContainsAny(got, "\n\r") {
		t.Errorf("%q", got)
	}
}
