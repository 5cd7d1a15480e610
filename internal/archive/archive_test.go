package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/internal/archive"
	"github.com/dunlin-project/dunlin/internal/fault"
)

func good() []item {
	return []item{
		{name: "bin/", kind: tar.TypeDir, mode: 0o750},
		{name: "bin/app", body: "the program", mode: 0o777},
		{name: "share/doc/readme", body: "read me"},
		{name: "empty", mode: 0o600},
		{name: "app", kind: tar.TypeSymlink, link: "bin/app"},
		{name: "share/up", kind: tar.TypeSymlink, link: "../bin/app"},
		{name: "dangling", kind: tar.TypeSymlink, link: "made/later"},
	}
}

func unpacked() map[string]string {
	return map[string]string{
		".": "drwxr-xr-x", "bin": "drwxr-x---", "bin/app": "-rwxr-xr-x the program",
		"share": "drwxr-xr-x", "share/doc": "drwxr-xr-x", "share/doc/readme": "-rw-r--r-- read me",
		"empty": "-rw------- ", "app": "-> bin/app", "share/up": "-> ../bin/app", "dangling": "-> made/later",
	}
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	plain := makeTar(t, good()...)
	for name, packed := range map[string][]byte{
		"tar":        plain,
		"tar.gz":     gzipped(t, plain),
		"tar.zst":    zstdPacked(t, plain),
		"zip":        makeZip(t, good()...),
		"gz members": append(gzipped(t, plain[:1000]), gzipped(t, plain[1000:])...),
		"zst frames": append(zstdPacked(t, plain[:1000]), zstdPacked(t, plain[1000:])...),
		"padded":     append(bytes.Clone(plain), make([]byte, 10<<10)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := unpack(t, packed, archive.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, unpacked()) {
				t.Errorf("got %q\nwant %q", got, unpacked())
			}
		})
	}
}

func TestWhatTarWritesIsUnderstood(t *testing.T) {
	t.Parallel()
	got, err := unpack(t, makeTar(t,
		item{name: "./", kind: tar.TypeDir}, item{name: "./a/", kind: tar.TypeDir}, item{name: "./a/b", body: "b"},
		item{name: "./a/", kind: tar.TypeDir, mode: 0o555}, // said again, as `tar --append` does
		item{name: "c", kind: tar.TypeLink, link: "./a/b"},
	), archive.Options{})
	want := map[string]string{".": "drwxr-xr-x", "a": "drwxr-xr-x", "a/b": "-rw-r--r-- b", "c": "-rw-r--r-- b"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestGitArchiveHeader(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "0123"}}))
	must(t, w.WriteHeader(item{name: "f"}.header()))
	must(t, w.Close())
	got, err := unpack(t, b.Bytes(), archive.Options{})
	if err != nil || len(got) != 2 {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestOwnersTimesAndAttributes(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h := item{name: "d/f"}.header()
	h.Uid, h.Gid, h.ModTime = 4711, 4712, time.Unix(1_500_000_000, 0)
	h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	must(t, w.WriteHeader(h))
	must(t, w.WriteHeader(item{name: "l", kind: tar.TypeSymlink, link: "d/f"}.header()))
	must(t, w.Close())
	in := t.TempDir()
	dir, err := os.OpenRoot(in)
	must(t, err)
	o := archive.Options{Bytes: 1, Owner: &archive.Owner{UID: os.Getuid(), GID: os.Getgid()}}
	if os.Geteuid() == 0 {
		o.Owner = &archive.Owner{UID: 1, GID: 2}
	}
	if _, err := archive.Unpack(t.Context(), dir, section(b.Bytes()), o); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".", "d", "d/f", "l"} {
		info, err := os.Lstat(filepath.Join(in, name))
		must(t, err)
		if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != o.Owner.UID || int(st.Gid) != o.Owner.GID {
			t.Errorf("%s belongs to %d:%d", name, st.Uid, st.Gid)
		}
	}
	path := filepath.Join(in, "d/f")
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(h.ModTime) {
		t.Errorf("time %v, %v", info.ModTime(), err)
	}
	if n, err := syscall.Getxattr(path, "security.capability", nil); err == nil {
		t.Errorf("it has capabilities: %d bytes", n)
	}
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func TestExactlyTheSignedSizeIsAllowed(t *testing.T) {
	t.Parallel()
	body := string(bytes.Repeat([]byte("0123456789"), 10_000))
	for name, packed := range map[string][]byte{
		"tar": makeTar(t, item{name: "f", body: body}), "zip": makeZip(t, item{name: "f", body: body}),
		"zst": zstdPacked(t, makeTar(t, item{name: "f", body: body})),
	} {
		if _, err := unpack(t, packed, archive.Options{Bytes: 100_000}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := unpack(t, packed, archive.Options{Bytes: 99_999}); !fault.Is(err, fault.Untrusted) {
			t.Errorf("%s, one less: %v", name, err)
		}
	}
}

func TestUnpackStopsWithItsContext(t *testing.T) {
	t.Parallel()
	dir, err := os.OpenRoot(t.TempDir())
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := archive.Unpack(ctx, dir, section(makeTar(t, good()...)), archive.Options{Bytes: 1 << 20}); fault.Of(err) != fault.Internal || ctx.Err() == nil {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
}

// broken is a disk that fails behind its first bytes.
type broken struct{ *bytes.Reader }

func (b broken) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > 1024 {
		return 0, syscall.EIO
	}
	return b.Reader.ReadAt(p, at)
}

func TestABrokenDiskIsNoHostileArchive(t *testing.T) {
	t.Parallel()
	plain := makeTar(t, good()...)
	for name, packed := range map[string][]byte{
		"tar": plain, "gz": append(gzipped(t, plain), make([]byte, 2048)...), "zip": makeZip(t, good()...),
		"zst": zstdPacked(t, plain, zstd.WithEncoderLevel(zstd.SpeedFastest)),
	} {
		dir, err := os.OpenRoot(t.TempDir())
		must(t, err)
		r := io.NewSectionReader(broken{bytes.NewReader(packed)}, 0, 1<<20)
		if _, err := archive.Unpack(t.Context(), dir, r, archive.Options{Bytes: 1 << 20}); fault.Is(err, fault.Untrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
