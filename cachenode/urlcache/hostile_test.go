package urlcache

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// span reads the range that a request asks for, bounded by the length of a file.
func span(r *http.Request, size int) (first, last int) {
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); err != nil {
		return 0, size - 1
	}
	return first, min(last, size-1)
}

// say answers with a status and fields, name after name with its value, and a body.
func say(w http.ResponseWriter, code int, body []byte, field ...string) {
	for i := 0; i < len(field); i += 2 {
		w.Header().Add(field[i], field[i+1])
	}
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// TestAnswersThatDoNotFit are never sent on, and nothing of them is kept.
func TestAnswersThatDoNotFit(t *testing.T) {
	t.Parallel()
	b := data(2, 3*testSlice)
	part := func(w http.ResponseWriter, contentRange string, body []byte, field ...string) {
		say(w, 206, body, append(field, "Etag", `"one"`, "Cache-Control", "max-age=60", "Content-Range", contentRange)...)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"another range": func(w http.ResponseWriter, _ *http.Request) {
			part(w, fmt.Sprintf("bytes 1-%d/%d", len(b)-1, len(b)), b[1:])
		},
		"less than asked": func(w http.ResponseWriter, _ *http.Request) { part(w, fmt.Sprintf("bytes 0-99/%d", len(b)), b[:100]) },
		"beyond its end": func(w http.ResponseWriter, _ *http.Request) {
			part(w, fmt.Sprintf("bytes 0-%d/%d", len(b)-1, len(b)-1), b)
		},
		"no range": func(w http.ResponseWriter, _ *http.Request) { say(w, 206, b, "Etag", `"one"`) },
		"two ranges": func(w http.ResponseWriter, _ *http.Request) {
			part(w, fmt.Sprintf("bytes 0-%d/%d", len(b)-1, len(b)), b, "Content-Range", "bytes 0-9/10")
		},
		"unknown length": func(w http.ResponseWriter, _ *http.Request) { part(w, fmt.Sprintf("bytes 0-%d/*", len(b)-1), b) },
		"another body": func(w http.ResponseWriter, _ *http.Request) {
			part(w, fmt.Sprintf("bytes 0-%d/%d", len(b)-1, len(b)), b[:len(b)-1], "Content-Length", strconv.Itoa(len(b)-1))
		},
		"multipart": func(w http.ResponseWriter, _ *http.Request) {
			say(w, 206, b, "Content-Type", "multipart/byteranges; boundary=x", "Etag", `"one"`)
		},
		"gzip": func(w http.ResponseWriter, _ *http.Request) {
			part(w, fmt.Sprintf("bytes 0-%d/%d", len(b)-1, len(b)), b, "Content-Encoding", "gzip")
		},
		"gzip of all": func(w http.ResponseWriter, _ *http.Request) {
			say(w, 200, b, "Content-Encoding", "gzip", "Etag", `"one"`, "Content-Length", strconv.Itoa(len(b)))
		},
		"not modified": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) },
		"choices":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(300) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, b)
			w.origin.set(func(rw http.ResponseWriter, r *http.Request, _ int) { answer(rw, r) })
			w.run()
			resp := w.ask("GET", "/f")
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 502 || bytes.Contains(body, b[:16]) || resp.Header.Get("Etag") != "" {
				t.Errorf("status %d, %v, %.100q", resp.StatusCode, resp.Header, body)
			}
			if w.cache.Bytes() != 0 {
				t.Errorf("%d bytes are kept", w.cache.Bytes())
			}
		})
	}
}

// TestStatusOfTheOrigin is told to the client, who may know what to do about it.
func TestStatusOfTheOrigin(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]int{401: 401, 403: 403, 404: 404, 410: 410, 451: 451, 429: 502, 500: 502, 503: 502} {
		w := newWorld(t, nil)
		w.origin.set(func(rw http.ResponseWriter, _ *http.Request, _ int) { say(rw, code, []byte("secret of the origin")) })
		w.run()
		resp := w.ask("GET", "/f")
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want || strings.Contains(string(body), "secret") || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d: status %d %q %v", code, resp.StatusCode, body, resp.Header)
		}
		if retry := resp.Header.Get("Retry-After"); (want == 502) != (retry != "") {
			t.Errorf("%d: Retry-After %q", code, retry)
		}
		w.ask("GET", "/f").Body.Close()
		if n := len(w.origin.requests()); n != 1 {
			t.Errorf("%d: the origin was asked %d times at once", code, n)
		}
		w.stop()
	}
}

