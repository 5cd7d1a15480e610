package room

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

const size = 64 << 10 // of each content; with its record it takes 68 KiB

// shelf is a store with contents.
type shelf struct {
	t *testing.T
	*store.Store
	m []*piecehash.Manifest
}

func newShelf(t *testing.T, n int) *shelf {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	out := &shelf{t: t, Store: s}
	for i := range n {
		out.add(uint64(i), size).Close()
	}
	return out
}

// add stores content.
func (s *shelf) add(seed uint64, n int64) *store.File {
	s.t.Helper()
	data, m := fetchtest.Content(seed, n, 16<<10)
	p, err := s.Begin(s.t.Context(), m)
	if err != nil {
		s.t.Fatal(err)
	}
	defer p.Close()
	for i := range m.Pieces() {
		if _, err := p.Put(i, data[m.Offset(i):m.Offset(i)+m.PieceSize(i)]); err != nil {
			s.t.Fatal(err)
		}
	}
	f, err := p.Seal(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	s.m = append(s.m, m)
	if err := s.Note(m.Root(), time.Now(), time.Now()); err != nil { // in a bubble the kernel has another clock
		s.t.Fatal(err)
	}
	return f
}

func (s *shelf) root(i int) piecehash.Root { return s.m[i].Root() }

// has is a word with a letter for each content that is there.
func (s *shelf) has() (out string) {
	for i, m := range s.m {
		if s.Has(m.Root()) {
			out += string(rune('a' + i))
		}
	}
	return out
}

func (s *shelf) pin(i int) {
	s.t.Helper()
	if err := s.Pin(s.root(i)); err != nil {
		s.t.Fatal(err)
	}
}

// lines is a log that may be read while it is written to.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// live runs a keeper in a bubble until the returned function is called.
func live(k *Keeper) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	synctest.Wait()
	return func() { cancel(); <-done }
}

// TestWhatIsUsedStays: over a week some contents are used, also over restarts, and then there is too little room.
func TestWhatIsUsedStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, 6)
		for range 2 { // days, with a restart after each
			k := New(Config{Store: s.Store})
			stop := live(k)
			time.Sleep(time.Hour)
			for range 8 {
				k.Use(s.root(4), size) // the favourite
			}
			k.Use(s.root(1), size)
			time.Sleep(23 * time.Hour)
			stop()
		}
		k := New(Config{Store: s.Store})
		stop := live(k)
		k.Use(s.root(5), size) // the newest use, but of one client
		time.Sleep(time.Hour)
		if got := k.Best(3); got[0] != s.root(4) || got[1] != s.root(5) || got[2] != s.root(1) {
			t.Errorf("the most useful are %v", got)
		}
		stop()
		s.pin(0)
		k = New(Config{Store: s.Store, Limits: Limits{Bytes: 3 * (size + 8<<10)}})
		stop = live(k)
		if got := s.has(); got != "aef" {
			t.Errorf("it has %s, want aef: what is pinned, the favourite, the newest", got)
		}
		if st := k.Status(); st.Contents != 3 || st.Removed.Contents != 3 || st.Pinned != 1 || st.Bytes > st.Limit || st.Trouble != Fine {
			t.Errorf("status %+v", st)
		}
		stop()
	})
}

// TestAge: what nobody uses goes when its time has come, what is used does not, in use stays until it is not.
func TestAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, 4)
		s.pin(3)
		var idle atomic.Bool
		k := New(Config{
			Store: s.Store, Limits: Limits{Age: 30 * time.Hour},
			Busy: func(root piecehash.Root) bool { return !idle.Load() && root == s.root(2) },
		})
		stop := live(k)
		time.Sleep(29 * time.Hour)
		if got := s.has(); got != "abcd" {
			t.Errorf("after 29 hours it has %s", got)
		}
		k.Use(s.root(1), 1)
		time.Sleep(2 * time.Hour)
		if got := s.has(); got != "bcd" {
			t.Errorf("after 31 hours it has %s, want bcd", got)
		}
		idle.Store(true)
		time.Sleep(2 * time.Minute)
		if got := s.has(); got != "bd" {
			t.Errorf("when nobody reads it has %s, want bd", got)
		}
		time.Sleep(30 * time.Hour)
		if got := s.has(); got != "d" {
			t.Errorf("after another day it has %s, want what is pinned", got)
		}
		stop()
	})
}

