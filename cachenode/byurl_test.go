package cachenode

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/piecehash"
)

// TestCataloguedContentByItsURL is served verified from the store, whatever the origin has there now; what is not in the
// catalogue, as the origin has it.
func TestCataloguedContentByItsURL(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5*pieceLength+9)
	w.fill()
	var asked atomic.Int32
	other := []byte("what the origin has")
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		rw.Header().Set("ETag", `"x"`)
		rw.Header().Set("Content-Length", "19")
		_, _ = rw.Write(other)
	}))
	defer srv.Close()
	host := srv.Listener.Addr().String()
	folder := t.TempDir()
	b, err := (&piecehash.Metainfo{Name: "update.bin", Manifest: w.m, URLs: []string{"https://CDN.example.com:443/d/update.bin?v=1", srv.URL + "/update.bin"}}).Encode()
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "update.torrent"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	known, err := OpenFolder(folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	o, err := urlcache.ParseOrigin(host)
	if err != nil {
		t.Fatal(err)
	}
	gate := httpfallback.NewGate(httpfallback.GateConfig{})
	defer gate.Close()
	urls, err := urlcache.New(urlcache.Config{Dir: filepath.Join(t.TempDir(), "urls"), Allow: []urlcache.Origin{o}, Door: gate, Size: urlcache.MinSize})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- urls.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	w.run(func(cfg *Config) { cfg.Catalogue, cfg.URLs = known, urls })
	get := func(path, origin string, header ...string) *http.Response {
		req, err := http.NewRequest("GET", "http://node"+path+"cacheHostOrigin="+origin, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := w.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	wants(t, "listed", get("/update.bin?", host), 200, w.data)
	wants(t, "a range", get("/update.bin?", host, "Range", "bytes=5-99999"), 206, w.data[5:100000])
	wants(t, "not on the list of origins", get("/d/update.bin?v=1&", "cdn.example.com"), 200, w.data)
	for path, origin := range map[string]string{
		"/d/./x/../%75pdate.bin?v=1&": "cdn.example.com", "/%64/update%2ebin?v=1&": "CDN.Example.COM:443", "/d/%2E%2e/d/update.bin?v=1&": "cdn.example.com",
		"/./update.bin?": host,
	} {
		wants(t, "spelt "+path, get(path, origin), 200, w.data)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the origin was asked %d times for content that is stored", n)
	}
	wants(t, "not in the catalogue", get("/other.bin?", host), 200, other)
	for path, origin := range map[string]string{
		"/d/update.bin?v=2&": "cdn.example.com", "/d/update.bin?v=1&x&": "cdn.example.com", "/d/update.bin?v=%31&": "cdn.example.com",
		"/d%2Fupdate.bin?v=1&": "cdn.example.com", "/D/update.bin?v=1&": "cdn.example.com", "/d/update.bin/.?v=1&": "cdn.example.com",
		"/d/update.bin?v=1&b&": "cdn.example.com:8443", "/d//update.bin?v=1&": "cdn.example.com",
	} {
		resp := get(path, origin)
		if resp.Body.Close(); resp.StatusCode != 403 {
			t.Errorf("%s: status %d", path, resp.StatusCode)
		}
	}
}
