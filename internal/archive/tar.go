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
// What it may take does not depend on how much the files may hold, so that a publisher who does not know yet and a device
// that goes by the signed size agree.
func (w *walk) readTar(r io.Reader) error {
	stream := &capped{r: r, left: tarStart, err: hostile("headers and padding take more than %d bytes an entry", tarPerEntry)}
	tr := tar.NewReader(stream)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return drain(stream)
		}
		if err != nil {
			return damaged("next entry", err)
		}
		stream.left += tarPerEntry
		if err := w.putTar(h, tr, stream); err != nil {
			return err
		}
	}
}

func (w *walk) putTar(h *tar.Header, body io.Reader, stream *capped) error {
	e := entry{name: h.Name, kind: tarKind(h), mode: h.FileInfo().Mode(), time: h.ModTime, size: h.Size, link: h.Linkname, body: body}
	if h.Typeflag == tar.TypeXGlobalHeader { // git archive begins with one; it names no file
		return w.count(entry{})
	}
	beside := stream.left
	if e.kind == file {
		stream.left += min(e.size, w.left) // put refuses what is larger; what is sparse takes less
	}
	err := w.put(e)
	stream.left = beside
	return err
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
	stream.left, stream.err = MaxTail, hostile("more than %d bytes are behind its end", MaxTail)
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

// capped fails with err, rather than ends, when more than left bytes are read.
type capped struct {
	r    io.Reader
	left int64
	err  error
}

func (c *capped) Read(b []byte) (int, error) {
	if int64(len(b)) > c.left {
		b = b[:c.left+1]
	}
	n, err := c.r.Read(b)
	if c.left -= int64(n); c.left < 0 {
		return 0, c.err
	}
	return n, err
}
