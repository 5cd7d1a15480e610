package cachenode

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// TestManyReadersOneFetch: twelve who ask for what is not there yet cost the origin one copy, and each gets all of it.
func TestManyReadersOneFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4<<20+123)
		o := w.line(1 << 20)
		w.run(nil)
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() { wants(t, "reader "+strconv.Itoa(i), w.ask("GET", w.m.Root()), 200, w.data) })
		}
		wg.Wait()
		for i := range w.m.Pieces() {
			if n := o.Served(i); n != 1 {
				t.Errorf("piece %d was drawn %d times", i, n)
			}
		}
		synctest.Wait()
		if e := w.told(Stored); len(e) != 1 || e[0].From.Origin != w.m.Length() || e[0].Waste != 0 || e[0].Name != "update.bin" {
			t.Errorf("told %+v", e)
		}
		w.stop()
	})
}

// TestReaderStreams: who begins at the beginning has its first bytes long before the last has come from the origin; who
// begins elsewhere waits for its piece, and gets it.
func TestReaderStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 16<<20)
		w.line(1 << 20) // 16 s
		w.run(nil)
		start := time.Now()
		resp := w.ask("GET", w.m.Root())
		last := w.m.Pieces() - 1
		from := strconv.FormatInt(w.m.Offset(last), 10)
		var wg sync.WaitGroup
		wg.Go(func() {
			wants(t, "middle", w.ask("GET", w.m.Root(), "Range", "bytes="+from+"-"), 206, w.piece(last))
		})
		got := make([]byte, pieceLength)
		if _, err := io.ReadFull(resp.Body, got); err != nil || !bytes.Equal(got, w.data[:pieceLength]) {
			t.Fatalf("first piece: %v", err)
		}
		first := time.Since(start)
		rest, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(rest, w.data[pieceLength:]) {
			t.Fatalf("rest: %d bytes, %v", len(rest), err)
		}
		wg.Wait()
		if all := time.Since(start); first > all/3 {
			t.Errorf("the first piece came after %v, the last after %v", first, all)
		}
		w.stop()
	})
}

// TestSlowReaderHoldsUpNobody: one takes a few bytes and stops; the content is fetched and another has it, as if it were not
// there. In the end it loses its connection.
func TestSlowReaderHoldsUpNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4<<20)
		w.line(1 << 20)
		w.run(nil)
		slow := w.ask("GET", w.m.Root())
		defer slow.Body.Close()
		start := time.Now()
		wants(t, "other", w.ask("GET", w.m.Root()), 200, w.data)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("the other one waited %v", took)
		}
		synctest.Wait()
		if len(w.told(Stored)) != 1 {
			t.Error("the content is not stored")
		}
		time.Sleep(3 * time.Minute)
		if n, err := io.Copy(io.Discard, slow.Body); err == nil {
			t.Errorf("the slow one still got all of it, %d bytes", n)
		}
		w.stop()
	})
}

// lateOrigin is one that is silent for a while.
type lateOrigin struct {
	fetch.Origin
	silent time.Duration
}

func (o lateOrigin) Fetch(ctx context.Context, first, count int, why fetch.Reason, sink fetch.Sink) error {
	time.Sleep(o.silent)
	return o.Origin.Fetch(ctx, first, count, why, sink)
}

// TestReaderWaits longer than a request's headers may take, without being taken for gone.
func TestReaderWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.origin = lateOrigin{w.line(1 << 20), 20 * time.Second}
		w.run(nil)
		wants(t, "late", w.ask("GET", w.m.Root()), 200, w.data)
		w.stop()
	})
}

// errOrigin fails always.
type errOrigin struct{ err error }

func (o errOrigin) Fetch(context.Context, int, int, fetch.Reason, fetch.Sink) error { return o.err }

// TestFailedFetch is said to all who wait, and not tried again at once.
func TestFailedFetch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want int
	}{
		{fault.New(fault.Unavailable, "no"), http.StatusServiceUnavailable},
		{fault.New(fault.Untrusted, "lies"), http.StatusBadGateway},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 1<<20)
			w.origin = errOrigin{c.err}
			w.run(nil)
			ask := func() {
				resp := w.ask("GET", w.m.Root())
				resp.Body.Close()
				if resp.StatusCode != c.want {
					t.Errorf("%v: status %d, want %d", c.err, resp.StatusCode, c.want)
				}
				if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("ETag") != "" {
					t.Errorf("an error may be cached: %v", resp.Header)
				}
			}
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(ask)
			}
			wg.Wait()
			if n := len(w.told(Fetching)); n != 1 {
				t.Errorf("%d fetches for those who came together", n)
			}
			ask()
			if n := len(w.told(Fetching)); n != 1 {
				t.Errorf("%d fetches after one that had just failed", n)
			}
			w.line(1 << 20)
			time.Sleep(retryAfter)
			wants(t, "later", w.ask("GET", w.m.Root()), 200, w.data)
			w.stop()
		})
	}
}

