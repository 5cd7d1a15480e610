package cachenode

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/disktest"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
	"github.com/dunlin-project/dunlin/store/room"
)

// stock stores content beside that of the world, which is of its length, and returns its root and bytes.
func (w *world) stock(seed uint64) (piecehash.Root, []byte) {
	w.t.Helper()
	data, m := w.data, w.m
	defer func() { w.data, w.m = data, m }()
	w.data, w.m = fetchtest.Content(seed, m.Length(), pieceLength)
	w.fill()
	if err := w.store.Note(w.m.Root(), time.Now(), time.Now()); err != nil { // in a bubble the kernel has another clock
		w.t.Fatal(err)
	}
	return w.m.Root(), w.data
}

// limit is room for n contents of the world.
func (w *world) limit(n int64) func(*Config) {
	return func(c *Config) { c.Room = room.Limits{Bytes: n * (w.m.Length() + 16<<10)} }
}

// TestLeastUsefulMakesWay: what comes takes the place of what was not asked for longest, on the disk and among devices.
func TestLeastUsefulMakesWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.line(1 << 20)
		a, aData := w.stock(1)
		b, _ := w.stock(2)
		s := &seats{open: make(map[piecehash.Root]bool)}
		w.run(func(c *Config) { w.limit(2)(c); c.Swarm = s })
		time.Sleep(time.Hour)
		wants(t, "a", w.ask("GET", a), 200, aData)
		wants(t, "what is new", w.ask("GET", w.m.Root()), 200, w.data)
		synctest.Wait()
		if !w.store.Has(a) || w.store.Has(b) || !w.store.Has(w.m.Root()) {
			t.Errorf("it has a %v, b %v, the new %v", w.store.Has(a), w.store.Has(b), w.store.Has(w.m.Root()))
		}
		if s.has(b) || !s.has(a) {
			t.Error("devices are still told of what has gone, or not of what is there")
		}
		resp := w.ask("GET", b)
		if resp.Body.Close(); resp.StatusCode != http.StatusNotFound {
			t.Errorf("what has gone: status %d", resp.StatusCode)
		}
		if st := w.node.RoomStatus(); st.Contents != 2 || st.Removed.Contents != 1 || st.Trouble != room.Fine {
			t.Errorf("status %+v", st)
		}
		w.stop()
	})
}

// TestReadersKeepWhatTheyRead: content with a slow reader does not make way; when it is all there is, what comes has no room,
// and nothing is deleted for it.
func TestReadersKeepWhatTheyRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.line(1 << 20)
		a, aData := w.stock(1)
		w.run(w.limit(1))
		time.Sleep(time.Hour)
		resp := w.ask("GET", a)
		defer resp.Body.Close()
		first := make([]byte, 1000)
		if _, err := io.ReadFull(resp.Body, first); err != nil {
			t.Fatal(err)
		}
		text := refusal(t, w.ask("GET", w.m.Root()))
		if !strings.Contains(text, "cannot store") {
			t.Errorf("the answer is %q", text)
		}
		if st := w.node.RoomStatus(); st.Trouble != room.Full || !w.store.Has(a) {
			t.Errorf("status %+v", st)
		}
		rest, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(append(first, rest...), aData) {
			t.Errorf("the slow reader got %d bytes: %v", len(rest), err)
		}
		time.Sleep(retryAfter)
		wants(t, "when nobody reads", w.ask("GET", w.m.Root()), 200, w.data)
		time.Sleep(2 * time.Minute)
		if st := w.node.RoomStatus(); st.Trouble != room.Fine || w.store.Has(a) {
			t.Errorf("status %+v", st)
		}
		w.stop()
	})
}

// refusal returns the text of a 503.
func refusal(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q, %v", resp.StatusCode, resp.Header.Get("Retry-After"), err)
	}
	return string(b)
}

