package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// urlOrigin is a web server of one file.
type urlOrigin struct {
	*httptest.Server
	host  string
	data  []byte
	asked atomic.Int32
}

func newURLOrigin(t *testing.T, size int64) (*urlOrigin, *piecehash.Manifest) {
	t.Helper()
	o := new(urlOrigin)
	var m *piecehash.Manifest
	o.data, m = fetchtest.Content(7, size, 64<<10)
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.asked.Add(1)
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Cache-Control", "max-age=3600")
		if r.URL.Path == "/secret" {
			w.Header().Set("Cache-Control", "no-store")
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.data))
	}))
	t.Cleanup(o.Close)
	o.host = o.Listener.Addr().String()
	return o, m
}

// runCache runs a node until the test ends, and returns where it serves HTTP.
func runCache(t *testing.T, args ...string) (http string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		app := newApp()
		app.Writer, app.ErrWriter = w, io.Discard
		args = append([]string{
			"dunlin", "cache", "run", "--json", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--metrics", "off", "--page", "off", "--reserve", "1",
		}, args...)
		err := app.RunContext(ctx, flagsFirst(app, args))
		w.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("cache run: %v", err)
		}
	})
	in := bufio.NewReader(r)
	first, err := in.ReadBytes('\n')
	var said struct{ HTTP string }
	if err == nil {
		err = json.Unmarshal(first, &said)
	}
	if err != nil {
		t.Fatalf("cache run said %q: %v", first, err)
	}
	go func() { _, _ = io.Copy(io.Discard, in) }()
	return said.HTTP
}

// describedAt writes a metainfo file that names a URL into a folder of its own.
func describedAt(t *testing.T, m *piecehash.Manifest, url string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	b, err := (&piecehash.Metainfo{Name: "f", Manifest: m, URLs: []string{url}}).Encode()
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "f.torrent"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// TestCacheWarmURL: by the command alone, and then by the node that runs, which serves both files without the origin.
func TestCacheWarmURL(t *testing.T) {
	o, m := newURLOrigin(t, 5<<20+3)
	dir := filepath.Join(t.TempDir(), "node")
	out := says(t, "cache", "warm", o.URL+"/alone", "--dir", dir, "--allow-origin", o.host, "--reserve", "1")
	if !strings.HasPrefix(out, o.URL+"/alone: 5.0 MiB are kept and checked\n  fresh until ") {
		t.Errorf("it says %q", out)
	}
	addr := runCache(t, "--dir", dir, "--allow-origin", o.host, "--content", describedAt(t, m, o.URL+"/known"))
	// The node has its own settings: this command line allows nothing.
	out = says(t, "cache", "warm", o.URL+"/beside", "--json", "--dir", dir)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var last struct {
		Event, File string
		Bytes       int64
		Until       time.Time
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Event != "warm" || last.File != o.URL+"/beside" ||
		last.Bytes != int64(len(o.data)) || !last.Until.After(time.Now()) {
		t.Errorf("it says %s: %v", out, err)
	}
	asked := o.asked.Load()
	for _, path := range []string{"/alone", "/beside"} {
		resp, err := http.Get("http://" + addr + path + "?cacheHostOrigin=" + o.host)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil || !bytes.Equal(got, o.data) {
			t.Errorf("%s: %d bytes, %v", path, len(got), err)
		}
	}
	if n := o.asked.Load() - asked; n != 0 {
		t.Errorf("the origin was asked %d times for what is warm", n)
	}
	says(t, "cache", "pin", o.URL+"/alone", "--dir", dir)
	if _, err := dunlin(t, "cache", "remove", o.URL+"/alone", "--dir", dir); !fault.Is(err, fault.Refused) {
		t.Errorf("removing what is pinned: %v", err)
	}
	people := says(t, "cache", "list", "--dir", dir)
	if strings.Count(people, "  whole  ") != 2 || strings.Count(people, "by its URL, fresh ") != 2 || !strings.Contains(people, "pinned  "+o.URL+"/alone\n") {
		t.Errorf("people read\n%s", people)
	}
	says(t, "cache", "unpin", o.URL+"/alone", "--dir", dir)
	if out := says(t, "cache", "remove", o.URL+"/alone", "--dir", dir); out != "removed "+o.URL+"/alone\n" {
		t.Errorf("remove says %q", out)
	}
	if out := says(t, "cache", "list", "--json", "--dir", dir); strings.Count(out, "\n") != 1 || !strings.Contains(out, `"url":"`+o.URL+`/beside"`) {
		t.Errorf("left are\n%s", out)
	}
	if _, err := dunlin(t, "cache", "remove", o.URL+"/alone", "--dir", dir); !fault.Is(err, fault.Usage) {
		t.Errorf("removed once more: %v", err)
	}
	if out := says(t, "cache", "warm", o.URL+"/known", "--dir", dir); !strings.Contains(out, "content of the node's catalogue") {
		t.Errorf("warm of what the node knows by its root says %q", out)
	}
	if out := says(t, "cache", "list", "--json", "--dir", dir); strings.Count(out, "\n") != 2 || !strings.Contains(out, m.Root().String()) {
		t.Errorf("there are\n%s", out)
	}
	for url, want := range map[string]fault.Kind{
		o.URL + "/secret":             fault.Refused,
		"http://127.0.0.7/x":          fault.Refused,
		"http://u:p@" + o.host + "/x": fault.Usage,
	} {
		if _, err := dunlin(t, "cache", "warm", url, "--dir", dir); !fault.Is(err, want) || fault.Hint(err) == "" && want == fault.Refused {
			t.Errorf("%s: kind %v, want %v: %v", url, fault.Of(err), want, err)
		}
	}
}

// TestCacheWarmURLWithoutANode refuses what the command line does not allow, and takes content of the folder verified.
func TestCacheWarmURLWithoutANode(t *testing.T) {
	o, m := newURLOrigin(t, 300_000)
	dir := filepath.Join(t.TempDir(), "node")
	if _, err := dunlin(t, "cache", "pin", o.URL+"/f", "--dir", dir); !fault.Is(err, fault.Usage) {
		t.Errorf("a pin without a node: %v", err)
	}
	for what, args := range map[string][]string{
		"nothing allowed": nil,
		"another":         {"--allow-origin", "cdn.example.com"},
		"by TLS":          {"--allow-origin", "https://" + o.host},
		"may not be kept": {"--allow-origin", o.host},
	} {
		url := o.URL + "/f"
		if what == "may not be kept" {
			url = o.URL + "/secret"
		}
		if _, err := dunlin(t, append([]string{"cache", "warm", url, "--dir", dir}, args...)...); !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	says(t, "cache", "warm", o.URL+"/x", "--dir", dir, "--allow-origin", o.host, "--reserve", "1")
	if out := says(t, "cache", "list", "--json", "--dir", dir); !strings.Contains(out, `"url":"`+o.URL+`/x"`) {
		t.Errorf("there is\n%s", out)
	}
	says(t, "cache", "remove", o.URL+"/x", "--dir", dir)
	if out := says(t, "cache", "warm", o.URL+"/f", "--dir", dir, "--content", describedAt(t, m, o.URL+"/f"), "--reserve", "1"); !strings.Contains(out, m.Root().String()) {
		t.Errorf("content of the folder by its URL: %s", out)
	}
}
