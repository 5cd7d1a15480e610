package tuf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/internal/fault"
)

const (
	attempts       = 3
	firstPause     = 250 * time.Millisecond // doubled for each further attempt, and jittered by half
	attemptTimeout = 60 * time.Second       // for the largest file; 5 MiB in it are 700 kbit/s
	maxWindow      = 8 << 20                // bytes of memory that a compressed file may demand
)

// HTTP is a source on a web server. Redirects are for the client to follow or not; ours do not (metadata/pinned).
type HTTP struct {
	base   string
	client *http.Client
}

// NewHTTP returns the source below a base URL. The client brings the pins.
func NewHTTP(base string, client *http.Client) *HTTP {
	return &HTTP{strings.TrimSuffix(base, "/"), client}
}

func (h *HTTP) String() string { return h.base }

// Fetch implements Source. What may pass is tried again after a pause; a missing file and an untrusted server are not.
func (h *HTTP) Fetch(ctx context.Context, name string, limit int64) ([]byte, error) {
	pause := firstPause
	for n := 1; ; n++ {
		b, again, err := h.attempt(ctx, name, limit)
		if err == nil || !again || n == attempts || ctx.Err() != nil {
			return b, h.advise(err)
		}
		select {
		case <-ctx.Done():
			return nil, h.advise(err)
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause *= 2
	}
}

// advise says what to try when nobody nearer to the fault has.
func (h *HTTP) advise(err error) error {
	if !fault.Is(err, fault.Unavailable) || fault.Hint(err) != "" {
		return err
	}
	return fault.WithHint(err, "check that %s is up, that it is the right address, and that this machine reaches it", h.base)
}

func (h *HTTP) attempt(ctx context.Context, name string, limit int64) (b []byte, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.base+"/"+name, nil)
	if err != nil {
		return nil, false, fault.New(fault.Usage, "ask for %s: %w", name, err)
	}
	req.Header.Set("Accept-Encoding", "zstd")
	resp, err := h.client.Do(req)
	if err != nil {
		err = fault.Wrap(fault.Unavailable, err)
		return nil, mayPass(err), err
	}
	defer resp.Body.Close()
	if again, err := checkStatus(resp, name); err != nil {
		return nil, again, err
	}
	b, err = readBody(resp, limit)
	if err != nil {
		err = fault.New(fault.Unavailable, "read %s: %w", req.URL, err)
		return nil, mayPass(err), err
	}
	return b, false, nil
}

// mayPass reports whether a failed transfer is worth another attempt: not a timeout, which has cost enough already.
func mayPass(err error) bool {
	return fault.Is(err, fault.Unavailable) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// checkStatus takes 200 alone. Web servers that may not list a folder answer 403 for a missing file.
func checkStatus(resp *http.Response, name string) (again bool, err error) {
	switch code := resp.StatusCode; code {
	case http.StatusOK:
		return false, nil
	case http.StatusNotFound, http.StatusForbidden, http.StatusGone:
		return false, notFound(resp.Request.URL.String())
	default:
		err := fault.New(fault.Unavailable, "ask for %s: %s answers %d", name, resp.Request.URL.Host, code)
		return code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout, err
	}
}

func readBody(resp *http.Response, limit int64) ([]byte, error) {
	switch enc := resp.Header.Get("Content-Encoding"); enc {
	case "", "identity":
		return io.ReadAll(io.LimitReader(resp.Body, limit+1))
	case "zstd":
		return unpack(resp.Body, limit)
	default:
		return nil, fmt.Errorf("content encoding %.40q was not asked for", enc)
	}
}

// unpack bounds what comes out; the decoder's own limit of memory does not bound a stream.
func unpack(r io.Reader, limit int64) ([]byte, error) {
	dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return io.ReadAll(io.LimitReader(dec, limit+1))
}
