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
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/internal/archive"
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

// corpus of archives that a device takes, with the bytes in their files, and of ones that it refuses.
func goodArchives(t testing.TB) map[string][]byte {
	plain := goodTar(t)
	return map[string][]byte{
		"tar": plain, "tar.gz": gzipOf(t, plain), "tar.zst": zstdOf(t, plain),
		"zip": zipOf(t, zipEntry{"bin/", "", fs.ModeDir | 0o755}, zipEntry{"bin/editor", strings.Repeat("x", 3002), 0o755},
			zipEntry{"bin/e", "editor", fs.ModeSymlink | 0o777}),
		"hard link":     tarOf(t, file("a", strings.Repeat("x", 3002)), special("b", tar.TypeLink, "a")),
		"global header": tarOf(t, tarEntry{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, ""}, file("a", strings.Repeat("x", 3002))),
		"folder twice":  tarOf(t, special("d/", tar.TypeDir, ""), file("d/a", strings.Repeat("x", 3002)), special("d/", tar.TypeDir, "")),
		"dangling link": tarOf(t, special("l", tar.TypeSymlink, "none"), file("a", strings.Repeat("x", 3002))),
		"link to link":  tarOf(t, file("d/a", strings.Repeat("x", 3002)), special("l", tar.TypeSymlink, "m"), special("m", tar.TypeSymlink, "d/../d/a")),
		"backslash":     tarOf(t, file(`a\b`, strings.Repeat("x", 3002))),
		"padded":        append(tarOf(t, file("a", strings.Repeat("x", 3002))), make([]byte, 9<<10)...),
	}
}

func badArchives(t testing.TB) map[string][]byte {
	setuid := file("su", "x")
	setuid.Mode = 0o4755
	return map[string][]byte{
		"upwards":              tarOf(t, file("../x", "")),
		"deep upwards":         tarOf(t, file("a/../../x", "")),
		"detour":               tarOf(t, file("a//x", "")),
		"rooted":               tarOf(t, file("/etc/x", "")),
		"link out":             tarOf(t, special("l", tar.TypeSymlink, "../x"), file("a", "")),
		"rooted link":          tarOf(t, special("l", tar.TypeSymlink, "/etc/passwd"), file("a", "")),
		"link out of a folder": tarOf(t, special("d/l", tar.TypeSymlink, "../../x"), file("a", "")),
		"link out over a link": tarOf(t, special("d/e/", tar.TypeDir, ""), special("l", tar.TypeSymlink, "d/e"), special("m", tar.TypeSymlink, "l/../../../x"),
			special("n", tar.TypeSymlink, "l/../.."), special("d/o", tar.TypeSymlink, "../l/../..")),
		"below a link":    tarOf(t, special("l", tar.TypeSymlink, "d"), file("l/x", "")),
		"below a file":    tarOf(t, file("f", ""), file("f/x", "")),
		"circle":          tarOf(t, special("l", tar.TypeSymlink, "m"), special("m", tar.TypeSymlink, "l")),
		"twice":           tarOf(t, file("a", "x"), file("a", "y")),
		"hard link out":   tarOf(t, special("l", tar.TypeLink, "../x")),
		"hard link ahead": tarOf(t, special("l", tar.TypeLink, "a"), file("a", "")),
		"device":          tarOf(t, special("d", tar.TypeChar, ""), file("a", "")),
		"FIFO":            tarOf(t, special("d", tar.TypeFifo, ""), file("a", "")),
		"setuid":          tarOf(t, setuid),
		"nothing":         tarOf(t),
		"garbage":         []byte("hello, world"),
		"one byte":        []byte("x"),
		"control":         tarOf(t, file("a\nb", "")),
		"bidi":            tarOf(t, file("a\u202eb", "")),
		"long element":    tarOf(t, file(strings.Repeat("a", 256), "")),
		"long name":       tarOf(t, file(strings.Repeat("abc/", 520)+"a", "")),
		"deep":            tarOf(t, file(strings.Repeat("a/", 64)+"a", "")),
		"tail":            append(goodTar(t), "something"...),
		"cut tar":         goodTar(t)[:1500],
		"cut gzip":        gzipOf(t, goodTar(t))[:60],
		"cut zstd":        zstdOf(t, goodTar(t))[:40],
		"cut zip":         zipOf(t, zipEntry{"a", "b", 0o644})[:30],
		"gzip of nothing": gzipOf(t, nil),
		"zip upwards":     zipOf(t, zipEntry{"../x", "", 0o644}),
		"zip backslash":   zipOf(t, zipEntry{`a\x`, "", 0o644}),
		"zip link out":    zipOf(t, zipEntry{"l", "../x", fs.ModeSymlink | 0o777}, zipEntry{"a", "", 0o644}),
		"zip device":      zipOf(t, zipEntry{"d", "", fs.ModeDevice | 0o644}),
		"zip setuid":      zipOf(t, zipEntry{"d", "", fs.ModeSetuid | 0o755}),
		"zip of nothing":  zipOf(t),
		"zip tail":        append(zipOf(t, zipEntry{"a", "", 0o644}), "something"...),
		"zip twice":       zipOf(t, zipEntry{"a", "x", 0o644}, zipEntry{"a", "y", 0o644}),
		"zip file folder": zipOf(t, zipEntry{"a", "x", 0o644}, zipEntry{"a/b", "y", 0o644}),
		"through a file":  tarOf(t, file("f", ""), special("l", tar.TypeSymlink, "f/../f")),
	}
}

