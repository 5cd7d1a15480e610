package urlcache

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// warm warms a URL and returns the last that was told.
func (w *world) warm(rawURL string) (last Warmth, err error) {
	err = w.cache.Warm(w.t.Context(), rawURL, func(is Warmth) { last = is })
	return last, err
}

// TestWarm brings each byte once, serves it then without the origin, and mends what has rotted since.
func TestWarm(t *testing.T) {
	t.Parallel()
	b := data(90, 30*testSlice+7)
	w := newWorld(t, b)
	w.run()
	last, err := w.warm("HTTP://" + w.host + "/f?x=1#part")
	if err != nil || last.Have != int64(len(b)) || last.Size != last.Have || last.Until.IsZero() {
		t.Fatalf("warm: %+v, %v", last, err)
	}
	if got := w.gate.Total(); got != int64(len(b)) {
		t.Errorf("%d bytes were fetched for a file of %d", got, len(b))
	}
	asked := len(w.origin.asks())
	wants(t, "what is warm", w.ask("GET", "/f?x=1"), 200, b)
	if _, err := w.warm("http://" + w.host + "/f?x=1"); err != nil {
		t.Errorf("once more: %v", err)
	}
	if n := len(w.origin.asks()); n != asked {
		t.Errorf("the origin was asked %d times for what is kept", n-asked)
	}
	w.stop()
	edit(t, w.file(kindBytes), func(b []byte) []byte { b[5*testSlice+77] ^= 1; return b })
	w.run()
	if _, err := w.warm("http://" + w.host + "/f?x=1"); err != nil || w.gate.Total() != testSlice {
		t.Errorf("after rot %d bytes were fetched, want a slice: %v", w.gate.Total(), err)
	}
	wants(t, "what was mended", w.ask("GET", "/f?x=1"), 200, b)
}

// TestWarmOfAFileThatChanges in the middle is of the new version.
func TestWarmOfAFileThatChanges(t *testing.T) {
	t.Parallel()
	old, young := data(91, 40*testSlice), data(92, 40*testSlice)
	w := newWorld(t, old)
	w.origin.set(func(rw http.ResponseWriter, r *http.Request, n int) {
		if n == 1 {
			serve(rw, r, http.Header{"Etag": {`"one"`}, "Cache-Control": {"max-age=60"}}, old)
			return
		}
		serve(rw, r, http.Header{"Etag": {`"two"`}, "Cache-Control": {"max-age=60"}}, young)
	})
	w.run()
	if last, err := w.warm("http://" + w.host + "/f"); err != nil || last.Have != int64(len(young)) {
		t.Errorf("warm: %+v, %v", last, err)
	}
	wants(t, "what is warm", w.ask("GET", "/f", "Cache-Control", "only-if-cached"), 200, young)
}

// TestWarmRefuses what would be refused by HTTP, before anybody is asked, and what may not be kept.
func TestWarmRefuses(t *testing.T) {
	t.Parallel()
	other := newOrigin(data(93, testSlice))
	srv := httptest.NewServer(other)
	defer srv.Close()
	_, port, _ := strings.Cut(srv.Listener.Addr().String(), ":")
	w := newWorld(t, data(94, testSlice+1))
	w.origin.set(func(rw http.ResponseWriter, r *http.Request, _ int) {
		switch r.URL.Path {
		case "/stranger":
			http.Redirect(rw, r, "http://127.0.0.3:"+port+"/x", http.StatusFound)
		case "/name":
			http.Redirect(rw, r, "http://localhost:"+port+"/x", http.StatusFound)
		case "/secret":
			serve(rw, r, http.Header{"Etag": {`"one"`}, "Cache-Control": {"no-store"}}, []byte("hello"))
		case "/nothing":
			http.NotFound(rw, r)
		case "/busy":
			rw.WriteHeader(503)
		case "/lie":
			rw.Header().Set("Content-Range", "bytes 5-9/10")
			rw.WriteHeader(206)
			_, _ = rw.Write([]byte("hello"))
		}
	})
	w.run(w.host, "localhost:"+port, "https://127.0.0.9:"+port)
	own := "http://" + w.host
	for url, want := range map[string]fault.Kind{
		srv.URL + "/x":                      fault.Refused, // not on the list
		"http://localhost:" + port + "/x":   fault.Refused, // a name that leads to loopback
		"http://127.0.0.9:" + port + "/x":   fault.Refused, // by TLS only
		own + "/stranger":                   fault.Refused,
		own + "/name":                       fault.Refused,
		own + "/secret":                     fault.Refused,
		own + "/nothing":                    fault.Unavailable,
		own + "/busy":                       fault.Unavailable,
		own + "/lie":                        fault.Untrusted,
		"ftp://" + w.host + "/x":            fault.Usage,
		"http://u:p@" + w.host + "/x":       fault.Usage,
		own + "/x?cacheHostOrigin=" + "a.b": fault.Usage,
		"":                                  fault.Usage,
	} {
		if last, err := w.warm(url); !fault.Is(err, want) || last != (Warmth{}) {
			t.Errorf("%q: kind %v, want %v: %v; %+v", url, fault.Of(err), want, err, last)
		}
	}
	if _, err := w.warm(own + "/secret"); !strings.Contains(err.Error(), "no-store") || fault.Hint(err) == "" {
		t.Errorf("it does not say why: %v", err)
	}
	if got := other.asks(); len(got) > 0 {
		t.Errorf("the other server was asked: %v", got)
	}
	if n := w.cache.Bytes(); n != 0 {
		t.Errorf("%d bytes are kept", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.cache.Warm(ctx, own+"/x", func(Warmth) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
