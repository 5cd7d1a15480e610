package handler_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/install/handler"
	"github.com/dunlin-project/dunlin/install/installtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

func asTree(_ string, u *metadata.Update) { u.Handler, u.Uncompressed = metadata.HandlerTree, 1<<20 }

func TestTreeFormats(t *testing.T) {
	t.Parallel()
	plain := tarOf(t, "bin/app", "program")
	var gz, zipped bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, err := g.Write(plain)
	must(t, errors.Join(err, g.Close()))
	z, err := zstd.NewWriter(nil)
	must(t, err)
	w := zip.NewWriter(&zipped)
	f, err := w.Create("bin/app")
	must(t, err)
	_, err = f.Write([]byte("program"))
	must(t, errors.Join(err, w.Close()))
	for name, payload := range map[string][]byte{"tar": plain, "gz": gz.Bytes(), "zst": z.EncodeAll(plain, nil), "zip": zipped.Bytes()} {
		b, err := install(t, payload, asTree)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := content(t, filepath.Join(b.Root, "app", "bin", "app")); got != "program" {
			t.Errorf("%s: %q", name, got)
		}
		left(t, b.Root, "app", "app.versions")
	}
}

// TestTreeKeepsOneBack: the version before stays, those before it go, and who is in an old folder stays there.
func TestTreeKeepsOneBack(t *testing.T) {
	t.Parallel()
	b := installtest.New(t, handler.All())
	dest := filepath.Join(b.Root, "app")
	var names []string
	for n := 1; n <= 4; n++ {
		version := fmt.Sprintf("%d.0", n)
		payload := tarOf(t, "version", version)
		u := b.Release(version, int64(n), payload, func(u *metadata.Update) {
			asTree("", u)
			u.Destination = dest
		})
		b.MustInstall(u, payload)
		target, err := os.Readlink(dest)
		must(t, err)
		if want := "app.versions/" + version + "-"; !strings.HasPrefix(target, want) || content(t, filepath.Join(dest, "version")) != version {
			t.Errorf("%s: it leads to %q", version, target)
		}
		names = append(names, filepath.Base(target))
		left(t, dest+".versions", names[max(0, n-2):]...)
	}
	info, err := os.Stat(dest)
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestTreeIsMended(t *testing.T) {
	t.Parallel()
	payload := tarOf(t, "file", "content")
	b, err := install(t, payload, asTree)
	must(t, err)
	dest := filepath.Join(b.Root, "app")
	u := b.Release("1.0", 1, payload, func(u *metadata.Update) {
		asTree("", u)
		u.Destination = dest
	})
	target, err := os.Readlink(dest)
	must(t, err)
	for name, spoil := range map[string]func() error{
		"the link is gone":          func() error { return os.Remove(dest) },
		"the link leads elsewhere":  func() error { return errors.Join(os.Remove(dest), os.Symlink("app.versions/0.9-0", dest)) },
		"the folder is gone":        func() error { return os.RemoveAll(filepath.Join(b.Root, target)) },
		"all versions are gone":     func() error { return os.RemoveAll(dest + ".versions") },
		"everything is gone":        func() error { return errors.Join(os.Remove(dest), os.RemoveAll(dest+".versions")) },
		"a file was left among all": func() error { return errors.Join(os.Remove(dest), os.WriteFile(dest+".versions/x", nil, 0o600)) },
	} {
		must(t, spoil())
		if i := b.Item(); i.Present {
			t.Errorf("%s: it is said to be there", name)
		}
		b.MustInstall(u, payload)
		if i := b.Item(); !i.Present || content(t, filepath.Join(dest, "file")) != "content" {
			t.Errorf("%s: not mended: %+v", name, i)
		}
		target, err = os.Readlink(dest)
		must(t, err)
	}
}

func TestTreeAtSomethingElse(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(dest string) error{
		"a folder":       func(dest string) error { return os.Mkdir(dest, 0o755) },
		"a file":         func(dest string) error { return os.WriteFile(dest, []byte("precious"), 0o600) },
		"another's link": func(dest string) error { return os.Symlink("/usr", dest) },
		"versions are a link": func(dest string) error {
			return os.Symlink("/usr", dest+".versions")
		},
		"versions are a file": func(dest string) error { return os.WriteFile(dest+".versions", nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var before []os.DirEntry
			b, err := install(t, tarOf(t, "f", "x"), func(root string, u *metadata.Update) {
				asTree(root, u)
				must(t, plant(u.Destination))
				var err error
				before, err = os.ReadDir(root)
				must(t, err)
			})
			if !fault.Is(err, fault.Install) {
				t.Errorf("%v: %v", fault.Of(err), err)
			}
			left(t, b.Root, before[0].Name())
		})
	}
}

// TestHostileTreesLeaveNothing runs some of what package archive refuses all the way through.
func TestHostileTreesLeaveNothing(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]*tar.Header{
		"up":     {Name: "../../victim", Typeflag: tar.TypeReg},
		"link":   {Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"},
		"setuid": {Name: "su", Typeflag: tar.TypeReg, Mode: 0o4755},
		"device": {Name: "d", Typeflag: tar.TypeChar},
	} {
		var packed bytes.Buffer
		w := tar.NewWriter(&packed)
		must(t, w.WriteHeader(&tar.Header{Name: "good/first", Typeflag: tar.TypeReg, Mode: 0o644}))
		must(t, w.WriteHeader(h))
		must(t, w.Close())
		b, err := install(t, packed.Bytes(), asTree)
		if !fault.Is(err, fault.Untrusted) || fault.Hint(err) == "" {
			t.Errorf("%s: %v: %v (%s)", name, fault.Of(err), err, fault.Hint(err))
		}
		left(t, b.Root)
		good := tarOf(t, "f", "x")
		b.MustInstall(b.Release("2.0", 2, good, func(u *metadata.Update) {
			asTree("", u)
			u.Destination = filepath.Join(b.Root, "app")
		}), good)
	}
}

func TestTreeMayNotBeBiggerThanSigned(t *testing.T) {
	t.Parallel()
	payload := tarOf(t, "f", strings.Repeat("x", 1000))
	for size, want := range map[int64]fault.Kind{1000: 0, 999: fault.Untrusted} {
		_, err := install(t, payload, func(root string, u *metadata.Update) {
			asTree(root, u)
			u.Uncompressed = size
		})
		if fault.Of(err) != want {
			t.Errorf("%d: %v: %v", size, fault.Of(err), err)
		}
	}
}

func TestTreeOwner(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	b, err := install(t, tarOf(t, "d/f", "x"), func(root string, u *metadata.Update) {
		asTree(root, u)
		u.Owner = "daemon:bin"
	})
	must(t, err)
	want := idsOf(t, "daemon", "bin")
	for _, name := range []string{"app/", "app/d", "app/d/f"} {
		info, err := os.Stat(filepath.Join(b.Root, name))
		must(t, err)
		if st := info.Sys().(*syscall.Stat_t); [2]uint32{st.Uid, st.Gid} != want {
			t.Errorf("%s belongs to %d:%d", name, st.Uid, st.Gid)
		}
	}
}
