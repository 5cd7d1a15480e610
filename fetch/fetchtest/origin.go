package fetchtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Sink is a fetch.Sink that keeps everything and notes the order. Its fields may be set before use.
type Sink struct {
	M      *piecehash.Manifest
	Refuse func(piece int) error            // an error for a piece that is right; nil = none
	Hold   func(ctx context.Context, n int) // called by Progress; nil = nothing
	After  func(piece int)                  // called when a piece was taken; nil = nothing
	mu     sync.Mutex                       // guards the rest
	got    map[int][]byte                   // pieces that checked out
	order  []int                            // as they came, right or wrong
	bytes  int64                            // told to Progress
	paces  []int                            // each n told to Progress
}

// Progress implements fetch.Sink.
func (s *Sink) Progress(ctx context.Context, n int) {
	s.mu.Lock()
	s.bytes += int64(n)
	s.paces = append(s.paces, n)
	s.mu.Unlock()
	if s.Hold != nil {
		s.Hold(ctx, n)
	}
}

// Piece implements fetch.Sink.
func (s *Sink) Piece(i int, b []byte) error {
	s.mu.Lock()
	s.order = append(s.order, i)
	s.mu.Unlock()
	if err := s.M.Check(i, b); err != nil {
		return err
	}
	if s.Refuse != nil {
		if err := s.Refuse(i); err != nil {
			return err
		}
	}
	s.mu.Lock()
	if s.got == nil {
		s.got = make(map[int][]byte)
	}
	s.got[i] = bytes.Clone(b)
	s.mu.Unlock()
	if s.After != nil {
		s.After(i)
	}
	return nil
}

// Bytes returns how many bytes Progress was told of.
func (s *Sink) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// Order returns the pieces in the order they were handed over, also those that did not check out.
func (s *Sink) Order() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int(nil), s.order...)
}

// Have returns piece i, or nil.
func (s *Sink) Have(i int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got[i]
}

// Size returns the bytes of count pieces from first on.
func Size(c piecehash.Content, first, count int) (n int64) {
	for i := first; i < first+count; i++ {
		n += c.PieceSize(i)
	}
	return n
}

// TestOrigin is what every fetch.Origin must do. open returns an origin that serves data without a fault.
func TestOrigin(t *testing.T, open func(t *testing.T, data []byte, m *piecehash.Manifest) fetch.Origin) {
	t.Helper()
	const piece = 16 << 10
	data, m := Content(7, 20*piece+5, piece)
	origin := open(t, data, m)

	for _, span := range [][2]int{{0, 21}, {0, 1}, {3, 1}, {20, 1}, {5, 16}, {0, 20}} {
		t.Run(fmt.Sprintf("range/%d+%d", span[0], span[1]), func(t *testing.T) {
			s := &Sink{M: m}
			if err := origin.Fetch(t.Context(), span[0], span[1], fetch.Own, s); err != nil {
				t.Fatal(err)
			}
			wantExactly(t, s, span[0], span[1])
		})
	}

	t.Run("concurrent", func(t *testing.T) {
		var wg sync.WaitGroup
		for k := range 7 {
			wg.Go(func() {
				s := &Sink{M: m}
				if err := origin.Fetch(t.Context(), 3*k, 3, fetch.Steal, s); err != nil {
					t.Error(err)
				}
				wantExactly(t, s, 3*k, 3)
			})
		}
		wg.Wait()
	})

	t.Run("sink refuses", func(t *testing.T) {
		full := errors.New("no space")
		s := &Sink{M: m, Refuse: func(i int) error {
			if i == 6 {
				return full
			}
			return nil
		}}
		if err := origin.Fetch(t.Context(), 4, 10, fetch.Timeout, s); err != full { //nolint:errorlint // unchanged means the same value
			t.Errorf("error of the sink came back as %v", err)
		}
		if o := s.Order(); len(o) != 3 || o[2] != 6 {
			t.Errorf("pieces handed over: %v, want 4 5 6", o)
		}
	})

	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := &Sink{M: m, After: func(i int) {
			if i == 2 {
				cancel()
			}
		}}
		if err := origin.Fetch(ctx, 0, 21, fetch.Own, s); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want that of the context", err)
		}
		if s.Bytes() < Size(m.Content, 0, 3) {
			t.Errorf("%d bytes were reported, less than three pieces", s.Bytes())
		}
	})

	t.Run("held back", func(t *testing.T) {
		s := &Sink{M: m, Hold: func(ctx context.Context, _ int) { <-ctx.Done() }}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := origin.Fetch(ctx, 0, 21, fetch.Own, s); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that of the context", err)
		}
		if n := len(s.paces); n != 1 {
			t.Errorf("the source went on %d times though the sink held it back", n)
		}
	})
}

func wantExactly(t *testing.T, s *Sink, first, count int) {
	t.Helper()
	order := s.Order()
	if len(order) != count {
		t.Errorf("%d pieces were handed over, want %d: %v", len(order), count, order)
		return
	}
	for k, i := range order {
		if i != first+k {
			t.Errorf("pieces came as %v, want them in order from %d", order, first)
			return
		}
	}
	if want := Size(s.M.Content, first, count); s.Bytes() != want {
		t.Errorf("progress of %d bytes, want %d", s.Bytes(), want)
	}
}
