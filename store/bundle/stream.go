package bundle

import (
	"errors"
	"io"
)

// stream is what a tar is read from. Headers and padding are bounded, so that an endless row of them is no endless work.
type stream interface {
	io.Reader
	allow(n int64)
	failed() error // of reading below, or of too much
}

// bounded makes a stream of r that can pass over what is not needed if r can.
func bounded(r io.Reader) stream {
	b := &reader{r: r}
	if s, ok := r.(io.Seeker); ok {
		if _, err := s.Seek(0, io.SeekCurrent); err == nil {
			return &seeker{b, s}
		}
	}
	return b
}

type reader struct {
	r    io.Reader
	left int64
	err  error
}

func (r *reader) allow(n int64) { r.left += n }

func (r *reader) failed() error { return r.err }

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	if r.left <= 0 {
		r.err = hostile("headers and padding take more than %d bytes an entry", tarPerEntry)
		return 0, r.err
	}
	n, err := r.r.Read(b[:min(int64(len(b)), r.left)])
	r.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// seeker is a reader on a file.
type seeker struct {
	*reader
	s io.Seeker
}

// Seek implements io.Seeker, for package tar, which only goes forward by it.
func (s *seeker) Seek(offset int64, whence int) (int64, error) { return s.s.Seek(offset, whence) }
