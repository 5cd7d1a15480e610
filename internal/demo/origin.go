package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// OriginConfig describes a web server behind a thin line.
type OriginConfig struct {
	Listen    string // IP:PORT
	Root      string // folder that is served
	Rate      int64  // bytes per second of all answers together
	AccessLog string // file that gets one AccessRecord a line
}

// AccessRecord is one line of the access log.
type AccessRecord struct {
	Remote string `json:"remote"`
	Path   string `json:"path"`
	Range  string `json:"range,omitempty"`
	Status int    `json:"status"`
	Bytes  int64  `json:"body_bytes_sent"`

	DepotBytes int64 `json:"bytes,omitempty"` // the same under the name that the depot's log has for it
}

const (
	lineSlice     = 16 << 10 // bytes that one answer gets of the line before another has its turn
	headerTimeout = 10 * time.Second
	stopTimeout   = 2 * time.Second
)

// ServeOrigin serves until ctx ends. It calls ready with its address once it listens.
func ServeOrigin(ctx context.Context, c OriginConfig, ready func(addr string)) error {
	log, err := os.OpenFile(c.AccessLog, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open access log: %w", err)
	}
	defer log.Close()
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	o := &origin{
		files: http.FileServerFS(os.DirFS(c.Root)),
		line:  rate.NewLimiter(rate.Limit(c.Rate), 4*lineSlice),
		log:   json.NewEncoder(log),
	}
	srv := &http.Server{Handler: o, ReadHeaderTimeout: headerTimeout}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		_ = srv.Shutdown(stop)
		_ = srv.Close()
	}()
	ready(ln.Addr().String())
	err = srv.Serve(ln)
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}

// origin is the handler. The line is shared by all answers.
type origin struct {
	files http.Handler
	line  *rate.Limiter

	mu  sync.Mutex // guards log
	log *json.Encoder
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := &throttled{ResponseWriter: w, ctx: r.Context(), line: o.line, status: http.StatusOK}
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		_ = o.log.Encode(AccessRecord{Remote: r.RemoteAddr, Path: r.URL.Path, Range: r.Header.Get("Range"), Status: t.status, Bytes: t.sent})
	}()
	o.files.ServeHTTP(t, r)
}

// throttled writes at the rate of the line and counts. It hides ReadFrom: with it the kernel would copy the file past both.
type throttled struct {
	http.ResponseWriter
	ctx    context.Context
	line   *rate.Limiter
	status int
	sent   int64
}

func (t *throttled) WriteHeader(status int) {
	t.status = status
	t.ResponseWriter.WriteHeader(status)
}

func (t *throttled) Write(b []byte) (int, error) {
	written := 0
	for len(b) > 0 {
		n := min(len(b), lineSlice)
		if err := t.line.WaitN(t.ctx, n); err != nil {
			return written, err
		}
		m, err := t.ResponseWriter.Write(b[:n])
		written += m
		t.sent += int64(m)
		if err != nil {
			return written, err
		}
		b = b[n:]
	}
	return written, nil
}

// ReadAccessLog returns the records of an access log.
func ReadAccessLog(name string) ([]AccessRecord, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read access log: %w", err)
	}
	defer f.Close()
	var out []AccessRecord
	for dec := json.NewDecoder(f); ; {
		var r AccessRecord
		switch err := dec.Decode(&r); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("read access log: %w", err)
		}
		out = append(out, r)
	}
}
