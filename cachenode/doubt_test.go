package cachenode

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
	"github.com/dunlin-project/dunlin/store/scrub"
)

// complain says that a piece was wrong, and returns the status.
func (w *world) complain(root piecehash.Root, query string) int {
	w.t.Helper()
	resp, err := w.client.Post("http://node"+complainPath+root.String()+query, "", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// mended reports whether the file in the store is right.
func (w *world) mended() bool {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "sealed", w.m.Root().String()))
	return err == nil && bytes.Equal(b, w.data)
}

// TestLaterRotIsFound: what rots after it has been hashed and served is found by an agent's complaint, and by scrubbing; only
// what has rotted is fetched again.
func TestLaterRotIsFound(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"complaint", "scrubbing"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2<<20)
				o := w.line(1 << 20)
				w.fill()
				w.run(func(c *Config) {
					if by == "scrubbing" {
						c.Scrub = scrub.Config{Rate: 1 << 20, Cycle: time.Hour}
					}
				})
				wants(t, "before", w.ask("GET", w.m.Root()), 200, w.data)
				rot(t, filepath.Join(w.dir, "sealed", w.m.Root().String()), w.m.Offset(5)+17)
				if by == "complaint" {
					if code := w.complain(w.m.Root(), "?piece=5"); code != http.StatusAccepted {
						t.Errorf("status %d", code)
					}
				}
				time.Sleep(2 * time.Hour)
				if !w.mended() {
					t.Error("it is not mended")
				}
				for i := range w.m.Pieces() {
					if n, want := o.Served(i), map[int]int{5: 1}[i]; n != want {
						t.Errorf("piece %d was drawn %d times, want %d", i, n, want)
					}
				}
				if by == "scrubbing" && w.node.ScrubStatus().Damaged != 1 {
					t.Errorf("status %+v", w.node.ScrubStatus())
				}
				wants(t, "after", w.ask("GET", w.m.Root()), 200, w.data)
				w.stop()
			})
		})
	}
}

// TestComplaintsAreBounded: they cannot have good content dropped, and not much work done.
func TestComplaintsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		o := w.line(1 << 20)
		w.fill()
		w.run(nil)
		for query, want := range map[string]int{
			"": 400, "?piece=": 400, "?piece=-1": 400, "?piece=x": 400, "?piece=" + strconv.Itoa(piecehash.MaxPieces): 400,
		} {
			if code := w.complain(w.m.Root(), query); code != want {
				t.Errorf("%q: status %d, want %d", query, code, want)
			}
		}
		if code := w.complain(piecehash.Root{1}, "?piece=0"); code != http.StatusNotFound {
			t.Errorf("unknown content: status %d", code)
		}
		codes := make(map[int]int)
		for i := range 20 {
			codes[w.complain(w.m.Root(), "?piece="+strconv.Itoa(i*7))]++ // also beyond the end
		}
		if codes[http.StatusAccepted] != complainBurst || codes[http.StatusTooManyRequests] != 20-complainBurst {
			t.Errorf("statuses %v", codes)
		}
		time.Sleep(time.Minute)
		if o.Served(0) != 0 || !w.mended() {
			t.Error("good content was fetched again")
		}
		if code := w.complain(w.m.Root(), "?piece=0"); code != http.StatusAccepted {
			t.Errorf("a minute later: status %d", code)
		}
		w.stop()
	})
}

// TestDevicesGetNothingRotten: what was stored before a start is hashed before a device gets it, too.
func TestDevicesGetNothingRotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.fill()
		rot(t, filepath.Join(w.dir, "sealed", w.m.Root().String()), w.m.Offset(2))
		s := &seats{open: make(map[piecehash.Root]bool)}
		w.run(func(c *Config) { c.Swarm = s })
		synctest.Wait()
		h := s.holding(w.m.Root())
		if h == nil {
			t.Fatal("it is not shared")
		}
		if _, err := h.ReadPiece(2, nil); !errors.Is(err, store.ErrDropped) {
			t.Errorf("the rotten piece: %v", err)
		}
		if b, err := h.ReadPiece(3, nil); err != nil || !bytes.Equal(b, w.piece(3)) {
			t.Errorf("another piece: %v", err)
		}
		w.stop()
	})
}
