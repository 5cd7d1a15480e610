package cachenode

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/cachenode/byterange"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// storedWorld serves content that is stored, over real connections.
func storedWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, 5*pieceLength+321)
	w.fill()
	w.run(func(c *Config) { c.Listen = "127.0.0.1:0" })
	addr := w.node.Addr()
	w.client = &http.Client{Transport: &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
	}}
	return w
}

func TestGetAndHead(t *testing.T) {
	t.Parallel()
	w := storedWorld(t)
	etag := `"` + w.m.Root().String() + `"`
	for range 2 { // hashed first, then sent as it lies there
		resp := w.ask("GET", w.m.Root())
		if h := resp.Header; h.Get("ETag") != etag || h.Get("Accept-Ranges") != "bytes" || h.Get("Cache-Control") != immutable ||
			h.Get("Content-Type") != "application/octet-stream" || resp.ContentLength != w.m.Length() {
			t.Errorf("GET: %v", h)
		}
		wants(t, "GET", resp, 200, w.data)
	}
	resp := w.ask("HEAD", w.m.Root(), "Range", "bytes=0-9") // a range is about a GET
	if resp.ContentLength != w.m.Length() || resp.Header.Get("ETag") != etag {
		t.Errorf("HEAD: length %d, %v", resp.ContentLength, resp.Header)
	}
	wants(t, "HEAD", resp, 200, nil)
	if n := w.node.Sent(); n != 2*w.m.Length() {
		t.Errorf("%d bytes were counted, want %d", n, 2*w.m.Length())
	}
}

func TestSingleRanges(t *testing.T) {
	t.Parallel()
	w := storedWorld(t)
	size := int(w.m.Length())
	for spec, want := range map[string][2]int{
		"0-0": {0, 1}, "0-": {0, size}, "-1": {size - 1, size}, "-99999999999999999999": {0, size},
		"65535-65536": {65535, 65537}, "1-99999999999999999999": {1, size}, "328000-": {328000, size},
		"999999999-, 5-6": {5, 7}, // one of them is inside
	} {
		resp := w.ask("GET", w.m.Root(), "Range", "bytes="+spec)
		if got, want := resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", want[0], want[1]-1, size); got != want {
			t.Errorf("%s: Content-Range %q, want %q", spec, got, want)
		}
		wants(t, spec, resp, 206, w.data[want[0]:want[1]])
	}
}