// TestRemovedBehindItsBack: what another process deletes is noticed, and fetched again when it is asked for.
func TestRemovedBehindItsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		o := w.line(1 << 20)
		w.fill()
		w.run(nil)
		wants(t, "stored", w.ask("GET", w.m.Root()), 200, w.data)
		if err := w.store.Remove(w.m.Root()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * refreshEvery)
		if o.Served(0) != 0 {
			t.Error("it was fetched before anybody asked")
		}
		if st := w.node.RoomStatus(); st.Contents != 0 {
			t.Errorf("status %+v", st)
		}
		wants(t, "again", w.ask("GET", w.m.Root()), 200, w.data)
		synctest.Wait() // it is sealed after the last byte has left
		if o.Served(0) != 1 || !w.store.Has(w.m.Root()) {
			t.Errorf("the first piece was drawn %d times", o.Served(0))
		}
		w.stop()
	})
}

// TestFullDisk: on a disk that others fill, what is stored is served, what is not is refused with the reason, it is said once,
// and it passes by itself.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4<<20)
	w.line(64 << 20)
	disk := disktest.Real(t, 24<<20).Dir
	w.onDisk(disk)
	a, aData := w.stock(1)
	b, _ := w.stock(2)
	if err := w.store.Pin(a); err != nil {
		t.Fatal(err)
	}
	filler := fillUp(t, disk)
	var log lines
	w.run(func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		c.Room = room.Limits{Free: 6 << 20}
	})
	for range 3 {
		if text := refusal(t, w.ask("GET", w.m.Root())); !strings.Contains(text, "disk is full") {
			t.Errorf("the answer is %q", text)
		}
		wants(t, "what is stored", w.ask("GET", a), 200, aData)
		w.node.keeper.Tidy()
		w.forgive()
	}
	if st := w.node.RoomStatus(); st.Trouble != room.Full || w.store.Has(b) {
		t.Errorf("status %+v; what is not pinned is there: %v", st, w.store.Has(b))
	}
	if n := log.count("level=ERROR"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	wants(t, "when there is room", w.ask("GET", w.m.Root()), 200, w.data)
	w.node.keeper.Tidy()
	if st := w.node.RoomStatus(); st.Trouble != room.Fine || st.DiskFree < 6<<20 {
		t.Errorf("status %+v", st)
	}
}

// onDisk gives the world a store in another place.
func (w *world) onDisk(dir string) {
	w.t.Helper()
	s, err := store.Open(filepath.Join(dir, "store"), store.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.dir, w.store = filepath.Join(dir, "store"), s
}

// forgive has the node try again at once.
func (w *world) forgive() {
	w.node.mu.Lock()
	defer w.node.mu.Unlock()
	for _, c := range w.node.open {
		c.mu.Lock()
		c.failed = time.Time{}
		c.mu.Unlock()
	}
}

// fillUp leaves no room on the disk of dir, and returns the file that takes it.
func fillUp(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return f.Name()
}

// lines is a log that several write to.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

// seats is a Swarm of which only who has a seat matters.
type seats struct {
	mu   sync.Mutex
	open map[piecehash.Root]bool
	held map[piecehash.Root]Holding
}

func (s *seats) holding(root piecehash.Root) Holding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[root]
}

func (s *seats) Alone() bool { return true }

func (*seats) ID() fetch.PeerID { return "node" }

func (s *seats) Join(h Holding) (Room, error) {
	root := h.Manifest().Root()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[root] {
		return nil, errors.New("joined twice")
	}
	s.open[root] = true
	if s.held == nil {
		s.held = make(map[piecehash.Root]Holding)
	}
	s.held[root] = h
	return &seatOf{s: s, root: root, heard: make(chan fetch.Heard)}, nil
}

func (s *seats) has(root piecehash.Root) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[root]
}

type seatOf struct {
	s     *seats
	root  piecehash.Root
	heard chan fetch.Heard
}

func (*seatOf) Say(fetch.Saying)           {}
func (r *seatOf) Hear() <-chan fetch.Heard { return r.heard }

func (r *seatOf) Close() error {
	close(r.heard)
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	delete(r.s.open, r.root)
	return nil
}
