// Package scrub reads a store from end to end in idle time, over days, and finds what has rotted before somebody needs it.
//
// It reads from the disk, not from the kernel's memory, one piece at a time, no faster than it may and than it must: so fast
// that a cycle takes as long as it is meant to, which for a small store is almost nothing. While the node works it waits. Where
// it is, is written down once a minute, so that restarts do not have it begin again and again at the same end.
//
// It mends nothing: it says what is damaged. It trusts the store, and a state file of its own only as a place to go on from: a
// damaged one costs a cycle. It starts no goroutine. Start reading at Scrubber.Run.
package scrub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

const (
	// DefaultCycle is in which time everything is read once.
	DefaultCycle = 30 * 24 * time.Hour
	// DefaultRate is the most that is read, in bytes per second.
	DefaultRate = 20 << 20

	leastRate = 1 << 20 // bytes per second, whatever the cycle needs
	pause     = 5 * time.Second
	saveEvery = time.Minute
	restAtEnd = time.Hour // between two looks whether there is anything to read, or time for the next cycle

	stateFile = "scrub.json"
	maxState  = 4 << 10 // bytes
)

// Config is what a Scrubber is made of.
type Config struct {
	Store *store.Store  // required
	Rate  int64         // the most to read, in bytes per second; 0 is DefaultRate
	Cycle time.Duration // in which everything is read; 0 is DefaultCycle
	// Busy reports whether the node has something better to do. Nil: it never has.
	Busy func() bool
	// Damaged is told of each damaged piece.
	Damaged func(ctx context.Context, root piecehash.Root, piece int)
	Log     *slog.Logger // nil: silent
}

// Status is how far the scrubbing is.
type Status struct {
	Last    piecehash.Root `json:"last"`           // that was read; zero at the begin of a cycle
	Began   time.Time      `json:"began,omitzero"` // the cycle
	Ended   time.Time      `json:"ended,omitzero"` // the newest whole cycle; zero: there was none
	Bytes   int64          `json:"bytes"`          // read in this cycle
	Damaged int64          `json:"damaged"`        // pieces, in all cycles
}

// Scrubber scrubs one store. Make it with New; Run gives it life.
type Scrubber struct {
	cfg Config
	log *slog.Logger
	buf []byte // of one piece; Run's

	mu     sync.Mutex
	status Status    // guarded by mu
	saved  time.Time // when; Run's
}

// New returns a Scrubber that goes on where an earlier one was.
func New(cfg Config) *Scrubber {
	if cfg.Rate == 0 {
		cfg.Rate = DefaultRate
	}
	if cfg.Cycle == 0 {
		cfg.Cycle = DefaultCycle
	}
	if cfg.Busy == nil {
		cfg.Busy = func() bool { return false }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Scrubber{cfg: cfg, log: cfg.Log}
	b, err := os.ReadFile(cfg.Store.Beside(stateFile))
	if err == nil && len(b) <= maxState {
		if json.Unmarshal(b, &s.status) != nil {
			s.status = Status{}
		}
	}
	return s
}

// Status returns how far it is.
func (s *Scrubber) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *Scrubber) change(f func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.status)
}

// Run scrubs until ctx ends.
func (s *Scrubber) Run(ctx context.Context) {
	defer s.save()
	for ctx.Err() == nil {
		now := time.Now()
		at := s.Status()
		if at.Began.After(now) { // the clock was set back
			at.Began = now
		}
		if at.Last == (piecehash.Root{}) && !at.Ended.IsZero() && now.Before(at.Began.Add(s.cfg.Cycle)) {
			sleep(ctx, min(restAtEnd, at.Began.Add(s.cfg.Cycle).Sub(now)))
			continue
		}
		if at.Last == (piecehash.Root{}) {
			s.change(func(st *Status) { st.Began, st.Bytes = now, 0 })
		}
		if !s.cycle(ctx, at.Last) {
			sleep(ctx, restAtEnd)
		}
	}
}

// cycle reads what comes after a root, and reports whether that was anything.
func (s *Scrubber) cycle(ctx context.Context, after piecehash.Root) bool {
	all, err := s.cfg.Store.Survey()
	if err != nil {
		s.log.Warn("the store cannot be scrubbed", slog.Any("err", err))
		return false
	}
	all = slices.DeleteFunc(all, func(e store.Entry) bool { return !e.Whole || bytes.Compare(e.Root[:], after[:]) <= 0 })
	slices.SortFunc(all, func(a, b store.Entry) int { return bytes.Compare(a.Root[:], b.Root[:]) })
	left := int64(0)
	for _, e := range all {
		left += e.Length
	}
	for _, e := range all {
		if !s.content(ctx, e.Root, left) {
			return true // ctx has ended
		}
		left -= e.Length
		s.change(func(st *Status) { st.Last = e.Root })
		if time.Since(s.saved) >= saveEvery {
			s.save()
		}
	}
	s.change(func(st *Status) { st.Last, st.Ended = piecehash.Root{}, time.Now() })
	s.save()
	s.log.Info("everything stored was read", slog.Int64("bytes", s.Status().Bytes), slog.Int64("damaged", s.Status().Damaged))
	return len(all) > 0
}

// content reads one content, of what is left, and reports whether it came to its end.
func (s *Scrubber) content(ctx context.Context, root piecehash.Root, left int64) bool {
	f, err := s.cfg.Store.File(root)
	if err != nil {
		if errors.Is(err, store.ErrNotFound) && s.cfg.Store.Has(root) {
			s.log.Warn("stored content is damaged, or its record is", slog.Any("root", root), slog.Any("err", err))
			s.damaged(ctx, root, 0)
		}
		return ctx.Err() == nil
	}
	defer f.Close()
	for i := range f.Manifest().Pieces() {
		for s.cfg.Busy() && ctx.Err() == nil {
			sleep(ctx, pause)
		}
		if ctx.Err() != nil {
			return false
		}
		b, err := f.Scrub(i, s.buf)
		s.buf = b
		if err != nil {
			s.log.Warn("a stored piece has rotted", slog.Any("root", root), slog.Int("piece", i), slog.Any("err", err))
			s.damaged(ctx, root, i)
		}
		n := f.Manifest().PieceSize(i)
		s.change(func(st *Status) { st.Bytes += n })
		sleep(ctx, time.Duration(float64(n)/float64(s.rate(left))*float64(time.Second)))
	}
	return ctx.Err() == nil
}

func (s *Scrubber) damaged(ctx context.Context, root piecehash.Root, piece int) {
	s.change(func(st *Status) { st.Damaged++ })
	if s.cfg.Damaged != nil {
		s.cfg.Damaged(ctx, root, piece)
	}
}

// rate is how fast to read so that what is left is read when the cycle ends, in bytes per second.
func (s *Scrubber) rate(left int64) int64 {
	rest := time.Until(s.Status().Began.Add(s.cfg.Cycle)).Seconds()
	need := float64(s.cfg.Rate)
	if rest > 0 {
		need = float64(left) / rest
	}
	return min(max(int64(min(need, float64(s.cfg.Rate))), leastRate), s.cfg.Rate)
}

func (s *Scrubber) save() {
	s.saved = time.Now()
	b, err := json.Marshal(s.Status())
	if err == nil {
		err = durable.WriteFile(s.cfg.Store.Beside(stateFile), b, 0o600)
	}
	if err != nil {
		s.log.Warn("how far the scrubbing is cannot be noted", slog.Any("err", err))
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
