package urlcache

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strconv"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

func rangeText(first, last, size int) string { return fmt.Sprintf("bytes %d-%d/%d", first, last, size) }

// TestFormsOfRequests: ranges, conditions and HEAD, of a file that is there.
func TestFormsOfRequests(t *testing.T) {
	t.Parallel()
	const date, later = "Mon, 02 Jan 2023 03:04:05 GMT", "Tue, 03 Jan 2023 03:04:05 GMT"
	b := data(40, 5*testSlice+7)
	w := newWorld(t, b)
	w.origin.change(b, "Last-Modified", date, "Content-Type", "application/x-test", "X-Secret", "1")
	w.run()
	wants(t, "first", w.ask("GET", "/f"), 200, b)
	n := len(w.origin.requests())
	for name, c := range map[string]struct {
		header []string
		status int
		body   []byte
	}{
		"middle":              {[]string{"Range", "bytes=70000-140000"}, 206, b[70000:140001]},
		"tail":                {[]string{"Range", "bytes=-5"}, 206, b[len(b)-5:]},
		"to the end":          {[]string{"Range", "bytes=300000-"}, 206, b[300000:]},
		"other unit":          {[]string{"Range", "lines=1-2"}, 200, b},
		"if-range":            {[]string{"Range", "bytes=0-4", "If-Range", `"one"`}, 206, b[:5]},
		"if-range by date":    {[]string{"Range", "bytes=0-4", "If-Range", date}, 206, b[:5]},
		"if-range of another": {[]string{"Range", "bytes=0-4", "If-Range", `"two"`}, 200, b},
		"if-range weak":       {[]string{"Range", "bytes=0-4", "If-Range", `W/"one"`}, 200, b},
		"if-none-match":       {[]string{"If-None-Match", `"x", W/"one"`}, 304, nil},
		"if-none-match other": {[]string{"If-None-Match", `"x"`, "If-Modified-Since", later}, 200, b},
		"if-modified-since":   {[]string{"If-Modified-Since", date}, 304, nil},
		"if-match":            {[]string{"If-Match", `"one"`}, 200, b},
		"if-match other":      {[]string{"If-Match", `"two"`}, 412, nil},
		"if-unmodified-since": {[]string{"If-Unmodified-Since", "Sun, 01 Jan 2023 03:04:05 GMT"}, 412, nil},
	} {
		resp := w.ask("GET", "/f", c.header...)
		if resp.Header.Get("Etag") != `"one"` || resp.Header.Get("Last-Modified") != date || resp.Header.Get("X-Secret") != "" {
			t.Errorf("%s: %v", name, resp.Header)
		}
		if resp.Header.Get("Age") == "" || resp.Header.Get("Via") == "" || resp.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %v", name, resp.Header)
		}
		wants(t, name, resp, c.status, c.body)
	}
	head := w.ask("HEAD", "/f", "Range", "bytes=0-4")
	if head.Body.Close(); head.StatusCode != 200 || head.ContentLength != int64(len(b)) || head.Header.Get("Content-Type") != "application/x-test" {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}
	for _, r := range []string{"bytes=999999-", "bytes=5-4", "bytes=0-9,5-20"} {
		resp := w.ask("GET", "/f", "Range", r)
		if resp.Body.Close(); resp.StatusCode != 416 || resp.Header.Get("Content-Range") != "bytes */"+itoa(len(b)) {
			t.Errorf("%s: %d %v", r, resp.StatusCode, resp.Header)
		}
	}
	if got := w.origin.requests(); len(got) != n {
		t.Errorf("the origin was asked again: %v", w.origin.asks()[n:])
	}
}

func TestSeveralRanges(t *testing.T) {
	t.Parallel()
	b := data(41, 30*testSlice)
	w := newWorld(t, b)
	w.run()
	resp := w.ask("GET", "/f", "Range", "bytes=0-99,1000000-1099999,-50")
	defer resp.Body.Close()
	_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || resp.StatusCode != 206 {
		t.Fatalf("status %d: %v", resp.StatusCode, err)
	}
	parts := multipart.NewReader(resp.Body, params["boundary"])
	for _, want := range [][]byte{b[:100], b[1000000:1100000], b[len(b)-50:]} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(p); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", p.Header.Get("Content-Range"), len(got), err)
		}
	}
	if w.gate.Total() > int64(len(b))/2 {
		t.Errorf("%d bytes were fetched for three small ranges", w.gate.Total())
	}
}

// TestARangeBeyondTheEnd of a file that nobody has asked for yet.
func TestARangeBeyondTheEnd(t *testing.T) {
	t.Parallel()
	b := data(42, 3*testSlice)
	w := newWorld(t, b)
	w.run()
	resp := w.ask("GET", "/f", "Range", "bytes=9999999-")
	if resp.Body.Close(); resp.StatusCode != 416 || resp.Header.Get("Content-Range") != "bytes */"+itoa(len(b)) {
		t.Errorf("status %d %v", resp.StatusCode, resp.Header)
	}
	wants(t, "all", w.ask("GET", "/f"), 200, b)
}

// TestHeadOfWhatIsNotHere costs the origin no byte of the file.
func TestHeadOfWhatIsNotHere(t *testing.T) {
	t.Parallel()
	b := data(43, 3*testSlice)
	w := newWorld(t, b)
	w.run()
	resp := w.ask("HEAD", "/f")
	if resp.Body.Close(); resp.StatusCode != 200 || resp.ContentLength != int64(len(b)) || resp.Header.Get("Etag") != `"one"` {
		t.Errorf("status %d %v", resp.StatusCode, resp.Header)
	}
	if got := w.gate.Total(); got != 0 {
		t.Errorf("%d bytes were fetched", got)
	}
	resp = w.ask("GET", "/f", "Cache-Control", "only-if-cached")
	if resp.Body.Close(); resp.StatusCode != 504 {
		t.Errorf("only-if-cached: status %d", resp.StatusCode)
	}
	wants(t, "GET", w.ask("GET", "/f"), 200, b)
	wants(t, "only-if-cached", w.ask("GET", "/f", "Cache-Control", "only-if-cached"), 200, b)
}
