package urlcontrol

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// ErrNobody is the error of a folder on which no node runs, or one that serves no files by their URL.
var ErrNobody = errors.New("no node answers")

const maxError = 4 << 10 // bytes of an answer that is an error

// Warm has the node that listens on a socket bring the file at a URL, as urlcache.Cache.Warm does, and returns the kind of
// error that it returns there. It is ErrNobody when nobody listens.
func Warm(ctx context.Context, socket, url string, tell func(urlcache.Warmth)) error {
	return ask(ctx, socket, warmPath, url, tell)
}

// Remove has that node delete the file at a URL, as urlcache.Cache.Remove does; its errors are as those of Warm.
func Remove(ctx context.Context, socket, url string) error {
	return ask(ctx, socket, removePath, url, func(urlcache.Warmth) {})
}

func ask(ctx context.Context, socket, path, url string, tell func(urlcache.Warmth)) error {
	body, err := json.Marshal(request{URL: url})
	if err != nil {
		return err
	}
	tr := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := tr.RoundTrip(req)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EINVAL):
		return ErrNobody
	case errors.Is(err, fs.ErrPermission):
		return fault.WithHint(fault.New(fault.Refused, "reach the node: %w", err), "run the command as root or as the node's user")
	case err != nil:
		return fault.New(fault.Unavailable, "reach the node: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxError))
		return fault.New(fault.Unavailable, "the node answers: %s", strings.TrimSpace(string(text)))
	}
	err = follow(resp.Body, tell)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// follow reads lines until the last.
func follow(body io.Reader, tell func(urlcache.Warmth)) error {
	for dec := json.NewDecoder(body); ; {
		var l line
		if err := dec.Decode(&l); err != nil {
			return fault.WithHint(fault.New(fault.Unavailable, "the node has ended meanwhile: %w", err), "start it and run the command again")
		}
		if l.Error != "" {
			return fault.Again(l.Kind, l.Error, l.Hint)
		}
		tell(l.Warmth)
		if l.Done {
			return nil
		}
	}
}
