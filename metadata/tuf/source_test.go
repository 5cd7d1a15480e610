package tuf_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/tuf"
	"github.com/dunlin-project/dunlin/metadata/tuf/tuftest"
)

func TestHTTP(t *testing.T) {
	t.Parallel()
	packed := func(b []byte) string {
		enc, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(enc.EncodeAll(b, nil))
	}
	const limit = 100
	cases := map[string]struct {
		status   int
		encoding string
		body     string
		want     string
		kind     fault.Kind
		absent   bool
		requests int32
	}{
		"good":                 {200, "", "hello", "hello", 0, false, 1},
		"identity":             {200, "identity", "hello", "hello", 0, false, 1},
		"zstd":                 {200, "zstd", packed([]byte("hello")), "hello", 0, false, 1},
		"larger":               {200, "", strings.Repeat("x", 1000), strings.Repeat("x", limit+1), 0, false, 1},
		"larger when unpacked": {200, "zstd", packed(make([]byte, 10<<20)), string(make([]byte, limit+1)), 0, false, 1},
		"bad zstd":             {200, "zstd", "hello", "", fault.Unavailable, false, 3},
		"cut zstd":             {200, "zstd", packed([]byte("hello"))[:8], "", fault.Unavailable, false, 3},
		"gzip unasked":         {200, "gzip", "hello", "", fault.Unavailable, false, 3},
		"missing":              {404, "", "hello", "", fault.Unavailable, true, 1},
		"forbidden":            {403, "", "hello", "", fault.Unavailable, true, 1},
		"no content":           {204, "", "", "", fault.Unavailable, false, 1},
		"partial":              {206, "", "hello", "", fault.Unavailable, false, 1},
		"bad request":          {400, "", "hello", "", fault.Unavailable, false, 1},
		"server error":         {500, "", "hello", "", fault.Unavailable, false, 3},
		"too many":             {429, "", "hello", "", fault.Unavailable, false, 3},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n.Add(1)
				if r.URL.Path != "/base/metadata/x.json" {
					t.Errorf("asked for %s", r.URL)
				}
				w.Header().Set("Content-Encoding", c.encoding)
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			t.Cleanup(s.Close)
			b, err := tuf.NewHTTP(s.URL+"/base/", client(s)).Fetch(t.Context(), "metadata/x.json", limit)
			if string(b) != c.want || fault.Of(err) != c.kind || errors.Is(err, tuf.ErrNotFound) != c.absent || n.Load() != c.requests {
				t.Errorf("%q, %v: %v, %d requests", b, fault.Of(err), err, n.Load())
			}
			if err != nil && !strings.Contains(fault.Hint(err), s.URL) {
				t.Errorf("%v: what to try? %q", err, fault.Hint(err))
			}
		})
	}
}

// client is the test server's, but without the transport's own unpacking.
func client(s *httptest.Server) *http.Client {
	c := s.Client()
	c.Transport.(*http.Transport).DisableCompression = true
	return c
}

func TestHTTPRecovers(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n.Add(1) {
		case 1:
			w.Header().Set("Content-Length", "10") // and no more than five bytes
			_, _ = io.WriteString(w, "hello")
		case 2:
			w.WriteHeader(http.StatusBadGateway)
		default:
			_, _ = io.WriteString(w, "hello")
		}
	}))
	t.Cleanup(s.Close)
	if b, err := tuf.NewHTTP(s.URL, client(s)).Fetch(t.Context(), "x", 100); string(b) != "hello" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// hangs answers no request.
type hangs struct{}

func (hangs) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, fmt.Errorf("hang: %w", r.Context().Err())
}

// TestHTTPTakesItsTime: an attempt ends after a minute, a hanging server is not asked again, and pauses grow.
func TestHTTPTakesItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		_, err := tuf.NewHTTP("http://x", &http.Client{Transport: hangs{}}).Fetch(t.Context(), "x", 1)
		if took := time.Since(begin); !fault.Is(err, fault.Unavailable) || took != time.Minute {
			t.Errorf("hanging: %v after %v", err, took)
		}
		begin = time.Now()
		_, err = tuf.NewHTTP("http://x", &http.Client{Transport: resets{}}).Fetch(t.Context(), "x", 1)
		if took := time.Since(begin); !fault.Is(err, fault.Unavailable) || took < 375*time.Millisecond || took > 1200*time.Millisecond {
			t.Errorf("resetting: %v after %v", err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin = time.Now()
		_, err = tuf.NewHTTP("http://x", &http.Client{Transport: hangs{}}).Fetch(ctx, "x", 1)
		if took := time.Since(begin); !fault.Is(err, fault.Unavailable) || took != time.Second {
			t.Errorf("cancelled: %v after %v", err, took)
		}
	})
}

