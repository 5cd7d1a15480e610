package urlcontrol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// Limits of a server.
const (
	maxBody   = 16 << 10        // bytes of a request
	maxHeader = 4 << 10         // bytes of its header
	maxWarm   = 4               // files that are brought at once
	lineTime  = time.Minute     // for a client to take a line
	readTime  = 5 * time.Second // for it to send the header of its request
	tellEvery = 500 * time.Millisecond
)

const (
	warmPath   = "/warm"
	removePath = "/remove"
)

// Files are what a server commands. *urlcache.Cache is one, and says what the methods do.
type Files interface {
	Warm(ctx context.Context, url string, tell func(urlcache.Warmth)) error
	Remove(url string) error
}

// request is what a client wants.
type request struct {
	URL string `json:"url"`
}

// line is one line of the answer. The last has Done or an error.
type line struct {
	urlcache.Warmth
	Done  bool   `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
	Kind  int    `json:"kind,omitempty"` // fault.Kind of the error
}

// Server answers commands. Listen makes it, Run gives it life.
type Server struct {
	l     net.Listener
	files Files
	log   *slog.Logger
	warm  chan struct{} // holds one token for each file that is being brought
}

// Listen takes the socket's place. The caller holds the lock of the node's folder, so what lies there is of a node that is
// gone. Call Run or Close.
func Listen(path string, files Files, log *slog.Logger) (*Server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen for commands: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "listen for commands: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &Server{l: l, files: files, log: log, warm: make(chan struct{}, maxWarm)}, nil
}

// Close removes the socket of a server that was never run.
func (s *Server) Close() error { return s.l.Close() }

// Run answers until ctx ends, which is no error. What is being brought then is given up. When it returns, nothing that it
// has begun goes on.
func (s *Server) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+warmPath, s.serveWarm)
	mux.HandleFunc("POST "+removePath, s.serveRemove)
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: readTime, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	defer func() {
		for range maxWarm { // each comes free when its file is given up
			s.warm <- struct{}{}
		}
	}()
	if err := srv.Serve(s.l); ctx.Err() == nil {
		return fmt.Errorf("listen for commands: %w", err)
	}
	return nil
}

// read reads a request, or answers for one that is none.
func read(w http.ResponseWriter, r *http.Request) (req request, ok bool) {
	err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&req)
	if err != nil {
		http.Error(w, "the request is not {\"url\": URL}", http.StatusBadRequest)
	}
	return req, err == nil
}

func (s *Server) serveRemove(w http.ResponseWriter, r *http.Request) {
	if req, ok := read(w, r); ok {
		newAnswer(w, func() {}).end(s.files.Remove(req.URL))
	}
}

func (s *Server) serveWarm(w http.ResponseWriter, r *http.Request) {
	req, ok := read(w, r)
	if !ok {
		return
	}
	select {
	case s.warm <- struct{}{}:
		defer func() { <-s.warm }()
	default:
		http.Error(w, fmt.Sprintf("%d files are being brought already", maxWarm), http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	a := newAnswer(w, cancel)
	err := s.files.Warm(ctx, req.URL, a.tell)
	if err != nil && ctx.Err() != nil {
		err = fault.New(fault.Unavailable, "the node is ending")
	}
	a.end(err)
}

// answer is one answer under way.
type answer struct {
	ctl  *http.ResponseController
	enc  *json.Encoder
	gone func() // called when nobody takes the lines
	told time.Time
	last urlcache.Warmth
}

func newAnswer(w http.ResponseWriter, gone func()) *answer {
	return &answer{ctl: http.NewResponseController(w), enc: json.NewEncoder(w), gone: gone}
}

func (a *answer) tell(w urlcache.Warmth) {
	a.last = w
	if now := time.Now(); now.Sub(a.told) >= tellEvery {
		a.told = now
		a.say(line{Warmth: w})
	}
}

func (a *answer) end(err error) {
	l := line{Warmth: a.last, Done: err == nil}
	if err != nil {
		l.Error, l.Hint, l.Kind = err.Error(), fault.Hint(err), int(fault.Of(err))
	}
	a.say(l)
}

func (a *answer) say(l line) {
	_ = a.ctl.SetWriteDeadline(time.Now().Add(lineTime))
	if err := errors.Join(a.enc.Encode(l), a.ctl.Flush()); err != nil {
		a.gone()
	}
}