func TestManyRanges(t *testing.T) {
	t.Parallel()
	w := storedWorld(t)
	want := [][2]int64{{10, 20}, {pieceLength - 5, 2*pieceLength + 5}, {w.m.Length() - 7, w.m.Length()}}
	resp := w.ask("GET", w.m.Root(), "Range", fmt.Sprintf("bytes=10-19, %d-%d,-7", want[1][0], want[1][1]-1))
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 206 || resp.ContentLength != int64(len(body)) {
		t.Fatalf("status %d, %d bytes of %d, %v", resp.StatusCode, len(body), resp.ContentLength, err)
	}
	kind, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" || resp.Header.Get("Content-Range") != "" {
		t.Fatalf("header %v: %v", resp.Header, err)
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for _, r := range want {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(p)
		if cr := fmt.Sprintf("bytes %d-%d/%d", r[0], r[1]-1, w.m.Length()); err != nil || p.Header.Get("Content-Range") != cr || !bytes.Equal(got, w.data[r[0]:r[1]]) {
			t.Errorf("part %v: %d bytes, %v, %v", r, len(got), p.Header, err)
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("after the last part: %v", err)
	}
}

func TestRangesThatAreRefused(t *testing.T) {
	t.Parallel()
	w := storedWorld(t)
	hundred := "0-0"
	for i := range 100 {
		hundred += "," + strconv.Itoa(2*i+2) + "-" + strconv.Itoa(2*i+2)
	}
	for name, v := range map[string]string{
		"beyond": "999999999-", "nothing of it": "-0", "backwards": "5-4", "words": "a-b", "empty": "", "no end": "-", "sign": "+1-5",
		"two minus": "--5", "overlap": "0-10,10-20", "same": "0-,0-", "hundred": hundred, "long": strings.Repeat(" ", byterange.MaxRanges*48) + "0-0",
	} {
		resp := w.ask("GET", w.m.Root(), "Range", "bytes="+v)
		if got, want := resp.Header.Get("Content-Range"), fmt.Sprintf("bytes */%d", w.m.Length()); got != want {
			t.Errorf("%s: Content-Range %q, want %q", name, got, want)
		}
		if resp.Body.Close(); resp.StatusCode != 416 {
			t.Errorf("%s: status %d", name, resp.StatusCode)
		}
	}
	resp := w.ask("GET", w.m.Root(), "Range", "bytes=0-1", "Range", "bytes=4-5")
	if resp.Body.Close(); resp.StatusCode != 416 {
		t.Errorf("two fields: status %d", resp.StatusCode)
	}
	wants(t, "another unit", w.ask("GET", w.m.Root(), "Range", "lines=1-2"), 200, w.data)
}

// TestLayer is served as agents ask an origin for it; it is of another kind than the content, so its tag is another.
func TestLayer(t *testing.T) {
	t.Parallel()
	w := storedWorld(t)
	gate := httpfallback.NewGate(httpfallback.GateConfig{})
	defer gate.Close()
	base := "http://" + w.node.Addr()
	m, err := httpfallback.FetchLayer(t.Context(), gate, []string{base}, w.m.Content)
	if err != nil || !bytes.Equal(m.Layer(), w.m.Layer()) {
		t.Fatalf("layer: %v", err)
	}
	for _, method := range []string{"GET", "HEAD"} {
		req, err := http.NewRequest(method, httpfallback.LayerURL(base, w.m.Root()), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := w.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.ContentLength != w.m.LayerSize() || strings.Contains(resp.Header.Get("ETag"), `"`+w.m.Root().String()) {
			t.Errorf("%s: %d bytes, %v", method, resp.ContentLength, resp.Header)
		}
		want := map[string][]byte{"GET": w.m.Layer()}[method]
		wants(t, method, resp, 200, want)
	}
	if n := w.node.Sent(); n != 0 {
		t.Errorf("%d bytes of content were counted", n)
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	w := storedWorld(t)
	etag, some := `"`+w.m.Root().String()+`"`, w.data[3:9]
	for _, c := range []struct {
		header []string
		status int
		body   []byte
	}{
		{[]string{"If-None-Match", etag}, 304, nil},
		{[]string{"If-None-Match", `"x", W/` + etag}, 304, nil},
		{[]string{"If-None-Match", "*"}, 304, nil},
		{[]string{"If-None-Match", `"x"`}, 200, w.data},
		{[]string{"If-Match", etag}, 200, w.data},
		{[]string{"If-Match", `W/` + etag}, 412, nil},
		{[]string{"If-Match", `"x"`, "If-None-Match", "*"}, 412, nil},
		{[]string{"Range", "bytes=3-8", "If-Range", etag}, 206, some},
		{[]string{"Range", "bytes=3-8", "If-Range", `W/` + etag}, 200, w.data},
		{[]string{"Range", "bytes=3-8", "If-Range", `"x"`}, 200, w.data},
		{[]string{"Range", "bytes=3-8", "If-Range", "Sat, 28 Nov 2026 10:00:00 GMT"}, 200, w.data},
		{[]string{"Range", "bytes=999999999-", "If-Range", `"x"`}, 200, w.data},
		{[]string{"If-Modified-Since", "Sat, 28 Nov 2026 10:00:00 GMT"}, 200, w.data},
	} {
		wants(t, fmt.Sprint(c.header), w.ask("GET", w.m.Root(), c.header...), c.status, c.body)
	}
}

func TestWhatIsNotServed(t *testing.T) {
	t.Parallel()
	_, forbidden := fetchtest.Content(77, 1000, pieceLength)
	w := newWorld(t, 1000)
	w.run(func(c *Config) {
		c.Catalogue.(catalogue)[forbidden.Root()] = fault.New(fault.Refused, "no peering")
	})
	root := w.m.Root().String()
	for name, c := range map[string]struct {
		method, path, body string
		want               int
	}{
		"unknown":   {"GET", "/content/" + strings.Repeat("0", 64), "", 404},
		"forbidden": {"GET", "/content/" + forbidden.Root().String(), "", 403},
		"folder":    {"GET", "/content/", "", 404},
		"no layer":  {"GET", "/layer/" + root, "", 404},
		"no such":   {"GET", "/layer/" + strings.Repeat("0", 64), "", 404},
		"top":       {"GET", "/", "", 404},
		"upper":     {"GET", "/content/" + strings.ToUpper(root), "", 404},
		"escaped":   {"GET", "/content/%" + root[:2] + root[2:], "", 404},
		"below":     {"GET", "/content/" + root + "/x", "", 404},
		"dots":      {"GET", "/content/../content/" + root, "", 404},
		"query":     {"GET", "/content/" + root + "?x=1", "", 404},
		"by URL":    {"GET", "/content/" + root + "?cacheHostOrigin=127.0.0.1", "", 403},
		"post":      {"POST", "/content/" + root, "", 405},
		"delete":    {"DELETE", "/content/" + root, "", 405},
		"body":      {"GET", "/content/" + root, "x", 400},
	} {
		req, err := http.NewRequest(c.method, "http://node"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := w.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.want || !strings.HasSuffix(string(text), ".\n") || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %q %v, want %d", name, resp.StatusCode, text, resp.Header, c.want)
		}
	}
	w.node.mu.Lock()
	if len(w.node.open) > 1 {
		t.Errorf("%d contents are open", len(w.node.open))
	}
	w.node.mu.Unlock()
}

// TestOpenContentIsBounded: however many are asked for, few are open, and all are served.
func TestOpenContentIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	type one struct {
		root piecehash.Root
		data []byte
	}
	var all []one
	for i := range 6 {
		w.data, w.m = fetchtest.Content(uint64(i), 3*pieceLength, pieceLength)
		w.fill()
		all = append(all, one{w.m.Root(), w.data})
	}
	w.run(func(c *Config) { c.Open = minOpen })
	for range 2 {
		for _, c := range all { // stored, and in no catalogue
			wants(t, "stored", w.ask("GET", c.root), 200, c.data)
		}
	}
	late := time.After(30 * time.Second)
	for open := len(all); open > minOpen+1; { // the newest answer may not have ended yet
		select {
		case <-late:
			t.Fatalf("%d contents are open", open)
		case <-time.After(time.Millisecond):
		}
		w.node.mu.Lock()
		open = len(w.node.open)
		w.node.mu.Unlock()
	}
}