type resets struct{}

func (resets) RoundTrip(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }

// TestUntrustedServerIsNotAskedAgain: a wrong certificate does not get better by asking.
func TestUntrustedServerIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	n := 0
	c := &http.Client{Transport: roundTrip(func() error { n++; return fault.New(fault.Untrusted, "wrong certificate") })}
	if _, err := tuf.NewHTTP("http://x", c).Fetch(t.Context(), "x", 1); !fault.Is(err, fault.Untrusted) || n != 1 {
		t.Errorf("%v after %d requests", err, n)
	}
}

type roundTrip func() error

func (f roundTrip) RoundTrip(*http.Request) (*http.Response, error) { return nil, f() }

func TestFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	inside := filepath.Join(dir, "repo")
	for name, b := range map[string]string{"repo/metadata/a.json": "hello", "outside": "secret"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../outside", filepath.Join(inside, "link")); err != nil {
		t.Fatal(err)
	}
	f := tuf.Folder(inside)
	for _, c := range []struct {
		name, want string
		absent, ok bool
	}{
		{"metadata/a.json", "hell", false, true},
		{"metadata/b.json", "", true, false},
		{"b/c", "", true, false},
		{"link", "", false, false},
		{"../outside", "", false, false},
		{"metadata", "", false, false},
	} {
		b, err := f.Fetch(t.Context(), c.name, 3)
		if string(b) != c.want || (err == nil) != c.ok || errors.Is(err, tuf.ErrNotFound) != c.absent || err != nil && !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %q, %v", c.name, b, err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(inside, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Fetch(t.Context(), "pipe", 1); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a pipe: %v", err)
	}
	if _, err := tuf.Folder(filepath.Join(dir, "none")).Fetch(t.Context(), "x", 1); err == nil || errors.Is(err, tuf.ErrNotFound) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// TestRepositoryOverHTTP runs a whole refresh against a web server, and against the same files in a folder.
func TestRepositoryOverHTTP(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	r.Delegate("targets", "ring-a", "a/*")
	r.Publish("targets", "ring-a")
	dir := t.TempDir()
	for name, b := range r.Files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(s.Close)
	for _, source := range []tuf.Source{tuf.NewHTTP(s.URL, client(s)), tuf.Folder(dir)} {
		if u, err := newDevice(t, r).syncFrom(source); err != nil || len(u.Roles()) != 2 {
			t.Errorf("%v: %v", source, err)
		}
	}
	if http.DefaultClient.Transport != nil || http.DefaultTransport.(*http.Transport).DisableCompression {
		t.Error("the default client was changed") // trap 5
	}
}

// TestStoreIsPrivateAndClean is trap 2: files are replaced durably, and nothing is left beside them.
func TestStoreIsPrivateAndClean(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	d := newDevice(t, r)
	d.good(r.Files)
	r.PublishRoot()
	r.Publish("targets")
	d.good(r.Files)
	entries, err := os.ReadDir(string(d.store))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v", e.Name(), info.Mode())
		}
	}
	if got := strings.Join(names, " "); got != "2.root.json snapshot.json state targets.json timestamp.json" {
		t.Errorf("the store holds %s", got)
	}
}

func TestStoreThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	r := tuftest.New(t.Name(), start())
	d := newDevice(t, r)
	if err := os.Mkdir(filepath.Join(string(d.store), "timestamp.json"), 0o700); err != nil { // also root cannot replace it
		t.Fatal(err)
	}
	err := d.bad(r.Files, fault.Unavailable, "save metadata")
	if fault.Hint(err) == "" {
		t.Error("no hint")
	}
	if err := os.Remove(filepath.Join(string(d.store), "timestamp.json")); err != nil {
		t.Fatal(err)
	}
	d.good(r.Files)
	if err := os.Chmod(string(d.store), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := tuf.OpenDir(string(d.store)); !fault.Is(err, fault.Refused) {
		t.Errorf("a folder open to others: %v", err)
	}
}
