package httpfallback

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// hostile is a server that does something wrong with a file of 24 pieces.
type hostile struct {
	name string
	kind fault.Kind // when there is no other mirror; 0: it is put up with
	says string     // part of the error's text
	web  func(data []byte) http.HandlerFunc
}

func hijacked(say func(c net.Conn, req *http.Request, data []byte)) func([]byte) http.HandlerFunc {
	return func(data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			defer c.Close()
			say(c, req, data)
		}
	}
}

// says answers a range with the head that head makes, and the right bytes.
func says(head func(first, end, total int) string) func([]byte) http.HandlerFunc {
	return hijacked(func(c net.Conn, req *http.Request, data []byte) {
		first, end := asked(req)
		io.WriteString(c, head(first, end, len(data)))
		c.Write(data[first:end])
	})
}

func contentRange(format string, shift func(first, end, total int) []any) func([]byte) http.HandlerFunc {
	return says(func(first, end, total int) string {
		return fmt.Sprintf("HTTP/1.1 206 Partial Content\r\n"+format+"\r\nContent-Length: %d\r\n\r\n", append(shift(first, end, total), end-first)...)
	})
}

func status(code int, header ...string) func([]byte) http.HandlerFunc {
	return func([]byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			io.WriteString(w, "<html>no</html>")
		}
	}
}

// good serves data as it should be, after change has had a look.
func good(change func(w http.ResponseWriter, req *http.Request, data []byte) []byte) func([]byte) http.HandlerFunc {
	return func(data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(change(w, req, data)))
		}
	}
}

// breaks sends n bytes of what was asked and resets the connection.
func breaks(n int) func([]byte) http.HandlerFunc {
	return hijacked(func(c net.Conn, req *http.Request, data []byte) {
		first, end := asked(req)
		io.WriteString(c, head206(first, end, len(data)))
		c.Write(data[first:min(end, first+n)])
		time.Sleep(time.Millisecond) // a reset overtakes what is in the buffers
		c.(*net.TCPConn).SetLinger(0)
	})
}

func none(int, int, int) []any              { return nil }
func exact(first, end, total int) []any     { return []any{first, end - 1, total} }
func shifted(first, end, total int) []any   { return []any{first - 1, end - 2, total} }
func longer(first, end, total int) []any    { return []any{first, end, total} }
func shorter(first, end, total int) []any   { return []any{first, end - 2, total} }
func onlyTotal(_, _, total int) []any       { return []any{total} }
func otherFile(first, end, total int) []any { return []any{first, end - 1, total + 1} }

