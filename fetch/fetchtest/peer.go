package fetchtest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Collector is a fetch.Sink that checks pieces against a manifest and counts.
type Collector struct {
	M    *piecehash.Manifest
	Fail error // returned for every piece, if set

	bytes  atomic.Int64
	mu     sync.Mutex // guards pieces
	pieces []int
}

// Progress implements fetch.Sink.
func (c *Collector) Progress(_ context.Context, n int) { c.bytes.Add(int64(n)) }

// Piece implements fetch.Sink.
func (c *Collector) Piece(i int, b []byte) error {
	if c.Fail != nil {
		return c.Fail
	}
	if err := c.M.Check(i, b); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pieces = append(c.pieces, i)
	return nil
}

// Bytes returns how many payload bytes were reported.
func (c *Collector) Bytes() int64 { return c.bytes.Load() }

// Pieces returns the pieces that arrived and checked out, in order of arrival.
func (c *Collector) Pieces() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]int(nil), c.pieces...)
}

// TestPeer checks that a fetch.Peer keeps its contract. open returns a fresh peer that holds every piece of m but lacks.
func TestPeer(t *testing.T, m *piecehash.Manifest, lacks int, open func(t *testing.T) fetch.Peer) {
	t.Run("delivers every piece and reports every byte", func(t *testing.T) {
		p := open(t)
		for i := range m.Pieces() {
			if i == lacks {
				continue
			}
			c := &Collector{M: m}
			if err := p.Fetch(t.Context(), i, c); err != nil {
				t.Fatalf("piece %d: %v", i, err)
			}
			if got := c.Pieces(); len(got) != 1 || got[0] != i || c.Bytes() != m.PieceSize(i) {
				t.Errorf("piece %d: got %v and %d bytes", i, got, c.Bytes())
			}
		}
	})
	t.Run("serves many requests at once", func(t *testing.T) {
		p := open(t)
		var wg sync.WaitGroup
		for i := range m.Pieces() {
			if i == lacks {
				continue
			}
			wg.Go(func() {
				err := p.Fetch(t.Context(), i, &Collector{M: m})
				var busy *fetch.BusyError
				if err != nil && !errors.As(err, &busy) {
					t.Errorf("piece %d: %v", i, err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("says that it does not have a piece", func(t *testing.T) {
		if err := open(t).Fetch(t.Context(), lacks, &Collector{M: m}); !errors.Is(err, fetch.ErrAbsent) {
			t.Errorf("got %v, want ErrAbsent", err)
		}
	})
	t.Run("returns the sink's error unchanged", func(t *testing.T) {
		want := errors.New("the disk is full")
		if err := open(t).Fetch(t.Context(), (lacks+1)%m.Pieces(), &Collector{M: m, Fail: want}); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	})
	t.Run("ends with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c := &Collector{M: m}
		if err := open(t).Fetch(ctx, (lacks+1)%m.Pieces(), c); err == nil && len(c.Pieces()) == 0 {
			t.Error("no piece and no error")
		}
	})
}