func TestMeasureGoodArchives(t *testing.T) {
	t.Parallel()
	for name, b := range goodArchives(t) {
		got, err := measured(b, 0)
		if err != nil || got != 3002 {
			t.Errorf("%s: %d %v, want 3002", name, got, err)
		}
		if _, err := measured(b, 3002); err != nil {
			t.Errorf("%s: within its own bound: %v", name, err)
		}
		if _, err := measured(b, 3001); !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "--uncompressed-size") {
			t.Errorf("%s: beyond the bound: %v", name, err)
		}
	}
	if got, err := measured(zipOf(t, zipEntry{"a", "", 0o644}), 0); err != nil || got != 1 {
		t.Errorf("an empty file: %d %v", got, err)
	}
}

func TestMeasureRefusesHostileArchives(t *testing.T) {
	t.Parallel()
	for name, b := range badArchives(t) {
		if _, err := measured(b, 0); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is accepted here must unpack on the device, within the size that is signed.
func TestMeasureAgreesWithTheDevice(t *testing.T) {
	t.Parallel()
	for name, b := range goodArchives(t) {
		if err := unpack(t, b, 3002); err != nil {
			t.Errorf("%s: the device refuses: %v", name, err)
		}
	}
	for name, b := range badArchives(t) {
		if err := unpack(t, b, maxUnpacked); err == nil {
			t.Errorf("%s: the device takes it", name)
		}
	}
}

func unpack(t *testing.T, b []byte, most int64) error {
	t.Helper()
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	_, err = archive.Unpack(t.Context(), dir, io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))), archive.Options{Bytes: most})
	return err
}

// The window is what a device must hold in memory. This one announces 256 MiB in its frame header (RFC 8878, 3.1.1.1.2),
// and holds one empty block.
func TestMeasureRefusesAWideWindow(t *testing.T) {
	t.Parallel()
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, (28 - 10) << 3, 0x01, 0x00, 0x00}
	if _, err := measured(b, 0); !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), "window") {
		t.Errorf("got %v", err)
	}
}

// A small payload that unpacks to gigabytes is noticed by counting, not by believing what it says of itself.
func TestMeasureStopsBombs(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, 4<<20)
	after := append(goodTar(t), zeros...)
	for name, b := range map[string][]byte{
		"gzip": gzipOf(t, after), "zstd": zstdOf(t, after), // behind its end: as many as archive.MaxTail
		"file in tar.gz": gzipOf(t, tarOf(t, file("a", string(zeros)))),
		"zip":            zipOf(t, zipEntry{"a", string(zeros), 0o644}),
	} {
		if _, err := measured(b, 1<<20); !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), "more than 1048576") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A disk that fails is no archive that is refused.
func TestMeasurePassesOnReadErrors(t *testing.T) {
	t.Parallel()
	if _, err := measure(t.Context(), brokenDisk{}, 4096, 0, quiet); !errors.Is(err, syscall.EIO) || fault.Is(err, fault.Refused) {
		t.Errorf("got %v", err)
	}
}

type brokenDisk struct{}

func (brokenDisk) ReadAt([]byte, int64) (int, error) { return 0, syscall.EIO }

func TestMeasureTellsHowFarItIs(t *testing.T) {
	t.Parallel()
	for name, b := range goodArchives(t) {
		var last int64
		_, err := measure(t.Context(), bytes.NewReader(b), int64(len(b)), 0, func(done int64) {
			if done < last || done > int64(len(b)) {
				t.Errorf("%s: %d after %d", name, done, last)
			}
			last = done
		})
		if err != nil || last != int64(len(b)) {
			t.Errorf("%s: ends with %d of %d, %v", name, last, len(b), err)
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
		if err != nil {
			return
		}
		if n < 1 || n > most {
			t.Errorf("measured %d", n)
		}
		if err := unpack(t, b, n); err != nil {
			t.Errorf("the device refuses: %v", err)
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
