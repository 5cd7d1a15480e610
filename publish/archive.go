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
	"math"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// What a device accepts of an archive (install/archive). Sizes in bytes.
const (
	maxEntries  = 1 << 18
	maxNames    = 32 << 20 // of all names together
	maxName     = 2 << 10
	maxElement  = 255
	maxDepth    = 64
	maxWindow   = 128 << 20 // of zstd
	maxTail     = 1 << 20   // zeros behind the end of a tar
	perEntry    = 8 << 10   // of a tar stream, beside the content: headers, padding, long names
	streamStart = 64 << 10  // of a tar stream, before the first entry
	maxUnpacked = 1 << 40   // when the publisher names no bound
)

// measure walks an archive by the rules of the tree handler, so that nothing is released that every device would refuse,
// and returns how many bytes its files hold together: what a device must allow for. Nothing is unpacked. most is the
// bound the publisher named, 0 for none. Errors about the archive are fault.Refused.
//
// The rules are written twice, because a publisher has no part of the installer. A test holds the two against each other.
func measure(ctx context.Context, r io.ReaderAt, length, most int64, tell func(done int64)) (int64, error) {
	if most == 0 {
		most = maxUnpacked
	}
	w := &walk{ctx: ctx, left: most, most: most, seen: map[string]node{".": {kind: tar.TypeDir}}}
	err := w.read(&watched{io.NewSectionReader(r, 0, length), 0, tell})
	if err == nil {
		err = w.finish()
	}
	switch {
	case err == nil:
		return max(w.most-w.left, 1), nil // an archive of empty files still says that it is one
	case ctx.Err() != nil:
		return 0, fmt.Errorf("read archive: %w", ctx.Err())
	case errors.Is(err, errTooLarge):
		return 0, fault.WithHint(fault.New(fault.Refused, "read archive: it unpacks to more than %d bytes", most), "say how much it may be with --uncompressed-size")
	default:
		return 0, fault.WithHint(fault.New(fault.Refused, "read archive: %w", err), "the handler tree takes tar, tar.gz, tar.zst and zip with plain files, folders and links inside")
	}
}

// watched tells how much of the payload has been read.
type watched struct {
	*io.SectionReader
	done int64
	tell func(int64)
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.SectionReader.Read(b)
	w.done += int64(n)
	w.tell(w.done)
	return n, err
}

// walk is an archive being looked at.
type walk struct {
	ctx        context.Context //nolint:containedctx // it lives as long as one call of measure
	left, most int64           // bytes that files may still hold, and may hold in all
	entries    int
	names      int // bytes
	seen       map[string]node
}

var errTooLarge = errors.New("it unpacks to too much")

func (w *walk) read(src *watched) error {
	head := make([]byte, 512)
	n, err := src.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return w.zip(src)
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		z, err := gzip.NewReader(src)
		if err != nil {
			return err
		}
		return w.tar(z)
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		defer z.Close()
		return w.tar(z)
	case len(head) == 512 && string(head[257:262]) == "ustar":
		return w.tar(src)
	default:
		return errors.New("it is none by its first bytes")
	}
}

// capped is a tar stream that may not be much longer than what is in it.
type capped struct {
	ctx  context.Context //nolint:containedctx // it lives as long as one call of measure
	r    io.Reader
	left int64
}

func (c *capped) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	if int64(len(b)) > c.left {
		b = b[:c.left+1]
	}
	n, err := c.r.Read(b)
	if c.left -= int64(n); c.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

func (w *walk) tar(r io.Reader) error {
	stream := &capped{w.ctx, r, w.most + streamStart}
	t := tar.NewReader(stream)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return drain(stream)
		}
		if err != nil {
			return err
		}
		stream.left += perEntry
		if h.Typeflag == tar.TypeXGlobalHeader {
			err = w.count("", "")
		} else {
			err = w.entry(h.Name, h.FileInfo().Mode(), node{h.Typeflag, h.Linkname})
		}
		if err == nil && h.Typeflag == tar.TypeReg {
			err = w.content(t)
		}
		if err != nil {
			return err
		}
	}
}

// drain allows for the padding of the last record and nothing else behind the end.
func drain(stream *capped) error {
	stream.left = maxTail
	buf := make([]byte, 32<<10)
	for {
		n, err := stream.Read(buf)
		if len(bytes.Trim(buf[:n], "\x00")) > 0 {
			return errors.New("something follows its end")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// content counts the bytes of one file, as they come and not as they are announced.
func (w *walk) content(r io.Reader) error {
	n, err := io.Copy(io.Discard, &capped{w.ctx, r, w.left})
	w.left -= n
	return err
}

func (w *walk) zip(src *watched) error {
	z, err := zip.NewReader(src, src.Size())
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // entry looks at the names
		return err
	}
	for i, f := range z.File {
		if err := w.zipEntry(f); err != nil {
			return fmt.Errorf("%.200q: %w", f.Name, err)
		}
		src.tell(src.Size() * int64(i+1) / int64(len(z.File)))
	}
	return nil
}

func (w *walk) zipEntry(f *zip.File) error {
	if strings.ContainsRune(f.Name, '\\') || f.UncompressedSize64 > math.MaxInt64 {
		return errors.New("its name holds a backslash, or its size cannot be")
	}
	body, err := f.Open()
	if err != nil {
		return err
	}
	defer body.Close()
	switch m := f.Mode(); {
	case m.IsRegular():
		if err := w.entry(f.Name, m, node{kind: tar.TypeReg}); err != nil {
			return err
		}
		return w.content(body)
	case m.IsDir():
		return w.entry(f.Name, m, node{kind: tar.TypeDir})
	case m.Type() == fs.ModeSymlink:
		link, err := io.ReadAll(io.LimitReader(body, maxName+1))
		if err != nil {
			return err
		}
		return w.entry(f.Name, m, node{tar.TypeSymlink, string(link)})
	default:
		return w.entry(f.Name, m, node{kind: tar.TypeChar})
	}
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
