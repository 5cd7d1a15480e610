package depot

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

const (
	// steadyChunk is how much of a file goes out under one deadline, in bytes.
	steadyChunk = 1 << 20
	// steadyPatience is how long a client may take for a chunk: slower than some 17 KiB/s, it only holds a connection.
	steadyPatience = 60 * time.Second
	// maxLogged bounds what of a request's text goes into the access log, in bytes.
	maxLogged = 256
)

// steady is a ResponseWriter that counts body bytes and gives a client time for as long as it takes what it is sent.
type steady struct {
	http.ResponseWriter
	control *http.ResponseController
	status  int
	bytes   int64 // of the body, handed to the kernel
}

// Unwrap is for http.ResponseController.
func (s *steady) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *steady) WriteHeader(code int) {
	if s.status == 0 {
		s.status = code
	}
	s.ResponseWriter.WriteHeader(code)
}

func (s *steady) Write(b []byte) (int, error) {
	s.begin()
	n, err := s.ResponseWriter.Write(b)
	s.bytes += int64(n)
	return n, err
}

func (s *steady) begin() {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(steadyPatience))
}

// ReadFrom copies src chunk by chunk. A limit around a file is taken off and put on again for each chunk, because the
// kernel copies (sendfile) only from a file under at most one limit.
func (s *steady) ReadFrom(src io.Reader) (total int64, err error) {
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

// AccessLog writes one JSON object for each request that a device listener answered. It is safe for concurrent use.
type AccessLog struct {
	mu  sync.Mutex
	out *os.File // guarded by mu
}

// OpenAccessLog appends to the file at path, which it makes with mode 0640.
func OpenAccessLog(path string) (*AccessLog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fault.New(fault.Usage, "open access log: %w", err)
	}
	return &AccessLog{out: f}, nil
}

// Close closes the file.
func (l *AccessLog) Close() error { return l.out.Close() }

// Access is one line of the access log.
type Access struct {
	Time     time.Time `json:"time"`     // when the answer ended
	Listener string    `json:"listener"` // "tls" or "plain"
	Remote   string    `json:"remote"`   // address without port
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Range    string    `json:"range,omitempty"` // of the request
	Status   int       `json:"status"`
	Bytes    int64     `json:"bytes"`   // of the body, handed to the kernel: more than arrived where a connection broke
	Seconds  float64   `json:"seconds"` // from the request's headers to the end of the answer
}

func (l *AccessLog) write(a Access) error {
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("write access log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err = l.out.Write(append(b, '\n'))
	return err
}

// watched wraps a handler so that its answers are steady and, if there is an access log, written down.
func watched(next http.Handler, listener string, to *AccessLog, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		s := &steady{ResponseWriter: w, control: http.NewResponseController(w)}
		next.ServeHTTP(s, r)
		if to == nil {
			return
		}
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		err := to.write(Access{
			Time: time.Now().UTC(), Listener: listener, Remote: host, Method: clip(r.Method),
			Path: clip(r.URL.EscapedPath()), Range: clip(r.Header.Get("Range")),
			Status: s.status, Bytes: s.bytes, Seconds: time.Since(began).Seconds(),
		})
		if err != nil {
			log.WarnContext(r.Context(), "write access log", slog.Any("err", err))
		}
	})
}

// clip shortens a text of somebody else's; the encoder quotes what is left.
func clip(s string) string {
	if len(s) > maxLogged {
		return s[:maxLogged] + "..."
	}
	return s
}
