package httpfallback

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
)

// Requests for content and those without a manifest have slots of their own: neither waits for the other, and each kind has
// its bound.
func TestKindsOfRequestsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(41, 2*piece, piece)
	synctest.Test(t, func(t *testing.T) {
		g := memoryNet{
			"192.0.2.1": func(w http.ResponseWriter, req *http.Request) {
				http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
			},
			"192.0.2.2": slow(func(c net.Conn, _, _ int) { io.Copy(io.Discard, c) }),
		}.gate(t, GateConfig{MaxStreams: 1, MaxAsks: 1})
		ask := func() (*Reply, error) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			t.Cleanup(cancel)
			return g.Ask(ctx, Ask{Method: http.MethodGet, URL: "http://192.0.2.1/f", Header: http.Header{}, Allow: func(*url.URL) error { return nil }})
		}
		get := func(host string) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			t.Cleanup(cancel)
			return newOrigin(t, g, m, "http://"+host+"/").Fetch(ctx, 0, 1, fetch.Own, &fetchtest.Sink{M: m})
		}

		held, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		if err := get("192.0.2.1"); err != nil {
			t.Errorf("content beside an answer that nobody reads: %v", err)
		}
		if _, err := ask(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second Ask of one that may be: %v", err)
		}
		held.Close()

		done := make(chan error, 1)
		go func() { done <- get("192.0.2.2") }()
		synctest.Wait()
		if r, err := ask(); err != nil {
			t.Errorf("an Ask beside content that does not come: %v", err)
		} else {
			r.Close()
		}
		if err := get("192.0.2.1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second request for content of one that may be: %v", err)
		}
		<-done
	})
}