var hostiles = []hostile{
	{"html with 200", fault.Unavailable, "status 200", status(200, "Content-Type", "text/html")},
	{"html with 200 of the content's length", fault.Untrusted, "not what the root promises", func(data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			w.Write(bytes.Repeat([]byte("<p>"), len(data))[:len(data)])
		}
	}},
	{"200 without length", fault.Unavailable, "unknown length", func(data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			w.Write(data)
		}
	}},
	{"404", fault.Unavailable, "404", status(404)},
	{"403", fault.Unavailable, "403", status(403)},
	{"204", fault.Unavailable, "204", func([]byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }
	}},
	{"416", fault.Unavailable, "416", status(416, "Content-Range", "bytes */5")},
	{"503, come back in 30 years", fault.Unavailable, "503", status(503, "Retry-After", "1000000000")},
	{"429, come back last year", fault.Unavailable, "429", status(429, "Retry-After", "-31536000")},
	{"content range missing", fault.Unavailable, "0 Content-Range", says(func(first, end, _ int) string {
		return fmt.Sprintf("HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n\r\n", end-first)
	})},
	{"two content ranges", fault.Unavailable, "2 Content-Range", contentRange("Content-Range: bytes %d-%d/%d\r\nContent-Range: bytes 0-1/2", exact)},
	{"content range of other bytes", fault.Unavailable, "asked for bytes", contentRange("Content-Range: bytes %d-%d/%d", shifted)},
	{"content range too long", fault.Unavailable, "is not bytes", contentRange("Content-Range: bytes %d-%d/%d", longer)},
	{"content range too short", fault.Unavailable, "asked for bytes", contentRange("Content-Range: bytes %d-%d/%d", shorter)},
	{"content range of another file", fault.Unavailable, "bytes long", contentRange("Content-Range: bytes %d-%d/%d", otherFile)},
	{"content range unsatisfied", fault.Unavailable, "is not bytes", contentRange("Content-Range: bytes */%d", onlyTotal)},
	{"content range in apples", fault.Unavailable, "is not bytes", contentRange("Content-Range: apples 0-1/2", none)},
	{"multipart", fault.Unavailable, "0 Content-Range", func([]byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "multipart/byteranges; boundary=x")
			w.WriteHeader(206)
			io.WriteString(w, "--x\r\nContent-Range: bytes 0-1/2\r\n\r\nab\r\n--x--")
		}
	}},
	{"content length too long", fault.Unavailable, "content length", says(func(first, end, total int) string {
		return strings.Replace(head206(first, end, total), fmt.Sprintf("Length: %d", end-first), fmt.Sprintf("Length: %d", end-first+7), 1)
	})},
	{"content length too short", fault.Unavailable, "content length", says(func(first, end, total int) string {
		return strings.Replace(head206(first, end, total), fmt.Sprintf("Length: %d", end-first), "Length: 5", 1)
	})},
	{"gzip", fault.Unavailable, "encoded", says(func(first, end, total int) string {
		return strings.Replace(head206(first, end, total), "\r\n\r\n", "\r\nContent-Encoding: gzip\r\n\r\n", 1)
	})},
	{"identity said aloud", 0, "", says(func(first, end, total int) string {
		return strings.Replace(head206(first, end, total), "\r\n\r\n", "\r\nContent-Encoding: identity\r\n\r\n", 1)
	})},
	{"truncated at once", fault.Unavailable, "ended early", hijacked(func(c net.Conn, req *http.Request, data []byte) {
		first, end := asked(req)
		io.WriteString(c, head206(first, end, len(data)))
	})},
	{"chunked without end", 0, "", hijacked(func(c net.Conn, req *http.Request, data []byte) {
		first, end := asked(req)
		fmt.Fprintf(c, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\nTransfer-Encoding: chunked\r\n\r\n", first, end-1, len(data))
		fmt.Fprintf(c, "%x\r\n%s\r\n", end-first, data[first:end])
		for {
			if _, err := io.WriteString(c, "4\r\nmore\r\n"); err != nil {
				return
			}
		}
	})},
	{"chunked and short", fault.Unavailable, "ended early", hijacked(func(c net.Conn, req *http.Request, data []byte) {
		first, end := asked(req)
		fmt.Fprintf(c, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\nTransfer-Encoding: chunked\r\n\r\n", first, end-1, len(data))
		io.WriteString(c, "2\r\nab\r\n0\r\n\r\n")
	})},
	{"reset every 40000 bytes", 0, "", breaks(40000)},
	{"reset every 5000 bytes", 0, "", breaks(5000)},
	{"reset every 100 bytes", fault.Unavailable, "", breaks(100)},
	{"reset before the first byte", fault.Unavailable, "", hijacked(func(c net.Conn, _ *http.Request, _ []byte) { c.(*net.TCPConn).SetLinger(0) })},
	{"no HTTP at all", fault.Unavailable, "", hijacked(func(c net.Conn, _ *http.Request, _ []byte) { io.WriteString(c, "220 smtp ready\r\n") })},
	{"endless header", fault.Unavailable, "", hijacked(func(c net.Conn, _ *http.Request, _ []byte) {
		io.WriteString(c, "HTTP/1.1 206 Partial Content\r\n")
		for {
			if _, err := io.WriteString(c, "X-More: and more\r\n"); err != nil {
				return
			}
		}
	})},
	{"flood of 100 Continue", fault.Unavailable, "", hijacked(func(c net.Conn, _ *http.Request, _ []byte) {
		for {
			if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
				return
			}
		}
	})},
	{"301 loop", fault.Unavailable, "redirects", status(301, "Location", "/again")},
	{"redirect to a file", fault.Unavailable, "neither http nor https", status(302, "Location", "file:///etc/passwd")},
	{"redirect with a password", fault.Unavailable, "password", status(302, "Location", "http://u:p@example.org/")},
	{"redirect to nowhere", fault.Unavailable, "", status(302)},
	{"redirect to a link-local address", fault.Unavailable, "link-local", status(307, "Location", "http://169.254.169.254/latest/meta-data")},
	{"ETag of its own for each answer", 0, "", good(func(w http.ResponseWriter, _ *http.Request, data []byte) []byte {
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, time.Now().UnixNano()))
		return data
	})},
	{"another object of the same length", fault.Untrusted, "not what the root promises", good(func(_ http.ResponseWriter, _ *http.Request, data []byte) []byte {
		return bytes.Repeat([]byte{'x'}, len(data))
	})},
	{"one flipped bit", fault.Untrusted, "not what the root promises", good(func(_ http.ResponseWriter, _ *http.Request, data []byte) []byte {
		b := bytes.Clone(data)
		b[len(b)/2] ^= 0x10
		return b
	})},
}