// TestDamageIsMended: a piece that has rotted on the disk never leaves, and only that one is fetched again.
func TestDamageIsMended(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2<<20)
		o := w.line(1 << 20)
		w.fill()
		path := filepath.Join(w.dir, "sealed", w.m.Root().String())
		rot(t, path, w.m.Offset(5)+17)
		w.run(nil)
		wants(t, "damaged", w.ask("GET", w.m.Root()), 200, w.data)
		wants(t, "mended", w.ask("GET", w.m.Root()), 200, w.data)
		for i := range w.m.Pieces() {
			if n := o.Served(i); n != 0 && i != 5 || n != 1 && i == 5 {
				t.Errorf("piece %d was drawn %d times", i, n)
			}
		}
		if err := w.node.Warm(t.Context(), w.m.Root()); err != nil {
			t.Error(err)
		}
		w.stop()
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, w.data) {
			t.Errorf("the file is not mended: %v", err)
		}
	})
}

// rot flips a bit in a file that nobody may write to.
func rot(t *testing.T, path string, at int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
}

// TestBegunGoesOn: what an earlier run was fetching is finished without anybody asking, and only what is missing is drawn.
func TestBegunGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		o := w.line(1 << 20)
		w.fill(3, 7)
		w.run(nil)
		time.Sleep(10 * time.Second)
		if e := w.told(Stored); len(e) != 1 || e[0].Resumed != w.m.Length()-2*pieceLength {
			t.Errorf("told %+v", e)
		}
		for i := range w.m.Pieces() {
			if n, want := o.Served(i), map[int]int{3: 1, 7: 1}[i]; n != want {
				t.Errorf("piece %d was drawn %d times, want %d", i, n, want)
			}
		}
		wants(t, "after", w.ask("GET", w.m.Root()), 200, w.data)
		w.stop()
	})
}

// TestPrefetch fetches what nobody has asked for, and without it nothing is fetched.
func TestPrefetch(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 1<<20)
			w.line(1 << 20)
			w.run(func(c *Config) { c.Prefetch.On = on })
			time.Sleep(time.Minute)
			if got := len(w.told(Stored)) == 1; got != on {
				t.Errorf("prefetch %v: stored %v", on, got)
			}
			if !on && w.drawn.Load() > 0 {
				t.Errorf("%d requests to the origin", w.drawn.Load())
			}
			w.stop()
		})
	}
}

// TestPrefetchBacksOff: what nobody delivers and nobody asks for is tried less and less often, but goes on being tried; a reader
// need not wait for that.
func TestPrefetchBacksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.origin = errOrigin{fault.New(fault.Refused, "no")}
		w.run(func(c *Config) { c.Prefetch.On = true })
		time.Sleep(2 * time.Hour)
		first := len(w.told(Fetching))
		time.Sleep(time.Hour)
		if later := len(w.told(Fetching)) - first; first > 24 || later < 3 || later > 7 {
			t.Errorf("%d fetches in two hours, %d in the third", first, later)
		}
		w.line(1 << 20)
		start := time.Now()
		wants(t, "reader", w.ask("GET", w.m.Root()), 200, w.data)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("a reader waited %v", took)
		}
		w.stop()
	})
}

// TestStopInTheMiddle ends the node while content comes: the reader sees a broken answer, not a short one, and the next run
// goes on from what came.
func TestStopInTheMiddle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8<<20)
		o := w.line(1 << 20)
		w.run(nil)
		resp := w.ask("GET", w.m.Root())
		got := make([]byte, 2<<20)
		if _, err := io.ReadFull(resp.Body, got); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { _, err := io.Copy(io.Discard, resp.Body); ended <- err }()
		w.stop()
		if err := <-ended; err == nil {
			t.Error("the answer ended as if it were whole")
		}
		before := w.drawn.Load()
		w.pipes = newPipes()
		w.client = &http.Client{Transport: &http.Transport{DialContext: w.pipes.dial}}
		w.run(nil)
		wants(t, "next run", w.ask("GET", w.m.Root()), 200, w.data)
		again := 0
		for i := range w.m.Pieces() {
			again += o.Served(i) - 1
		}
		if most := int(16<<20) / pieceLength; again > most || w.drawn.Load() == before {
			t.Errorf("%d pieces were drawn again, at most %d may be", again, most)
		}
		synctest.Wait()
		if e := w.told(Stored); len(e) != 1 || e[0].Resumed < 1<<20 {
			t.Errorf("the next run kept too little: %+v", e)
		}
		w.stop()
	})
}
