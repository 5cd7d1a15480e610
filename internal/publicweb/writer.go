package publicweb

import (
	"io"
	"net/http"
	"time"
)

const (
	// steadyChunk is how much of a file goes out under one deadline, in bytes.
	steadyChunk = 1 << 20
	// steadyPatience is how long a client may take for a chunk: slower than some 17 KiB/s, it only holds a connection.
	steadyPatience = 60 * time.Second
)

// Writer is a ResponseWriter that counts body bytes and gives a client time for as long as it takes what it is sent.
type Writer struct {
	http.ResponseWriter
	control *http.ResponseController
	status  int
	bytes   int64 // of the body, handed to the kernel
}

// NewWriter returns a Writer for one answer.
func NewWriter(w http.ResponseWriter) *Writer {
	return &Writer{ResponseWriter: w, control: http.NewResponseController(w)}
}

// Status returns the status code that was sent, 0 for none yet.
func (s *Writer) Status() int { return s.status }

// Bytes returns how many bytes of the body were handed to the kernel.
func (s *Writer) Bytes() int64 { return s.bytes }

// Unwrap is for http.ResponseController.
func (s *Writer) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (s *Writer) WriteHeader(code int) {
	if s.status == 0 {
		s.status = code
	}
	s.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (s *Writer) Write(b []byte) (int, error) {
	s.begin()
	n, err := s.ResponseWriter.Write(b)
	s.bytes += int64(n)
	return n, err
}

func (s *Writer) begin() {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(steadyPatience))
}

// ReadFrom copies src chunk by chunk. A limit around a file is taken off and put on again for each chunk, because the
// kernel copies (sendfile) only from a file under at most one limit.
func (s *Writer) ReadFrom(src io.Reader) (total int64, err error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	for limited.N > 0 {
		s.begin()
		chunk := io.LimitedReader{R: limited.R, N: min(limited.N, steadyChunk)}
		want := chunk.N
		n, err := io.Copy(s.ResponseWriter, &chunk)
		total += n
		s.bytes += n
		limited.N -= n
		if err != nil || n < want {
			return total, err
		}
	}
	return total, nil
}