func TestHostileServers(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(21, 24*piece, piece)
	for _, h := range hostiles {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			t.Run("alone", func(t *testing.T) {
				t.Parallel()
				g := newGate(t, GateConfig{})
				o, err := NewOrigin(OriginConfig{Gate: g, Content: m.Content, URLs: []string{serve(t, h.web(data))}, Patience: 500 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				defer o.Close()
				s := &fetchtest.Sink{M: m}
				err = o.Fetch(t.Context(), 2, 22, fetch.Own, s)
				check(t, g, err, h)
			})
			t.Run("then a good one", func(t *testing.T) {
				t.Parallel()
				g := newGate(t, GateConfig{})
				w := newWeb(t, data)
				o := newOrigin(t, g, m, serve(t, h.web(data)), w.URL)
				s := &fetchtest.Sink{M: m}
				for first := 0; first < m.Pieces(); first += 8 {
					if err := o.Fetch(t.Context(), first, 8, fetch.Own, s); err != nil {
						t.Fatalf("range from %d: %v", first, err)
					}
				}
				for i := range m.Pieces() {
					if s.Have(i) == nil {
						t.Errorf("piece %d was not had", i)
					}
				}
				if useful, waste := settled(t, g); useful != m.Length() {
					t.Errorf("useful %d, waste %d, the content has %d", useful, waste, m.Length())
				}
			})
		})
	}
}

func check(t *testing.T, g *Gate, err error, h hostile) {
	t.Helper()
	settled(t, g)
	switch {
	case h.kind == 0 && err == nil:
	case h.kind == 0:
		t.Errorf("error %v, want it put up with", err)
	case !fault.Is(err, h.kind) || !strings.Contains(err.Error(), h.says):
		t.Errorf("error %v (%v), want %v with %q", err, fault.Of(err), h.kind, h.says)
	case fault.Hint(err) == "":
		t.Errorf("error %v says nothing about what to try", err)
	}
}

// A mirror that lied is never asked again for this content, and the error says so when it was the only one.
func TestLiarIsDropped(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(22, 8*piece, piece)
	var asks atomic.Int64
	liar := serve(t, func(w http.ResponseWriter, req *http.Request) {
		asks.Add(1)
		b := bytes.Clone(data)
		b[3*piece] ^= 1
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(b))
	})
	g := newGate(t, GateConfig{})
	o := newOrigin(t, g, m, liar)
	s := &fetchtest.Sink{M: m}
	err := o.Fetch(t.Context(), 0, 8, fetch.Own, s)
	var bad *piecehash.Mismatch
	if !fault.Is(err, fault.Untrusted) || !asMismatch(err, &bad) || bad.Piece != 3 {
		t.Fatalf("error %v", err)
	}
	if err := o.Fetch(t.Context(), 7, 1, fetch.Own, s); !fault.Is(err, fault.Untrusted) || asks.Load() != 1 {
		t.Errorf("second fetch: %v after %d requests", err, asks.Load())
	}
	if useful, waste := settled(t, g); useful != 3*piece || waste < piece {
		t.Errorf("useful %d, waste %d: the wrong piece is waste", useful, waste)
	}
	if n := scrape(t, g)["dunlin_origin_mirrors_dropped_total"]; n != 1 {
		t.Errorf("%v dropped mirrors in the metrics", n)
	}
}

