package publicweb

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// What a public listener allows. Requests have no body, so reading one takes no time worth mentioning; an answer may take
// as long as it moves (Writer).
const (
	headerPatience = 5 * time.Second // from a connection, or a TLS handshake's begin, to the end of the headers
	idlePatience   = 75 * time.Second
	stopPatience   = 5 * time.Second // for answers under way when the server stops
	maxHeader      = 8 << 10         // bytes of a request's headers
)

// NewServer returns a server with the limits of a public listener. HTTP/1.1 only: a client asks for a few files, and what is
// not there cannot be misused.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            headerPatience,
		ReadTimeout:                  headerPatience,
		WriteTimeout:                 steadyPatience,
		IdleTimeout:                  idlePatience,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		Protocols:                    &protocols,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Serve runs serve and stops the server when ctx is done: gently, and after a moment for good.
func Serve(ctx context.Context, srv *http.Server, serve func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- serve() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		_ = srv.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
