package hostile

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestHostileArchives are published by a publisher whose tool does not look into them, for the handler tree.
func TestHostileArchives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	outside := filepath.Join(t.TempDir(), "outside")
	good := tarOf(t, tar.Header{Name: "bin/app", Mode: 0o755, Size: 100})
	w.offer("app", "1.0", good, "--handler", "tree", "--dest", "/opt/app")
	d := w.join()
	d.ends(0)
	before := tree(t, d.root)
	if !strings.Contains(before, "/bin/app -rwxr-xr-x") {
		t.Fatalf("the good archive left: %s", before)
	}
	for name, archive := range map[string][]byte{
		"climbs out":           tarOf(t, tar.Header{Name: "../../outside", Mode: 0o644, Size: 7}),
		"climbs out in a zip":  zipOf(t, "../../outside"),
		"absolute":             tarOf(t, tar.Header{Name: outside, Mode: 0o644, Size: 7}),
		"absolute symlink":     tarOf(t, tar.Header{Name: "link", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}),
		"symlink that leaves":  tarOf(t, tar.Header{Name: "a/link", Linkname: "../../x", Typeflag: tar.TypeSymlink}),
		"hard link to outside": tarOf(t, tar.Header{Name: "link", Linkname: "/etc/passwd", Typeflag: tar.TypeLink}),
		"through a symlink": tarOf(t, tar.Header{Name: "a", Linkname: ".", Typeflag: tar.TypeSymlink},
			tar.Header{Name: "a/../../outside", Mode: 0o644, Size: 7}),
		"by two symlinks": tarOf(t, tar.Header{Name: "a", Linkname: "b/..", Typeflag: tar.TypeSymlink},
			tar.Header{Name: "b", Linkname: "a/..", Typeflag: tar.TypeSymlink}, tar.Header{Name: "a/x", Mode: 0o644, Size: 7}),
		"character device": tarOf(t, tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}),
		"block device":     tarOf(t, tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8}),
		"pipe":             tarOf(t, tar.Header{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o644}),
		"setuid":           tarOf(t, tar.Header{Name: "su", Mode: 0o4755, Size: 7}),
		"setgid":           tarOf(t, tar.Header{Name: "wall", Mode: 0o2755, Size: 7}),
		"bomb":             zstdOf(t, tarOf(t, tar.Header{Name: "zeros", Mode: 0o644, Size: 256 << 20})),
		"cut":              good[:560],
		"no archive":       payload("no archive", 5000),
	} {
		id := "x-" + strings.ReplaceAll(name, " ", "-")
		w.release(id, "1.0", archive)
		w.forge(id, "1.0", func(r record) { r["handler"], r["uncompressed"] = "tree", 1<<20 })
		w.approve(id, "1.0")
		d.ends(4, id)
		if after := tree(t, d.root); after != before {
			t.Errorf("%s: there was\n%s\nand is\n%s", name, before, after)
		}
		if _, err := os.Lstat(outside); err == nil {
			t.Errorf("%s: something was written outside", name)
		}
		w.unapprove(id, "1.0")
		w.offer(id, "2.0", good, "--handler", "tree", "--dest", "/opt/"+id)
		d.ends(0)
		if info, err := os.Stat(filepath.Join(d.root, "opt", id, "bin", "app")); err != nil || info.Mode() != 0o755 {
			t.Errorf("%s: the good version is not there: %v", name, err)
		}
		before = tree(t, d.root)
	}
}

// TestPublishRefusesHostileArchives before anybody else sees them.
func TestPublishRefusesHostileArchives(t *testing.T) {
	t.Parallel()
	w := newPublisher(t)
	for name, archive := range map[string][]byte{
		"climbs out": tarOf(t, tar.Header{Name: "../../outside", Mode: 0o644, Size: 7}),
		"setuid":     tarOf(t, tar.Header{Name: "su", Mode: 0o4755, Size: 7}),
		"device":     tarOf(t, tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}),
		"no archive": payload("no archive", 5000),
	} {
		write(t, w.path("archive"), archive)
		r := w.dunlin("publish", "add", w.path(publisherName), w.path("archive"), "--id", "x", "--version", "1", "--handler", "tree", "--dest", "/opt/x")
		if r.code != 4 && r.code != 5 {
			t.Errorf("%s: %v", name, r)
		}
	}
	if out := w.must("publish", "list", w.path(publisherName), "--json"); !strings.Contains(out, `"updates":[]`) {
		t.Errorf("something was taken in: %s", out)
	}
}

// tarOf packs entries; files are full of zeros.
func tarOf(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipOf(t *testing.T, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	h := &zip.FileHeader{Name: name, Method: zip.Deflate}
	h.SetMode(fs.FileMode(0o644))
	f, err := w.CreateHeader(h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("content")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstdOf(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll(b, nil)
}