// A liar beside a mirror that is only away must not make the error final: the other may come back.
func TestLiarBesideOneThatIsAway(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(23, 4*piece, piece)
	liar := serve(t, good(func(http.ResponseWriter, *http.Request, []byte) []byte { return make([]byte, len(data)) })(data))
	o, err := NewOrigin(OriginConfig{
		Gate: newGate(t, GateConfig{}), Content: m.Content,
		URLs: []string{liar, "http://" + deadAddr(t)}, Patience: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = o.Fetch(t.Context(), 0, 4, fetch.Own, &fetchtest.Sink{M: m})
	if !fault.Is(err, fault.Unavailable) || asMismatch(err, new(*piecehash.Mismatch)) || !strings.Contains(err.Error(), "dropped") {
		t.Errorf("error %v", err)
	}
}

// A broken range goes on at the next byte: nothing is fetched twice.
func TestResumeAtTheNextByte(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(24, 4<<20, 1<<20)
	var served atomic.Int64
	url := raw(t, func(c net.Conn, req *http.Request) {
		first, end := asked(req)
		end1 := min(end, first+300_000)
		io.WriteString(c, head206(first, end, len(data)))
		n, _ := c.Write(data[first:end1])
		served.Add(int64(n))
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c)
	})
	g := newGate(t, GateConfig{})
	o := newOrigin(t, g, m, url)
	s := &fetchtest.Sink{M: m}
	if err := o.Fetch(t.Context(), 0, 4, fetch.Own, s); err != nil {
		t.Fatal(err)
	}
	if useful, waste := settled(t, g); useful != m.Length() || waste != 0 || served.Load() != m.Length() || s.Bytes() != m.Length() {
		t.Errorf("useful %d, waste %d, served %d, reported %d", useful, waste, served.Load(), s.Bytes())
	}
}

// When the object changes between the halves of a piece, the first half is thrown away; the server is not blamed.
func TestObjectChangesInMidPiece(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(25, 4*piece, piece)
	var n atomic.Int64
	url := raw(t, func(c net.Conn, req *http.Request) {
		first, end := asked(req)
		body, tag := data[first:end], "new"
		if n.Add(1) == 1 { // the old object: other bytes, and it breaks in the middle of piece 0
			body, tag = bytes.Repeat([]byte{'o'}, piece/2), "old"
		}
		io.WriteString(c, strings.Replace(head206(first, end, len(data)), "\r\n\r\n", "\r\nETag: \""+tag+"\"\r\n\r\n", 1))
		c.Write(body)
	})
	g := newGate(t, GateConfig{})
	s := &fetchtest.Sink{M: m}
	if err := newOrigin(t, g, m, url).Fetch(t.Context(), 0, 4, fetch.Own, s); err != nil {
		t.Fatal(err)
	}
	if useful, waste := settled(t, g); useful != m.Length() || waste != piece/2 {
		t.Errorf("useful %d, waste %d", useful, waste)
	}
}

// Halves of a piece from two mirrors are never put together: a wrong one could not be blamed.
func TestMirrorsAreNotMixedWithinAPiece(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(26, 2*piece, piece)
	bad := raw(t, func(c net.Conn, req *http.Request) { // wrong bytes, and less than a piece of them, then silence for good
		first, end := asked(req)
		io.WriteString(c, head206(first, end, len(data)))
		c.Write(bytes.Repeat([]byte{'b'}, 2000))
	})
	w := newWeb(t, data)
	g := newGate(t, GateConfig{})
	s := &fetchtest.Sink{M: m}
	if err := newOrigin(t, g, m, bad, w.URL).Fetch(t.Context(), 0, 2, fetch.Own, s); err != nil {
		t.Fatal(err)
	}
	if useful, waste := settled(t, g); useful != m.Length() || waste < 2000 || w.log.Load() != m.Length() {
		t.Errorf("useful %d, waste %d, good mirror sent %d", useful, waste, w.log.Load())
	}
}

func TestServerWithoutRangesThatBreaks(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(27, 24*piece, piece)
	for _, always := range []bool{false, true} {
		var n atomic.Int64
		url := raw(t, func(c net.Conn, _ *http.Request) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(data))
			if n.Add(1) == 2 || always {
				c.Write(data[:len(data)/2])
				return
			}
			c.Write(data)
		})
		o, err := NewOrigin(OriginConfig{Gate: newGate(t, GateConfig{}), Content: m.Content, URLs: []string{url}, Patience: 300 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		s := &fetchtest.Sink{M: m}
		err = o.Fetch(t.Context(), 4, 20, fetch.NoPeers, s)
		if always && !fault.Is(err, fault.Unavailable) || !always && err != nil {
			t.Errorf("always breaks: %v; error %v", always, err)
		}
		o.Close()
	}
}
