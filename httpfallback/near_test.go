package httpfallback

import (
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// TestNear: a gate to servers of the local network asks them directly, and they send it nowhere else.
func TestNear(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(9, 4*piece, piece)
	w := newWeb(t, data)
	var proxied atomic.Int64
	g := newGate(t, GateConfig{Near: true, Proxy: func(*http.Request) (*url.URL, error) {
		proxied.Add(1)
		return url.Parse("http://127.0.0.1:1")
	}})
	s := &fetchtest.Sink{M: m}
	if err := newOrigin(t, g, m, w.URL).Fetch(t.Context(), 0, 4, fetch.Own, s); err != nil || proxied.Load() != 0 {
		t.Errorf("%v; a proxy was chosen %d times", err, proxied.Load())
	}
	asked := w.requests.Load()
	astray := serve(t, func(rw http.ResponseWriter, req *http.Request) { http.Redirect(rw, req, w.URL, http.StatusFound) })
	o, err := NewOrigin(OriginConfig{Gate: g, Content: m.Content, URLs: []string{astray}, Patience: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := o.Fetch(t.Context(), 0, 4, fetch.Own, &fetchtest.Sink{M: m}); !fault.Is(err, fault.Unavailable) || w.requests.Load() != asked {
		t.Errorf("%v; a redirect was followed %d times", err, w.requests.Load()-asked)
	}
	if at, ok := o.Free(); !ok || !at.After(time.Now()) {
		t.Errorf("it may be asked again at %v, %v", at, ok)
	}
}

// TestHead asks without fetching.
func TestHead(t *testing.T) {
	t.Parallel()
	data, _ := fetchtest.Content(9, 4*piece, piece)
	w := newWeb(t, data)
	busy := serve(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Retry-After", "3600")
		rw.WriteHeader(http.StatusServiceUnavailable)
	})
	g := newGate(t, GateConfig{Near: true})
	for url, want := range map[string]Answer{w.URL: {200, int64(len(data)), 0}, busy: {503, 0, maxRetryAfter}} {
		got, err := g.Head(t.Context(), url)
		if got.Length < 0 {
			got.Length = 0
		}
		if err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	if w.log.Load() != 0 || g.Total() != 0 {
		t.Errorf("%d bytes were sent, %d counted", w.log.Load(), g.Total())
	}
	if _, err := g.Head(t.Context(), "http://127.0.0.1:1/"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := g.Head(t.Context(), "ftp://x"); !fault.Is(err, fault.Usage) {
		t.Errorf("no URL: %v", err)
	}
}
