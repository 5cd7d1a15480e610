package depot

import (
	"bytes"
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
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// The administration socket speaks HTTP with one path. The body of a request is a Request; the answer is a line of JSON
// for each Progress and a last one with the Response or the Failure. Only root and the owner of the server's process can
// connect: the socket has mode 0600, lies in a private folder, and the kernel is asked who is there (adminListener).
const (
	adminPath = "/v1/do"
	// maxAnswer bounds what a client reads of an answer, in bytes.
	maxAnswer = 64 << 20
	// progressEvery bounds how often a client hears of the bytes of one step.
	progressEvery = 200 * time.Millisecond
)

// adminLine is one line of an answer.
type adminLine struct {
	Progress *Progress `json:"progress,omitempty"`
	Done     *Response `json:"done,omitempty"`
	Failed   *Failure  `json:"failed,omitempty"`
}

// adminHandler answers on the socket. An operation ends with its client: a command that is interrupted interrupts it.
func adminHandler(d *Depot) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != adminPath || r.Method != http.MethodPost {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		if err != nil {
			http.Error(w, "read request", http.StatusBadRequest)
			return
		}
		out := &adminWriter{enc: json.NewEncoder(w), flush: http.NewResponseController(w).Flush}
		req, err := parseRequest(b)
		if err != nil {
			out.write(adminLine{Failed: failureOf(err)})
			return
		}
		resp, err := d.Do(r.Context(), req, time.Now(), out.tell)
		if err != nil {
			out.write(adminLine{Failed: failureOf(err)})
			return
		}
		out.write(adminLine{Done: resp})
	})
}

// adminWriter writes the lines of one answer.
type adminWriter struct {
	enc   *json.Encoder
	flush func() error

	mu   sync.Mutex
	step string    // guarded by mu
	told time.Time // guarded by mu
}

func (a *adminWriter) tell(p Progress) {
	a.mu.Lock()
	due := p.Step != a.step || p.Done == p.Total || time.Since(a.told) >= progressEvery
	if due {
		a.step, a.told = p.Step, time.Now()
	}
	a.mu.Unlock()
	if due {
		a.write(adminLine{Progress: &p})
	}
}

// write ignores errors: when the client is gone the request's context ends, and that is what stops the operation.
func (a *adminWriter) write(l adminLine) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.enc.Encode(l)
	_ = a.flush()
}

// adminListener lets only root and this process's own user in.
type adminListener struct {
	*net.UnixListener
	log *slog.Logger
}

// listenAdmin takes the socket's place. The caller holds the serve lock, so what lies there is of a server that is gone.
func listenAdmin(path string, log *slog.Logger) (*adminListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen for administration: %w", err)
	}
	name, done, err := socketName(path)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for administration: %w", err)
	}
	l.SetUnlinkOnClose(false) // the name may be one that is only good for a moment; the server removes the file
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &adminListener{l, log}, nil
}

// Accept returns the next connection of somebody who may administer.
func (l *adminListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peerUser(c)
		if err == nil && (uid == 0 || uid == os.Geteuid()) {
			return c, nil
		}
		l.log.Warn("administration refused", slog.Int("user", uid), slog.Any("err", err))
		_ = c.Close()
	}
}

// maxSocketName is what the kernel takes for the name of a socket, in bytes.
const maxSocketName = 107

// socketName gives a name for the socket that the kernel takes. A path that is too long is reached through an open folder.
func socketName(path string) (name string, done func(), err error) {
	if len(path) <= maxSocketName {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { dir.Close() }, nil
}

// Ask carries a request out: by the server that runs on the folder, if there is one, else on the folder itself.
func Ask(ctx context.Context, c Config, r *Request, tell func(Progress)) (*Response, error) {
	c = c.withDefaults()
	at, err := absolute(c.Dir)
	if err != nil {
		return nil, err
	}
	conn, err := dialAdmin(ctx, at.socket())
	if err != nil {
		return nil, err
	}
	if conn != nil {
		return askServer(ctx, conn, r, tell)
	}
	d, err := Open(c)
	if err != nil {
		return nil, err
	}
	return d.Do(ctx, r, time.Now(), tell)
}

// dialAdmin returns nil when no server runs.
func dialAdmin(ctx context.Context, path string) (net.Conn, error) {
	name, done, err := socketName(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var conn net.Conn
	if err == nil {
		defer done()
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", name)
	}
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ECONNREFUSED):
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fault.WithHint(fault.New(fault.Refused, "reach the depot: %w", err), "run the command as root or as the owner of %s", filepath.Dir(path))
	default:
		return nil, fault.New(fault.Unavailable, "reach the depot: %w", err)
	}
}

func askServer(ctx context.Context, conn net.Conn, r *Request, tell func(Progress)) (*Response, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	defer conn.Close()
	client := &http.Client{Transport: &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://depot"+adminPath, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "ask the depot: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fault.New(fault.Unavailable, "ask the depot: it answers %.60q", resp.Status)
	}
	return readAnswer(resp.Body, tell)
}

// readAnswer reads the lines of an answer to the last.
func readAnswer(r io.Reader, tell func(Progress)) (*Response, error) {
	dec := json.NewDecoder(io.LimitReader(r, maxAnswer))
	for {
		var l adminLine
		switch err := dec.Decode(&l); {
		case err != nil:
			return nil, fault.WithHint(fault.New(fault.Unavailable, "ask the depot: the answer broke off: %w", err), "see the log of `dunlin depot serve`, then run the command again")
		case l.Failed != nil:
			return nil, l.Failed.Err()
		case l.Done != nil:
			return l.Done, nil
		case l.Progress != nil && tell != nil:
			tell(*l.Progress)
		}
	}
}
