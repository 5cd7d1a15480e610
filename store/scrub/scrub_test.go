package scrub

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

const (
	pieceLength = 64 << 10
	size        = 4 * pieceLength
)

// rotten is what a scrubber has found.
type rotten struct {
	root  piecehash.Root
	piece int
}

// world is a store with contents, in the order of their roots.
type world struct {
	t     *testing.T
	dir   string
	store *store.Store
	m     []*piecehash.Manifest
	busy  atomic.Bool

	mu   sync.Mutex
	rots []rotten // guarded by mu
}

// found is what the scrubber has told so far.
func (w *world) found() []rotten {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.rots)
}

func newWorld(t *testing.T, n int) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "store")}
	s, err := store.Open(w.dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.store = s
	for i := range n {
		data, m := fetchtest.Content(uint64(i), size, pieceLength)
		p, err := s.Begin(context.Background(), m)
		if err != nil {
			t.Fatal(err)
		}
		for i := range m.Pieces() {
			if _, err := p.Put(i, data[m.Offset(i):][:m.PieceSize(i)]); err != nil {
				t.Fatal(err)
			}
		}
		f, err := p.Seal(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		p.Close()
		w.m = append(w.m, m)
	}
	slices.SortFunc(w.m, func(a, b *piecehash.Manifest) int { x, y := a.Root(), b.Root(); return bytes.Compare(x[:], y[:]) })
	return w
}

func (w *world) rot(content, piece int) {
	w.t.Helper()
	path := filepath.Join(w.dir, "sealed", w.m[content].Root().String())
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	b[w.m[content].Offset(piece)+5] ^= 1
	if err := os.Chmod(path, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// live runs a scrubber in a bubble until the returned function is called.
func (w *world) live(c Config) (s *Scrubber, stop func()) {
	c.Store, c.Busy = w.store, w.busy.Load
	c.Damaged = func(_ context.Context, root piecehash.Root, piece int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.rots = append(w.rots, rotten{root, piece})
	}
	s = New(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	return s, func() { cancel(); <-done }
}

// TestRotIsFound in one cycle, each piece once, and the next cycle begins when it is time.
func TestRotIsFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5)
		w.rot(1, 2)
		w.rot(4, 3)
		s, stop := w.live(Config{Cycle: 7 * 24 * time.Hour})
		time.Sleep(time.Minute)
		want := []rotten{{w.m[1].Root(), 2}, {w.m[4].Root(), 3}}
		if !slices.Equal(w.found(), want) {
			t.Errorf("found %v, want %v", w.found(), want)
		}
		if st := s.Status(); st.Damaged != 2 || st.Bytes != 5*size || st.Ended.IsZero() {
			t.Errorf("status %+v", st)
		}
		time.Sleep(6 * 24 * time.Hour)
		if len(w.found()) != 2 {
			t.Error("the next cycle began too early")
		}
		time.Sleep(2 * 24 * time.Hour)
		if len(w.found()) != 4 {
			t.Errorf("a second cycle found %v", w.found()[2:])
		}
		stop()
	})
}

// TestRateAndCycle: it is no faster than it may, and no faster than it must.
func TestRateAndCycle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			Config
			want time.Duration // of a cycle
		}{
			"as fast as it may":   {Config{Rate: size / 10, Cycle: time.Second}, 40 * time.Second},
			"as the cycle wants":  {Config{Rate: 1 << 30, Cycle: 250 * time.Millisecond}, 250 * time.Millisecond},
			"faster than it must": {Config{Rate: 1 << 30, Cycle: 24 * time.Hour}, 4 * size * time.Second / leastRate},
		} {
			w := newWorld(t, 4)
			s, stop := w.live(c.Config)
			begun := time.Now()
			for s.Status().Ended.IsZero() {
				time.Sleep(time.Millisecond)
			}
			if took := time.Since(begun); took < c.want*9/10 || took > c.want*13/10 {
				t.Errorf("%s: a cycle took %v, want %v", name, took, c.want)
			}
			stop()
		}
	})
}

// TestItWaitsWhileTheNodeWorks, and goes on where it was: after that, and after a restart.
func TestItWaitsAndGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4)
		for i := range 4 {
			w.rot(i, 0)
		}
		conf := Config{Rate: size, Cycle: time.Second} // a content a second
		s, stop := w.live(conf)
		time.Sleep(1500 * time.Millisecond)
		w.busy.Store(true)
		time.Sleep(time.Hour)
		if len(w.found()) != 2 || s.Status().Bytes > 2*size {
			t.Errorf("while the node works it found %v, %+v", w.found(), s.Status())
		}
		stop()
		w.busy.Store(false)
		s, stop = w.live(conf)
		for s.Status().Ended.IsZero() {
			time.Sleep(time.Millisecond)
		}
		stop()
		var order []piecehash.Root
		for _, f := range w.found() {
			order = append(order, f.root)
		}
		want := []piecehash.Root{w.m[0].Root(), w.m[1].Root(), w.m[1].Root(), w.m[2].Root(), w.m[3].Root()} // the second was in the middle
		if len(order) < len(want) || !slices.Equal(order[:len(want)], want) {                               // it may have begun the next cycle
			t.Errorf("the order was %v", order)
		}
		if err := os.WriteFile(filepath.Join(w.dir, stateFile), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if s := New(Config{Store: w.store}); s.Status() != (Status{}) {
			t.Errorf("of a damaged state: %+v", s.Status())
		}
	})
}
