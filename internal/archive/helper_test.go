package archive_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/internal/archive"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// item is one entry of an archive to be made.
type item struct {
	name string
	kind byte // a type flag of tar; 0 is a file
	body string
	link string
	mode int64 // 0: 0644
	size int64 // of the header, when it lies
}

func (i item) header() *tar.Header {
	h := &tar.Header{Name: i.name, Typeflag: i.kind, Mode: i.mode, Linkname: i.link, Size: int64(len(i.body))}
	if h.Typeflag == 0 {
		h.Typeflag = tar.TypeReg
	}
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	if i.size != 0 {
		h.Size = i.size
	}
	return h
}

func makeTar(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		must(t, w.WriteHeader(i.header()))
		_, err := io.WriteString(w, i.body)
		must(t, err)
	}
	if err := w.Close(); err != nil && items[len(items)-1].size == 0 {
		t.Fatal(err)
	}
	return b.Bytes()
}

func makeZip(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, i := range items {
		h := &zip.FileHeader{Name: i.name, Method: zip.Deflate}
		mode := fs.FileMode(i.header().Mode & 0o777)
		switch i.kind {
		case tar.TypeSymlink:
			mode |= fs.ModeSymlink
			i.body = i.link
		case tar.TypeDir:
			mode |= fs.ModeDir
		case tar.TypeChar:
			mode |= fs.ModeDevice | fs.ModeCharDevice
		case tar.TypeFifo:
			mode |= fs.ModeNamedPipe
		}
		if i.mode&0o4000 != 0 {
			mode |= fs.ModeSetuid
		}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		must(t, err)
		_, err = io.WriteString(f, i.body)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	must(t, errors.Join(err, w.Close()))
	return out.Bytes()
}

func zstdPacked(t testing.TB, b []byte, o ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, o...)
	must(t, err)
	return w.EncodeAll(b, nil)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// unpack unpacks into a folder beside a file that nobody may touch, and returns what came to lie in the folder.
func unpack(t testing.TB, packed []byte, o archive.Options) (map[string]string, error) {
	t.Helper()
	around := t.TempDir()
	victim := filepath.Join(around, "victim")
	must(t, os.WriteFile(victim, []byte("untouched"), 0o600))
	must(t, os.Mkdir(filepath.Join(around, "in"), 0o700))
	dir, err := os.OpenRoot(filepath.Join(around, "in"))
	must(t, err)
	defer dir.Close()
	if o.Bytes == 0 {
		o.Bytes = 1 << 20
	}
	got, err := archive.Unpack(context.Background(), dir, section(packed), o)
	checkAround(t, around)
	checkAgrees(t, packed, o, got, err)
	if err != nil {
		return nil, err
	}
	return list(t, filepath.Join(around, "in")), nil
}

// checkAgrees holds Check to what Unpack did: the same error, or the same figures, and those are enough to unpack with.
func checkAgrees(t testing.TB, packed []byte, o archive.Options, unpacked archive.Stats, failed error) {
	t.Helper()
	got, err := archive.Check(context.Background(), section(packed), o)
	if got != unpacked || fmt.Sprint(err) != fmt.Sprint(failed) || fault.Of(err) != fault.Of(failed) || fault.Hint(err) != fault.Hint(failed) {
		t.Errorf("checked: %+v, %v; unpacked: %+v, %v", got, err, unpacked, failed)
	}
	if err != nil {
		return
	}
	o.Bytes = got.Bytes
	if _, err := archive.Check(context.Background(), section(packed), o); err != nil {
		t.Errorf("within its own size: %v", err)
	}
}

func checkAround(t testing.TB, around string) {
	t.Helper()
	entries, err := os.ReadDir(around)
	must(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if b, err := os.ReadFile(filepath.Join(around, "victim")); err != nil || string(b) != "untouched" || !slices.Equal(names, []string{"in", "victim"}) {
		t.Errorf("something outside was touched: %v, %q, %v", names, b, err)
	}
}

// list describes a tree: modes and contents, or where links lead.
func list(t testing.TB, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		info, err := d.Info()
		must(t, err)
		name, err := filepath.Rel(root, path)
		must(t, err)
		switch {
		case d.IsDir():
			out[name] = fmt.Sprint(info.Mode())
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			must(t, err)
			out[name] = "-> " + target
		default:
			b, err := os.ReadFile(path)
			must(t, err)
			out[name] = fmt.Sprintf("%v %s", info.Mode(), b)
		}
		return nil
	}))
	return out
}