// TestVersionsAreNeverMixed: whatever way the origin shows that the file has become another one in the middle, the answer is cut
// off within the old version, and the next one is the new version from its first byte.
func TestVersionsAreNeverMixed(t *testing.T) {
	t.Parallel()
	old, young := data(3, 40*testSlice), data(4, 40*testSlice)
	longer := append(bytes.Clone(young), 7)
	for name, c := range map[string]struct {
		etag  string // of the new one
		young []byte
		twist func(w http.ResponseWriter, r *http.Request) bool // answers in its way; nil: as If-Range says
	}{
		"as HTTP says": {`"two"`, young, nil},
		"If-Range is not known": {`"two"`, young, func(w http.ResponseWriter, r *http.Request) bool {
			r.Header.Del("If-Range")
			return false
		}},
		"same tag, another length": {`"one"`, longer, nil},
		"gone": {`"two"`, young, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("If-Range") == `"one"` {
				w.WriteHeader(404)
				return true
			}
			return false
		}},
		"failed precondition": {`"two"`, young, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("If-Range") == `"one"` {
				w.WriteHeader(412)
				return true
			}
			return false
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, old)
			w.origin.set(func(rw http.ResponseWriter, r *http.Request, n int) {
				if n == 1 {
					serve(rw, r, http.Header{"Etag": {`"one"`}, "Cache-Control": {"max-age=60"}}, old)
					return
				}
				if c.twist == nil || !c.twist(rw, r) {
					serve(rw, r, http.Header{"Etag": {c.etag}, "Cache-Control": {"max-age=60"}}, c.young)
				}
			})
			w.run()
			resp := w.ask("GET", "/f")
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 502 && (err == nil || !bytes.HasPrefix(old, got)) { // 502 when it was seen before the first byte
				t.Errorf("%d bytes came (%v); all of them of the old version: %v", len(got), err, bytes.HasPrefix(old, got))
			}
			wants(t, "after the change", w.ask("GET", "/f"), 200, c.young)
			if w.cache.Bytes() != int64(len(c.young)) {
				t.Errorf("%d bytes are kept, the new version has %d", w.cache.Bytes(), len(c.young))
			}
		})
	}
}

// TestAReaderOfTheOldVersion who is slow gets the rest of what is there, and no byte of the new one.
func TestAReaderOfTheOldVersion(t *testing.T) {
	t.Parallel()
	old, young := data(5, 64*testSlice), data(6, 64*testSlice)
	w := newWorld(t, old)
	w.run()
	wants(t, "old", w.ask("GET", "/f"), 200, old)
	resp := w.ask("GET", "/f")
	defer resp.Body.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(resp.Body, head); err != nil {
		t.Fatal(err)
	}
	w.origin.change(young, "Etag", `"two"`)
	wants(t, "new", w.ask("GET", "/f", "Cache-Control", "no-cache"), 200, young)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(append(head, rest...), old) {
		t.Errorf("the slow reader got %d bytes (%v), want the old %d", len(head)+len(rest), err, len(old))
	}
}

// TestBodyThatBreaks is gone on with at the next byte; one that breaks without end costs the client his connection.
func TestBodyThatBreaks(t *testing.T) {
	t.Parallel()
	b := data(7, 9*testSlice+1)
	var limit int // bytes after which each connection breaks
	answer := func(rw http.ResponseWriter, r *http.Request, _ int) {
		first, last := span(r, len(b))
		conn, _, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 206 Partial Content\r\nEtag: \"one\"\r\nCache-Control: max-age=60\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n",
			first, last, len(b), last-first+1)
		_, _ = conn.Write(b[first:min(last+1, first+limit)])
	}
	limit = testSlice / 2
	w := newWorld(t, b)
	w.origin.set(answer)
	w.run()
	wants(t, "breaks", w.ask("GET", "/f"), 200, b)
	if got := w.gate.Total(); got != int64(len(b)) {
		t.Errorf("%d bytes were fetched, of %d", got, len(b))
	}
	w.stop()

	limit = 0
	w = newWorld(t, b)
	w.origin.set(answer)
	w.run()
	resp, err := w.try("GET", "/f")
	if err == nil {
		got, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err == nil && resp.StatusCode == 200 {
			t.Errorf("an origin that sends nothing: a good answer with %d bytes", len(got))
		}
	}
	if n := len(w.origin.requests()); n > 24 {
		t.Errorf("an origin that sends nothing was asked %d times", n)
	}
}

