package cachenode

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowdSize is how many clients behind one address there are: more than any default per-address limit of a peer-to-peer
// library, and as many as a school behind one router has.
const crowdSize = 200

// TestSlowHeaders: who sends its headers a byte at a time loses its connection in the end, and holds up nobody before.
func TestSlowHeaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.fill()
		w.run(nil)
		var wg sync.WaitGroup
		for range crowdSize {
			c, err := w.pipes.dial(context.Background(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				defer c.Close()
				text := "GET /content/" + w.m.Root().String() + " HTTP/1.1\r\nHost: node\r\nX: " + strings.Repeat("y", 1000)
				for i := range len(text) {
					if _, err := io.WriteString(c, text[i:i+1]); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
				t.Error("it may send headers for as long as it likes")
			})
		}
		time.Sleep(time.Second)
		start := time.Now()
		wants(t, "other", w.ask("GET", w.m.Root()), 200, w.data)
		if took := time.Since(start); took > time.Second {
			t.Errorf("the other one waited %v", took)
		}
		wg.Wait()
		w.stop()
	})
}

// TestHeaderFlood: endless headers end with an answer, and never reach the content.
func TestHeaderFlood(t *testing.T) {
	t.Parallel()
	w := storedWorld(t)
	c := dial(t, w)
	go func() {
		fmt.Fprintf(c, "GET /content/%v HTTP/1.1\r\nHost: node\r\n", w.m.Root())
		for i := range 1 << 16 {
			if _, err := fmt.Fprintf(c, "Range-%d: bytes=0-0,%s\r\n", i, strings.Repeat("1-1,", 20)); err != nil {
				return
			}
		}
	}()
	got, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays open")
	}
	if len(got) > 0 && !strings.HasPrefix(string(got), "HTTP/1.1 431 ") { // the answer may be lost where the sender is not done
		t.Errorf("answer %q", got)
	}
	if n := w.node.Sent(); n != 0 {
		t.Errorf("%d bytes were served", n)
	}
}

func dial(t *testing.T, w *world) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", w.node.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	return c
}

// TestManyBehindOneAddress: two hundred connections from one address that ask for nothing, and two hundred that do: each of
// these is served.
func TestManyBehindOneAddress(t *testing.T) {
	t.Parallel()
	w := storedWorld(t)
	for range crowdSize {
		if _, err := io.WriteString(dial(t, w), "GET /content/"); err != nil {
			t.Fatal(err)
		}
	}
	var conns []net.Conn // all are open before the first asks
	for range crowdSize {
		conns = append(conns, dial(t, w))
	}
	var wg sync.WaitGroup
	for i, c := range conns {
		from := int64(i) * 997
		wg.Go(func() {
			fmt.Fprintf(c, "GET /content/%v HTTP/1.1\r\nHost: node\r\nRange: bytes=%d-%d\r\n\r\n", w.m.Root(), from, from+4095)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			wants(t, fmt.Sprint("client ", i), resp, 206, w.data[from:from+4096])
		})
	}
	wg.Wait()
}

// TestManySlowReaders: two hundred that take nothing of what they asked for hold up neither the fetch nor who comes after
// them; in the end they are cut off, and nothing of them stays.
func TestManySlowReaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4<<20)
		o := w.line(1 << 20)
		w.run(nil)
		var conns []net.Conn
		for range crowdSize {
			c, err := w.pipes.dial(context.Background(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "GET /content/%v HTTP/1.1\r\nHost: node\r\n\r\n", w.m.Root())
			conns = append(conns, c)
		}
		synctest.Wait()
		start := time.Now()
		wants(t, "other", w.ask("GET", w.m.Root()), 200, w.data)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("the other one waited %v", took)
		}
		for i := range w.m.Pieces() {
			if n := o.Served(i); n != 1 {
				t.Errorf("piece %d was drawn %d times", i, n)
			}
		}
		time.Sleep(3 * time.Minute)
		for _, c := range conns {
			if n, err := io.Copy(io.Discard, c); err == nil && n >= w.m.Length() {
				t.Errorf("one that slept for minutes still got all of it")
			}
			c.Close()
		}
		synctest.Wait()
		w.node.mu.Lock()
		if users := w.node.open[w.m.Root()].users; users != 0 {
			t.Errorf("%d uses of the content have not ended", users)
		}
		w.node.mu.Unlock()
		w.stop()
	})
}

// TestBadRequestsFetchNothing: a request that is refused, and one without a body, cost the origin nothing.
func TestBadRequestsFetchNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.line(1 << 20)
		w.run(nil)
		for _, v := range []string{"9999999-", "0-10,10-20", "5-4", "0-0" + strings.Repeat(",0-0", 100)} {
			resp := w.ask("GET", w.m.Root(), "Range", "bytes="+v)
			if resp.Body.Close(); resp.StatusCode != 416 {
				t.Errorf("%s: status %d", v, resp.StatusCode)
			}
		}
		wants(t, "HEAD", w.ask("HEAD", w.m.Root()), 200, nil)
		wants(t, "known", w.ask("GET", w.m.Root(), "If-None-Match", "*"), 304, nil)
		time.Sleep(time.Minute)
		if n := w.drawn.Load(); n != 0 || len(w.told(Fetching)) != 0 {
			t.Errorf("%d requests to the origin", n)
		}
		w.stop()
	})
}

// TestHundredRangesAtOnce of content that is not there: each gets its own, and the origin gives every piece once.
func TestHundredRangesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4<<20+55)
		o := w.line(1 << 20)
		w.run(nil)
		var wg sync.WaitGroup
		for i := range int64(100) {
			from := i * 41_943
			end := min(from+100_000, w.m.Length())
			wg.Go(func() {
				what := fmt.Sprintf("bytes=%d-%d", from, end-1)
				wants(t, what, w.ask("GET", w.m.Root(), "Range", what), 206, w.data[from:end])
			})
		}
		wg.Wait()
		for i := range w.m.Pieces() {
			if n := o.Served(i); n != 1 {
				t.Errorf("piece %d was drawn %d times", i, n)
			}
		}
		w.stop()
	})
}
