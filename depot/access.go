package depot

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/publicweb"
)

// maxLogged bounds what of a request's text goes into the access log, in bytes.
const maxLogged = 256

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
		s := publicweb.NewWriter(w)
		next.ServeHTTP(s, r)
		if to == nil {
			return
		}
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		err := to.write(Access{
			Time: time.Now().UTC(), Listener: listener, Remote: host, Method: clip(r.Method),
			Path: clip(r.URL.EscapedPath()), Range: clip(r.Header.Get("Range")),
			Status: s.Status(), Bytes: s.Bytes(), Seconds: time.Since(began).Seconds(),
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
