package urlcache

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"
)

// TestColdReadsAreWide: a cold file is fetched by several requests at once, of more and more slices, in the order in which they
// are needed. It is the number and the overlap of requests that keeps a line full, whatever its length.
func TestColdReadsAreWide(t *testing.T) {
	t.Parallel()
	b := data(30, 200*testSlice)
	w := newWorld(t, b)
	together := make(chan struct{}) // closed when four requests are under way
	peak := 0                       // guarded by the origin's mutex
	w.origin.set(func(rw http.ResponseWriter, r *http.Request, n int) {
		if n == 7 {
			close(together)
		}
		streams := w.streams()
		w.origin.mu.Lock()
		peak = max(peak, streams)
		w.origin.mu.Unlock()
		if n >= 4 { // by then three at least have begun to come to their end
			select {
			case <-together:
			case <-time.After(30 * time.Second):
				t.Error("no four requests were under way together")
			}
		}
		serve(rw, r, http.Header{"Etag": {`"one"`}, "Cache-Control": {"max-age=60"}}, b)
	})
	w.run()
	wants(t, "cold", w.ask("GET", "/f"), 200, b)
	reqs := w.origin.requests()
	if len(reqs) > 22 {
		t.Errorf("%d requests for 200 slices: %v", len(reqs), w.origin.asks())
	}
	if peak != 4 {
		t.Errorf("%d requests were under way at once, want 4", peak)
	}
	var spans [][2]int
	for _, r := range reqs {
		first, last := span(r, len(b))
		spans = append(spans, [2]int{first, last})
	}
	slices.SortFunc(spans, func(a, b [2]int) int { return a[0] - b[0] })
	widest, next := 0, 0
	for _, s := range spans {
		if widest = max(widest, s[1]+1-s[0]); s[0] != next {
			t.Errorf("a request begins at byte %d, want %d", s[0], next)
		}
		next = s[1] + 1
	}
	if widest != 16*testSlice {
		t.Errorf("the widest request is of %d slices, want 16", widest/testSlice)
	}
	if w.gate.Total() != int64(len(b)) {
		t.Errorf("%d bytes were fetched, of %d", w.gate.Total(), len(b))
	}
}

// streams is how many requests for slices are under way.
func (w *world) streams() (n int) {
	w.cache.mu.Lock()
	defer w.cache.mu.Unlock()
	for e := range w.cache.opened {
		e.gen.mu.Lock()
		n += e.gen.streams
		e.gen.mu.Unlock()
	}
	return n
}

// TestAnOriginThatBearsOne request at a time gets one at a time.
func TestAnOriginThatBearsOne(t *testing.T) {
	t.Parallel()
	b := data(31, 60*testSlice)
	w := newWorld(t, b)
	w.origin.set(func(rw http.ResponseWriter, r *http.Request, _ int) {
		w.origin.mu.Lock()
		many := w.origin.active > 1
		w.origin.mu.Unlock()
		if many {
			rw.WriteHeader(503)
			return
		}
		serve(rw, r, http.Header{"Etag": {`"one"`}, "Cache-Control": {"max-age=60"}}, b)
	})
	w.run()
	wants(t, "all", w.ask("GET", "/f"), 200, b)
}

// TestReadersStreamWhatArrives: half a slice that has come is sent, before the other half is there.
func TestReadersStreamWhatArrives(t *testing.T) {
	t.Parallel()
	b := data(32, 8*testSlice)
	w := newWorld(t, b)
	goOn := make(chan struct{})
	w.origin.set(func(rw http.ResponseWriter, r *http.Request, n int) {
		first, last := span(r, len(b))
		say(rw, 206, b[first:first+1000], "Etag", `"one"`, "Cache-Control", "max-age=60",
			"Content-Range", rangeText(first, last, len(b)), "Content-Length", itoa(last+1-first))
		rw.(http.Flusher).Flush()
		<-goOn
		_, _ = rw.Write(b[first+1000 : last+1])
	})
	w.run()
	var readers []*http.Response
	for range 3 {
		resp := w.ask("GET", "/f")
		defer resp.Body.Close()
		head := make([]byte, 1000)
		if _, err := io.ReadFull(resp.Body, head); err != nil || !bytes.Equal(head, b[:1000]) {
			t.Fatalf("the first bytes did not come: %v", err)
		}
		readers = append(readers, resp)
	}
	close(goOn)
	for _, resp := range readers {
		if rest, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(rest, b[1000:]) {
			t.Errorf("the rest: %d bytes, %v", len(rest), err)
		}
	}
	if w.gate.Total() != int64(len(b)) {
		t.Errorf("%d bytes were fetched, of %d", w.gate.Total(), len(b))
	}
}

// TestASlowReader holds up nobody, and does not make the node fetch far ahead of it.
func TestASlowReader(t *testing.T) {
	t.Parallel()
	b := data(33, 512*testSlice)
	w := newWorld(t, b)
	w.change = func(c *Cache) { c.grid.ahead = 32 * testSlice }
	w.run()
	slow := w.ask("GET", "/f")
	defer slow.Body.Close()
	if _, err := io.ReadFull(slow.Body, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	for settled, last := 0, int64(-1); settled < 5; settled++ { // until nothing more is fetched
		time.Sleep(50 * time.Millisecond)
		if now := w.gate.Total(); now != last {
			settled, last = 0, now
		}
	}
	if got := w.gate.Total(); got > int64(len(b))/2 {
		t.Errorf("%d bytes of %d were fetched for a reader who does not read", got, len(b))
	}
	wants(t, "a quick one", w.ask("GET", "/f"), 200, b)
	rest, err := io.ReadAll(slow.Body)
	if err != nil || !bytes.Equal(rest, b[10:]) {
		t.Errorf("the slow one got %d bytes: %v", len(rest), err)
	}
	if w.gate.Total() != int64(len(b)) {
		t.Errorf("%d bytes were fetched, of %d", w.gate.Total(), len(b))
	}
}

// TestAReaderWhoGoes does not leave the node fetching the rest of the file.
func TestAReaderWhoGoes(t *testing.T) {
	t.Parallel()
	b := data(34, 300*testSlice)
	w := newWorld(t, b)
	gone := make(chan struct{})
	w.origin.set(func(rw http.ResponseWriter, r *http.Request, _ int) {
		first, last := span(r, len(b))
		say(rw, 206, b[first:first+100], "Etag", `"one"`, "Cache-Control", "max-age=60",
			"Content-Range", rangeText(first, last, len(b)), "Content-Length", itoa(last+1-first))
		rw.(http.Flusher).Flush()
		<-gone
		_, _ = rw.Write(b[first+100 : last+1])
	})
	w.run()
	resp := w.ask("GET", "/f")
	if _, err := io.ReadFull(resp.Body, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	w.client.CloseIdleConnections()
	for { // the node has noticed
		w.cache.mu.Lock()
		readers := 0
		for e := range w.cache.opened {
			e.gen.mu.Lock()
			readers += len(e.gen.readers)
			e.gen.mu.Unlock()
		}
		w.cache.mu.Unlock()
		if readers == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(gone)
	w.stop()
	if n := w.gate.Total(); n > 12*testSlice {
		t.Errorf("%d slices were fetched for nobody", n/testSlice)
	}
}