// TestOriginWithoutRanges is read once, from the beginning, and what it sent is kept.
func TestOriginWithoutRanges(t *testing.T) {
	t.Parallel()
	b := data(8, 10*testSlice+5)
	w := newWorld(t, b)
	w.origin.set(func(rw http.ResponseWriter, r *http.Request, _ int) {
		say(rw, 200, b, "Etag", `"one"`, "Cache-Control", "max-age=60", "Content-Length", strconv.Itoa(len(b)))
	})
	w.run()
	wants(t, "range", w.ask("GET", "/f", "Range", "bytes=500000-500009"), 206, b[500000:500010])
	wants(t, "all", w.ask("GET", "/f"), 200, b)
	if n := len(w.origin.requests()); n > 2 { // a second one when the first reader had gone before the others came
		t.Errorf("%d requests: %v", n, w.origin.asks())
	}
}

// TestRangesThatStop: an origin that served ranges answers one with all of the same file.
func TestRangesThatStop(t *testing.T) {
	t.Parallel()
	b := data(9, 40*testSlice)
	w := newWorld(t, b)
	w.origin.set(func(rw http.ResponseWriter, r *http.Request, n int) {
		if n > 1 {
			r.Header.Del("Range")
		}
		serve(rw, r, http.Header{"Etag": {`"one"`}, "Cache-Control": {"max-age=60"}}, b)
	})
	w.run()
	wants(t, "all", w.ask("GET", "/f"), 200, b)
	wants(t, "again", w.ask("GET", "/f"), 200, b)
}

// TestWhatIsNotKept is passed through as the origin has it, each time anew, and never makes a cookie of the origin one of the
// node.
func TestWhatIsNotKept(t *testing.T) {
	t.Parallel()
	b := data(10, 2*testSlice)
	for name, field := range map[string][]string{
		"no-store":         {"Cache-Control", "no-store"},
		"private":          {"Cache-Control", "max-age=60, private"},
		"private field":    {"Cache-Control", `private="x", max-age=60`},
		"cookie":           {"Set-Cookie", "a=b"},
		"vary star":        {"Vary", "*"},
		"vary agent":       {"Vary", "Accept-Encoding, User-Agent"},
		"weak tag":         {"Etag", `W/"one"`},
		"no tag":           {"Etag", ""},
		"tag without end":  {"Etag", `"one`},
		"changed just now": {"Etag", "", "Last-Modified", "now"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, b)
			if len(field) == 4 {
				field[3] = time.Now().UTC().Format(http.TimeFormat)
			}
			w.origin.change(b, field...)
			w.run()
			for range 2 {
				resp := w.ask("GET", "/f", "Range", "bytes=10-70000")
				if resp.Header.Get("Set-Cookie") != "" {
					t.Error("a cookie was passed on")
				}
				wants(t, "passed", resp, 206, b[10:70001])
			}
			if w.cache.Bytes() != 0 || len(w.origin.requests()) < 3 {
				t.Errorf("%d bytes are kept; the origin was asked %v", w.cache.Bytes(), w.origin.asks())
			}
		})
	}
}

// TestUnknownLength: a body that ends when it ends is passed on; one that breaks off breaks the client's connection too.
func TestUnknownLength(t *testing.T) {
	t.Parallel()
	b := data(11, testSlice)
	w := newWorld(t, b)
	w.origin.set(func(rw http.ResponseWriter, r *http.Request, n int) {
		rw.Header().Set("Etag", `"one"`)
		_, _ = rw.Write(b[:len(b)/2])
		rw.(http.Flusher).Flush()
		if r.URL.Path == "/broken" {
			panic(http.ErrAbortHandler)
		}
		_, _ = rw.Write(b[len(b)/2:])
	})
	w.run()
	wants(t, "good", w.ask("GET", "/good"), 200, b)
	resp := w.ask("GET", "/broken")
	if got, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the broken one ended well, with %d bytes", len(got))
	}
	resp.Body.Close()
}

// TestNoConnection is told at once, and not tried again for each client.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, nil)
	w.host = l.Addr().String()
	l.Close()
	w.run()
	resp := w.ask("GET", "/f")
	if resp.Body.Close(); resp.StatusCode != 502 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("status %d, %v", resp.StatusCode, resp.Header)
	}
}
