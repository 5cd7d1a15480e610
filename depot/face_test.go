package depot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/publicweb"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/tuf"
)

// servedFolder is a public folder as a depot leaves it, served on a real connection.
type servedFolder struct {
	dir, base string
	content   []byte
	targets   []byte
}

func (s *servedFolder) put(t *testing.T, name string, b []byte) {
	t.Helper()
	path := filepath.Join(s.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// either takes what any of the two listeners does.
func either(p string) (place, bool) {
	if got, ok := parseSecure(p); ok {
		return got, true
	}
	return parsePlain(p)
}

func serveFolder(t *testing.T, access *AccessLog) *servedFolder {
	t.Helper()
	s := &servedFolder{dir: t.TempDir(), content: make([]byte, 3<<20), targets: bytes.Repeat([]byte(`{"signed":1}`), 1000)}
	src := rand.NewChaCha8([32]byte{1})
	_, _ = src.Read(s.content)
	s.put(t, "content/"+rootA, s.content)
	s.put(t, "content/"+rootA+".part", []byte("secret"))
	s.put(t, "ca.pem", []byte("-----BEGIN CERTIFICATE-----\n"))
	s.put(t, "v1/approvals/metadata/timestamp.json", []byte(`{"signed":{"version":1}}`))
	s.put(t, "v1/approvals/metadata/2.targets.json", s.targets)
	s.put(t, "v1/layer/"+rootA, bytes.Repeat([]byte{7}, 96))
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	log := slog.New(slog.DiscardHandler)
	h := watched(&face{public: root, parse: either, small: newSmallFiles(metadata.Compress), log: log}, "plain", access, log)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := (&Server{d: &Depot{log: log}}).httpServer(h)
	srv.ReadHeaderTimeout = 500 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- publicweb.Serve(ctx, srv, func() error { return srv.Serve(publicweb.Limit(l.(*net.TCPListener), 64, 64)) })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	s.base = "http://" + l.Addr().String()
	return s
}

// ask sends a request whose path is not touched by the client. headers are "Name: value".
func (s *servedFolder) ask(t *testing.T, method, path string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: depot\r\nConnection: close\r\n%s\r\n", method, path, strings.Join(append(headers, ""), "\r\n"))
	raw, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%s %q: %v", method, path, err)
	}
	return parseResponse(t, method, raw)
}

func TestContentIsServedInRangesUnderAStrongTag(t *testing.T) {
	t.Parallel()
	s := serveFolder(t, nil)
	n := len(s.content)
	for _, c := range []struct {
		name   string
		header []string
		code   int
		body   []byte
		rng    string
	}{
		{"whole", nil, 200, s.content, ""},
		{"first byte", []string{"Range: bytes=0-0"}, 206, s.content[:1], fmt.Sprintf("bytes 0-0/%d", n)},
		{"middle", []string{"Range: bytes=1048576-2097151"}, 206, s.content[1<<20 : 2<<20], fmt.Sprintf("bytes 1048576-2097151/%d", n)},
		{"to the end", []string{"Range: bytes=3145720-"}, 206, s.content[3145720:], fmt.Sprintf("bytes 3145720-3145727/%d", n)},
		{"suffix", []string{"Range: bytes=-5"}, 206, s.content[n-5:], fmt.Sprintf("bytes %d-%d/%d", n-5, n-1, n)},
		{"longer than there is", []string{"Range: bytes=3145727-9999999"}, 206, s.content[n-1:], fmt.Sprintf("bytes 3145727-3145727/%d", n)},
		{"beyond the end", []string{"Range: bytes=3145728-"}, 416, nil, fmt.Sprintf("bytes */%d", n)},
		{"far beyond", []string{"Range: bytes=99999999999999999999-"}, 416, nil, ""}, // no number at all to net/http
		{"two ranges", []string{"Range: bytes=0-0,2-2"}, 416, nil, fmt.Sprintf("bytes */%d", n)},
		{"two headers", []string{"Range: bytes=0-0", "Range: bytes=2-2"}, 416, nil, fmt.Sprintf("bytes */%d", n)},
		{"a hundred ranges", []string{"Range: bytes=" + strings.Repeat("0-,", 99) + "0-"}, 416, nil, fmt.Sprintf("bytes */%d", n)},
		{"if-range fits", []string{"Range: bytes=0-1", `If-Range: "` + rootA + `"`}, 206, s.content[:2], fmt.Sprintf("bytes 0-1/%d", n)},
		{"if-range of another", []string{"Range: bytes=0-1", `If-Range: "` + rootB + `"`}, 200, s.content, ""},
		{"none-match", []string{`If-None-Match: "` + rootA + `"`}, 304, nil, ""},
	} {
		resp, body := s.ask(t, "GET", "/content/"+rootA, c.header...)
		if resp.StatusCode != c.code || resp.Header.Get("Content-Range") != c.rng {
			t.Errorf("%s: %d %q, want %d %q", c.name, resp.StatusCode, resp.Header.Get("Content-Range"), c.code, c.rng)
		}
		if c.code < 300 && (!bytes.Equal(body, c.body) || resp.Header.Get("ETag") != `"`+rootA+`"` || resp.Header.Get("Content-Encoding") != "") {
			t.Errorf("%s: %d bytes, ETag %s", c.name, len(body), resp.Header.Get("ETag"))
		}
		if c.code == 416 && len(body) > 100 {
			t.Errorf("%s: a refusal of %d bytes", c.name, len(body))
		}
	}
	resp, body := s.ask(t, "HEAD", "/content/"+rootA)
	if resp.StatusCode != 200 || len(body) != 0 || resp.ContentLength != int64(n) {
		t.Errorf("HEAD: %d, %d bytes, length %d", resp.StatusCode, len(body), resp.ContentLength)
	}
}

func TestNothingElseIsReachable(t *testing.T) {
	t.Parallel()
	s := serveFolder(t, nil)
	s.put(t, "../secret-"+filepath.Base(s.dir), []byte("secret"))
	t.Cleanup(func() { os.Remove(s.dir + "/../secret-" + filepath.Base(s.dir)) })
	if err := os.Symlink("/etc/passwd", filepath.Join(s.dir, "content", rootB)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(s.dir, "v1", "layer", rootB), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "v1/approvals/metadata/3.targets.json"), 0o755); err != nil {
		t.Fatal(err)
	}
	paths := append([]string{
		"/content/" + rootB, "/v1/layer/" + rootB, "/v1/approvals/metadata/3.targets.json", "/v1/approvals/metadata/9.targets.json",
		"/content/" + rootA + "?", "/content/" + rootA + "?x=1", "/content/%" + rootA, "/v1/approvals/metadata/9.root.json",
	}, hostilePaths...)
	for _, p := range paths {
		if strings.ContainsAny(p, " \x00") || p == "" {
			continue // not a request at all; net/http answers 400
		}
		resp, body := s.ask(t, "GET", p)
		if resp.StatusCode < 400 || resp.StatusCode >= 600 || bytes.Contains(body, []byte("secret")) || len(body) > 100 {
			t.Errorf("%q: %d, %q", p, resp.StatusCode, body)
		}
	}
}

