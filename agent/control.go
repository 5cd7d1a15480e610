package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Limits of the control socket.
const (
	socketMode     fs.FileMode = 0o660
	controlTimeout             = 10 * time.Second // one request, from its first byte to the end of the answer
	maxHeader                  = 8 << 10          // bytes
	statusPath                 = "/v1/status"
)

// serveControl answers on the socket until ctx ends:
//
//	GET /v1/status   the Status
//
// Only root and the agent's own user are answered, whatever the modes of the folders above say.
func (a *Agent) serveControl(ctx context.Context) error {
	if a.cfg.Control == Off {
		return nil
	}
	l, err := listenUnix(ctx, a.cfg.Control)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+statusPath, a.answerStatus)
	return serveHTTP(ctx, l, onlyOwner(mux))
}

func (a *Agent) answerStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	// An error means that the other end has gone.
	_ = json.NewEncoder(w).Encode(a.Status())
}

// serveHTTP serves until ctx ends and every request that was begun has been answered or cut off.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, ReadTimeout: controlTimeout, WriteTimeout: controlTimeout, MaxHeaderBytes: maxHeader,
		ConnContext: withPeer,
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = srv.Close()
	})
	err := srv.Serve(l)
	if stop() {
		return fmt.Errorf("serve %v: %w", l.Addr(), err)
	}
	<-done
	return nil
}

// listenUnix makes the socket. One that a dead agent has left is replaced; one that is answered is not.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, controlFault(path, err)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path); err == nil {
			c.Close()
			return nil, controlFault(path, syscall.EADDRINUSE)
		}
		_ = os.Remove(path)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, controlFault(path, err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(controlFault(path, err), l.Close())
	}
	return l, nil
}

func controlFault(path string, err error) error {
	return fault.WithHint(fault.New(fault.Unavailable, "listen on control socket %s: %w", path, err),
		"if another agent runs, stop it; or choose another path with --control, or none with --control off")
}

// peerKey is where withPeer leaves what onlyOwner looks for.
type peerKey struct{}

// withPeer notes who is at the other end, as the kernel says.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uid, err := peerUID(c)
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

// onlyOwner refuses everybody but root and this process's user.
func onlyOwner(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uid, ok := r.Context().Value(peerKey{}).(int)
		if !ok || uid != 0 && uid != os.Geteuid() {
			http.Error(w, "this socket answers root and the agent's own user", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// AskStatus asks a running agent. The error is unavailable when nobody answers on the socket, refused when the agent
// does not answer this user.
func AskStatus(ctx context.Context, socket string) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	tr := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+statusPath, nil)
	if err != nil {
		return Status{}, fmt.Errorf("ask agent: %w", err)
	}
	res, err := tr.RoundTrip(req)
	if errors.Is(err, fs.ErrPermission) {
		return Status{}, notAnswered(socket)
	}
	if err != nil {
		return Status{}, fault.New(fault.Unavailable, "ask agent: %w", err)
	}
	defer res.Body.Close()
	return readStatus(socket, res)
}

func readStatus(socket string, res *http.Response) (Status, error) {
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusForbidden:
		return Status{}, notAnswered(socket)
	default:
		return Status{}, fault.New(fault.Unavailable, "ask agent: it answers %s", res.Status)
	}
	var s Status
	if err := json.NewDecoder(io.LimitReader(res.Body, maxStatus)).Decode(&s); err != nil {
		return Status{}, fault.New(fault.Unavailable, "ask agent: %w", err)
	}
	return s, nil
}

func notAnswered(socket string) error {
	return fault.WithHint(fault.New(fault.Refused, "ask agent: %s does not answer this user", socket),
		"run the command as root or as the agent's user")
}