// TestNeed makes room for what comes, or leaves everything as it is.
func TestNeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, 4)
		var log lines
		k := New(Config{Store: s.Store, Limits: Limits{Bytes: 4 * (size + 4<<10)}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		stop := live(k)
		for i := 3; i >= 0; i-- { // a is used last
			k.Use(s.root(i), size)
			time.Sleep(time.Minute)
		}
		_, large := fetchtest.Content(98, 5*size, 16<<10)
		for range 3 {
			err := k.Need(t.Context(), large.Content)
			if !fault.Is(err, fault.Unavailable) || !errors.Is(err, syscall.ENOSPC) || fault.Hint(err) == "" {
				t.Errorf("too large: %v", err)
			}
			time.Sleep(10 * time.Minute)
		}
		if got := s.has(); got != "abcd" || k.Status().Trouble != Full {
			t.Errorf("for what cannot have room it has %s left, %+v", got, k.Status())
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
			t.Errorf("the trouble was logged %d times:\n%s", n, log.String())
		}
		time.Sleep(2 * time.Hour)
		if st := k.Status(); st.Trouble != Fine {
			t.Errorf("nobody has wanted anything for long: %+v", st)
		}
		_, m := fetchtest.Content(99, 2*size, 16<<10)
		if err := k.Need(t.Context(), m.Content); err != nil {
			t.Error(err)
		}
		if got := s.has(); got != "ab" {
			t.Errorf("it has %s, want ab", got)
		}
		if err := k.Need(t.Context(), m.Content); err != nil || s.has() != "ab" {
			t.Errorf("asked again for the same: %v, and it has %s", err, s.has())
		}
		k.Refresh(m.Root()) // it was not begun after all
		if st := k.Status(); st.Partial != 0 || st.Contents != 2 {
			t.Errorf("status %+v", st)
		}
		stop()
	})
}

// TestBegunAndLeft: partial content goes when nobody goes on with it, but never under the hands of who does.
func TestBegunAndLeft(t *testing.T) {
	t.Parallel()
	s := newShelf(t, 1)
	data, m := fetchtest.Content(50, 4*size, 16<<10)
	p, err := s.Begin(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Put(0, data[:m.PieceSize(0)]); err != nil {
		t.Fatal(err)
	}
	k := New(Config{Store: s.Store, Limits: Limits{Bytes: 1}})
	k.Survey()
	k.Tidy()
	if st := k.Status(); st.Partial != 1 || st.Contents != 0 || st.Trouble != Full {
		t.Errorf("just begun: %+v", st)
	}
	e := k.all[m.Root()].entry(m.Root())
	e.Used = e.Used.Add(-2 * Abandoned)
	k.put(e)
	k.Tidy() // it looks left, but is locked
	if st := k.Status(); st.Partial != 1 {
		t.Errorf("it was taken away from under a download: %+v", st)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	k.Tidy()
	if st := k.Status(); st.Partial != 0 || st.Bytes != 0 || st.Trouble != Fine {
		t.Errorf("left for two hours: %+v", st)
	}
}

// TestBrokenDisk: an error of the disk is said once, and is over when something was stored; others are none of its business.
func TestBrokenDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, 1)
		var log lines
		k := New(Config{Store: s.Store, Log: slog.New(slog.NewTextHandler(&log, nil))})
		stop := live(k)
		_ = k.Failed(errors.New("no origin answers"))
		if st := k.Status(); st.Trouble != Fine {
			t.Errorf("status %+v", st)
		}
		for _, errno := range []error{syscall.EIO, syscall.EIO, syscall.EROFS} {
			_ = k.Failed(fault.Wrap(fault.Unavailable, errno))
			time.Sleep(2 * time.Minute)
		}
		if st := k.Status(); st.Trouble != Broken {
			t.Errorf("status %+v", st)
		}
		k.Stored(s.m[0].Content)
		time.Sleep(2 * time.Minute)
		if st := k.Status(); st.Trouble != Fine {
			t.Errorf("after something was stored: %+v", st)
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "can be stored again") {
			t.Errorf("it was said %d times:\n%s", n, log.String())
		}
		stop()
	})
}
