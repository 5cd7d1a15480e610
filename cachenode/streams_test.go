package cachenode

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/piecehash"
)

// TestSlowClientsOfWhatIsNotKept take no stream from verified content, nor from files that are kept.
func TestSlowClientsOfWhatIsNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3*pieceLength+5)
	large := bytes.Repeat([]byte("dunlin"), 2<<20)
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body := w.data
		if r.URL.Path == "/large" {
			rw.Header().Set("Cache-Control", "no-store")
			body = large
		}
		rw.Header().Set("ETag", `"x"`)
		http.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(body))
	}))
	defer func() { srv.CloseClientConnections(); srv.Close() }()
	host := srv.Listener.Addr().String()
	allowed, err := urlcache.ParseOrigin(host)
	if err != nil {
		t.Fatal(err)
	}
	const streams = 2
	gate := httpfallback.NewGate(httpfallback.GateConfig{MaxStreams: streams, MaxAsks: 2 * streams})
	defer gate.Close()
	urls, err := urlcache.New(urlcache.Config{
		Dir: filepath.Join(t.TempDir(), "urls"), Allow: []urlcache.Origin{allowed}, Door: gate, Streams: 2 * streams, Size: urlcache.MinSize,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- urls.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	origin, err := httpfallback.NewOrigin(httpfallback.OriginConfig{Gate: gate, Content: w.m.Content, URLs: []string{srv.URL + "/update"}})
	if err != nil {
		t.Fatal(err)
	}
	w.others = map[piecehash.Root]fetch.Origin{w.m.Root(): origin}
	w.run(func(cfg *Config) { cfg.Gate, cfg.URLs = gate, urls })
	get := func(ctx context.Context, path string) *http.Response {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://node"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := w.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	slow := t.Context()
	for i := range streams {
		resp := get(slow, "/large?cacheHostOrigin="+host)
		defer resp.Body.Close() // and not a byte of it is read before
		if resp.StatusCode != 200 {
			t.Fatalf("slow client %d: status %d", i, resp.StatusCode)
		}
	}
	if resp := get(slow, "/large?cacheHostOrigin="+host); resp.StatusCode != 502 {
		t.Errorf("one more than are passed through: status %d", resp.StatusCode)
	}
	quick, enough := context.WithTimeout(t.Context(), 20*time.Second) // less than the node gives a client that takes nothing
	defer enough()
	wants(t, "verified content", get(quick, fmt.Sprint("/content/", w.m.Root())), 200, w.data)
	wants(t, "a file that is kept", get(quick, "/kept?cacheHostOrigin="+host), 200, w.data)
}