func TestOnlyGetAndHead(t *testing.T) {
	t.Parallel()
	s := serveFolder(t, nil)
	for _, m := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"} {
		path := "/content/" + rootA
		if m == "CONNECT" {
			path = "depot:80"
		}
		resp, body := s.ask(t, m, path)
		if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" || len(body) > 100 {
			t.Errorf("%s: %d %q", m, resp.StatusCode, body)
		}
	}
	if resp, _ := s.ask(t, "OPTIONS", "*"); resp.StatusCode != 405 {
		t.Errorf("OPTIONS *: %d", resp.StatusCode)
	}
	if resp, _ := s.ask(t, "GET", "/ca.pem", "Content-Length: 5"); resp.StatusCode != 400 {
		t.Errorf("a body: %d", resp.StatusCode)
	}
	if resp, _ := s.ask(t, "GET", "/ca.pem", "X: "+strings.Repeat("x", 32<<10)); resp.StatusCode != 431 {
		t.Errorf("large header: %d", resp.StatusCode)
	}
}

func TestMetadataIsCompressedForThoseWhoCan(t *testing.T) {
	t.Parallel()
	s := serveFolder(t, nil)
	const path = "/v1/approvals/metadata/2.targets.json"
	plain, body := s.ask(t, "GET", path)
	if plain.StatusCode != 200 || !bytes.Equal(body, s.targets) || plain.Header.Get("Content-Encoding") != "" {
		t.Errorf("plain: %d, %d bytes", plain.StatusCode, len(body))
	}
	packed, body := s.ask(t, "GET", path, "Accept-Encoding: gzip, zstd")
	if packed.Header.Get("Content-Encoding") != "zstd" || len(body) >= len(s.targets)/2 {
		t.Errorf("packed: %d bytes as %q", len(body), packed.Header.Get("Content-Encoding"))
	}
	got, err := tuf.NewHTTP(s.base+"/v1/approvals", http.DefaultClient).Fetch(t.Context(), "metadata/2.targets.json", 1<<20)
	if err != nil || !bytes.Equal(got, s.targets) {
		t.Errorf("our own client: %d bytes, %v", len(got), err)
	}
	if plain.Header.Get("ETag") == packed.Header.Get("ETag") || packed.Header.Get("Vary") != "Accept-Encoding" {
		t.Error("a cache would take the packed for the plain form")
	}
	for _, resp := range []*http.Response{plain, packed} {
		again, body := s.ask(t, "GET", path, "Accept-Encoding: zstd", "If-None-Match: "+resp.Header.Get("ETag"))
		if want := map[bool]int{true: 304, false: 200}[resp == packed]; again.StatusCode != want {
			t.Errorf("ask again: %d with %d bytes, want %d", again.StatusCode, len(body), want)
		}
	}
	if no, body := s.ask(t, "GET", path, "Accept-Encoding: zstd;q=0, *;q=0.1"); no.Header.Get("Content-Encoding") != "" || len(body) != len(s.targets) {
		t.Error("zstd;q=0 was taken for a yes")
	}
}

func TestAReplacedTimestampIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	s := serveFolder(t, nil)
	const path = "/v1/approvals/metadata/timestamp.json"
	first, _ := s.ask(t, "GET", path)
	if first.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("Cache-Control: %q", first.Header.Get("Cache-Control"))
	}
	s.put(t, path[1:], []byte(`{"signed":{"version":2}}`)) // of the same length, perhaps at the same tick
	second, body := s.ask(t, "GET", path, "If-None-Match: "+first.Header.Get("ETag"))
	if second.StatusCode != 200 || string(body) != `{"signed":{"version":2}}` {
		t.Errorf("%d %s", second.StatusCode, body)
	}
}

func TestASlowHeaderLosesItsConnection(t *testing.T) {
	t.Parallel()
	s := serveFolder(t, nil)
	for _, begin := range []string{"", "GET /ca.pem HTTP/1.1\r\nHost: x\r\nX: "} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, begin)
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("after %q the connection stays open: %v", begin, err)
		}
	}
}

func TestTheAccessLogCountsBodies(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	access, err := OpenAccessLog(path)
	if err != nil {
		t.Fatal(err)
	}
	s := serveFolder(t, access)
	want := int64(0)
	for _, h := range []string{"", "Range: bytes=0-1048575", "Range: bytes=5-9"} {
		var headers []string
		if h != "" {
			headers = append(headers, h)
		}
		_, body := s.ask(t, "GET", "/content/"+rootA, headers...)
		want += int64(len(body))
	}
	s.ask(t, "GET", "/content/..%0a..%1b[31m\u202e")
	s.ask(t, "GET", "/"+strings.Repeat("a", 4000))
	lines := waitForLines(t, path, 5)
	var got int64
	for i, l := range lines {
		var a Access
		if err := json.Unmarshal([]byte(l), &a); err != nil {
			t.Fatalf("line %d: %v", i, err)
		}
		if a.Listener != "plain" || a.Remote != "127.0.0.1" || len(a.Path) > maxLogged+3 || strings.ContainsRune(l, 0x1b) {
			t.Errorf("line %d: %s", i, l)
		}
		if a.Status < 300 {
			got += a.Bytes
		}
	}
	if got != want {
		t.Errorf("the log says %d bytes, %d arrived", got, want)
	}
}

// waitForLines waits for lines that are written just after the client has had its answer.
func waitForLines(t *testing.T, path string, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		if len(lines) == n && strings.HasSuffix(string(b), "\n") {
			return lines
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d lines, want %d:\n%s", len(lines), n, b)
		}
	}
}

func TestTheWholeFileSurvivesTheChunks(t *testing.T) {
	t.Parallel()
	s := serveFolder(t, nil)
	resp, err := http.Get(s.base + "/content/" + rootA)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h := sha256.New()
	if n, err := io.Copy(h, resp.Body); err != nil || n != int64(len(s.content)) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if want := sha256.Sum256(s.content); !bytes.Equal(h.Sum(nil), want[:]) {
		t.Error("the bytes are not those of the file")
	}
}

func TestAcceptsZstd(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]bool{
		"": false, "zstd": true, "gzip, ZSTD": true, "zstd;q=0": false, "zstd; q=0.000": false, "zstd;q=0.5": true,
		"zstdx": false, "*": false, "br,zstd;q=x": false,
	} {
		if got := acceptsZstd([]string{v}); got != want {
			t.Errorf("%q: %v", v, got)
		}
	}
}

func TestSmallFilesInMemoryAreBounded(t *testing.T) {
	t.Parallel()
	c := newSmallFiles(nil)
	for i := range 200 {
		c.put(fmt.Sprint(i), &small{plain: make([]byte, 1<<20)})
	}
	c.put("199", &small{plain: make([]byte, 10)})
	if c.size > maxSmallKept {
		t.Errorf("%d bytes are kept", c.size)
	}
	sum := 0
	for _, s := range c.kept {
		sum += len(s.plain) + len(s.packed)
	}
	if sum != c.size {
		t.Errorf("%d bytes are kept, %d are counted", sum, c.size)
	}
}
