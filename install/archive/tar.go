package archive

import (
	"archive/tar"
	"io"
)

// What a tar stream takes beside the content of its files: headers, padding, long names.
const (
	tarStart    = 64 << 10 // bytes at the beginning
	tarPerEntry = 8 << 10  // bytes more with each entry
)

// readTar reads a tar stream that may come from a decoder. The stream, too, has an end: a bomb need not be made of files.
func (t *tree) readTar(r io.Reader) error {
	stream := &capped{r: r, left: clampSum(t.left, tarStart)}
	tr := tar.NewReader(stream)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return drain(stream)
		}
		if err != nil {
			return damaged("next entry", err)
		}
		stream.left = clampSum(stream.left, tarPerEntry)
		if h.Typeflag == tar.TypeXGlobalHeader { // git archive begins with one; it names no file
			if err := t.count(entry{}); err != nil {
				return err
			}
			continue
		}
		if err := t.put(entry{
			name: h.Name, kind: tarKind(h), mode: h.FileInfo().Mode(), time: h.ModTime, size: h.Size, link: h.Linkname, body: tr,
		}); err != nil {
			return err
		}
	}
}

// tarKind returns 0 for what is not unpacked: devices, pipes, sparse files in the old form, and what nobody knows.
func tarKind(h *tar.Header) kind {
	switch h.Typeflag {
	case tar.TypeReg:
		return file
	case tar.TypeDir:
		return folder
	case tar.TypeSymlink:
		return symlink
	case tar.TypeLink:
		return hardlink
	default:
		return 0
	}
}

// drain reads what is behind the end of the archive: padding of the last record, and the check sum of the compressed
// stream. Anything else hides something.
func drain(stream *capped) error {
	stream.left = MaxTail
	buf := make([]byte, 32<<10)
	for {
		n, err := stream.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return hostile("there is something behind its end")
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return damaged("end", err)
		}
	}
}

// capped fails, rather than ends, when more than left bytes are read.
type capped struct {
	r    io.Reader
	left int64
}

func (c *capped) Read(b []byte) (int, error) {
	if int64(len(b)) > c.left {
		b = b[:c.left+1]
	}
	n, err := c.r.Read(b)
	if c.left -= int64(n); c.left < 0 {
		return 0, hostile("it unpacks to more than the signed size")
	}
	return n, err
}

func clampSum(a, b int64) int64 {
	const most = 1 << 62
	return min(a, most) + b
}
