package publish

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
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/internal/fault"
)

const (
	// maxUnpacked bounds what an archive may unpack to when the publisher names no bound, in bytes.
	maxUnpacked = 1 << 40
	// maxEntries bounds the entries of an archive.
	maxEntries = 1 << 20
	// maxWindow bounds the window of zstd, in bytes: a device must hold it in memory. It is that of `zstd --ultra -22`
	// without --long, and twice as much.
	maxWindow = 256 << 20
)

// measure walks an archive as the tree handler of a device would, refuses what that would refuse, and returns how many
// bytes a device has to allow for: for a tar, the whole unpacked stream with its headers. most is the bound the publisher
// named, 0 for none.
func measure(ctx context.Context, r io.ReaderAt, length, most int64, tell func(done int64)) (int64, error) {
	if most == 0 {
		most = maxUnpacked
	}
	var magic [4]byte
	if _, err := r.ReadAt(magic[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read archive: %w", err)
	}
	w := &walk{ctx: ctx, left: most, most: most}
	if bytes.Equal(magic[:], []byte("PK\x03\x04")) {
		return w.zip(r, length)
	}
	src := &watched{r: io.NewSectionReader(r, 0, length), tell: tell}
	switch {
	case bytes.HasPrefix(magic[:], []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(src)
		if err != nil {
			return 0, fault.New(fault.Refused, "read archive: gzip: %w", err)
		}
		return w.tar(z)
	case bytes.Equal(magic[:], []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(src, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return 0, fault.New(fault.Refused, "read archive: zstd: %w", err)
		}
		defer z.Close()
		return w.tar(z)
	default:
		return w.tar(src)
	}
}

// watched tells how much of the payload has been read.
type watched struct {
	r    io.Reader
	done int64
	tell func(int64)
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	w.done += int64(n)
	w.tell(w.done)
	return n, err
}

// walk counts what an archive unpacks to, and stops when it is too much.
type walk struct {
	ctx        context.Context
	left, most int64
	entries    int
}

var errTooLarge = errors.New("too large")

// bounded reads at most what is left, and a byte to notice that there is more.
type bounded struct {
	w *walk
	r io.Reader
}

func (b bounded) Read(p []byte) (int, error) {
	if err := b.w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if b.w.left -= int64(n); b.w.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

func (w *walk) wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTooLarge):
		return fault.WithHint(fault.New(fault.Refused, "read archive: it unpacks to more than %d bytes", w.most), "say how much it may be with --uncompressed-size")
	case w.ctx.Err() != nil:
		return fmt.Errorf("read archive: %w", w.ctx.Err())
	default:
		return fault.WithHint(fault.Wrap(fault.Refused, fmt.Errorf("read archive: %w", err)), "the handler tree takes tar, tar.gz, tar.zst and zip")
	}
}

func (w *walk) tar(r io.Reader) (int64, error) {
	all := bounded{w, r}
	t := tar.NewReader(all)
	files := 0
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = w.entry(h.Name, h.FileInfo().Mode(), h.Typeflag, h.Linkname)
		}
		if err == nil && h.Typeflag == tar.TypeReg {
			files++
			_, err = io.Copy(io.Discard, t)
		}
		if err != nil {
			return 0, w.wrap(err)
		}
	}
	if _, err := io.Copy(io.Discard, all); err != nil { // what follows the end counts, too
		return 0, w.wrap(err)
	}
	if files == 0 {
		return 0, w.wrap(errors.New("it holds no file"))
	}
	return w.most - w.left, nil
}

func (w *walk) zip(r io.ReaderAt, length int64) (int64, error) {
	z, err := zip.NewReader(r, length)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return 0, w.wrap(err)
	}
	files := 0
	for _, f := range z.File {
		if err := w.zipEntry(f); err != nil {
			return 0, w.wrap(fmt.Errorf("%.200q: %w", f.Name, err))
		}
		if f.Mode().IsRegular() {
			files++
		}
	}
	if files == 0 {
		return 0, w.wrap(errors.New("it holds no file"))
	}
	return max(w.most-w.left, 1), nil
}

func (w *walk) zipEntry(f *zip.File) error {
	const maxLink = 4 << 10 // bytes, as PATH_MAX
	content, err := f.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	if f.Mode()&fs.ModeSymlink != 0 {
		link, err := io.ReadAll(io.LimitReader(bounded{w, content}, maxLink+1))
		if err != nil {
			return err
		}
		return w.entry(f.Name, f.Mode(), tar.TypeSymlink, string(link))
	}
	kind := byte(tar.TypeReg)
	if f.Mode().IsDir() {
		kind = tar.TypeDir
	} else if !f.Mode().IsRegular() {
		kind = tar.TypeChar
	}
	if err := w.entry(f.Name, f.Mode(), kind, ""); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, bounded{w, content})
	return err
}

// entry refuses what could reach outside the folder or gain rights there.
func (w *walk) entry(name string, mode fs.FileMode, kind byte, link string) error {
	if w.entries++; w.entries > maxEntries {
		return fmt.Errorf("more than %d entries", maxEntries)
	}
	if kind == tar.TypeXGlobalHeader {
		return nil
	}
	if !local(name) {
		return fmt.Errorf("entry %.200q leads outside", name)
	}
	if mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
		return fmt.Errorf("entry %.200q has a setuid, setgid or sticky bit", name)
	}
	switch kind {
	case tar.TypeReg, tar.TypeDir:
		return nil
	case tar.TypeSymlink:
		if path.IsAbs(link) || link == "" || !local(path.Join(path.Dir(path.Clean(name)), link)) {
			return fmt.Errorf("link %.200q leads outside, to %.200q", name, link)
		}
		return nil
	default:
		return fmt.Errorf("entry %.200q is neither file, folder nor symbolic link", name)
	}
}

func local(name string) bool {
	return filepath.IsLocal(name) && !strings.ContainsAny(name, "\\\x00")
}

// checkProgram takes what a kernel can run by descriptor: an ELF file or a script.
func checkProgram(r io.ReaderAt) error {
	var head [4]byte
	if _, err := r.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read program: %w", err)
	}
	if string(head[:]) == "\x7fELF" || string(head[:2]) == "#!" {
		return nil
	}
	return fault.WithHint(fault.New(fault.Refused, "read program: it is neither an ELF file nor a script"),
		"the handler exec runs the payload itself; begin a script with #!")
}
