package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// memSwarm is a Swarm in memory that is alone.
type memSwarm struct {
	group string

	mu     sync.Mutex // guards what follows
	rooms  map[piecehash.Root]*memRoom
	joined int
	runs   int
	fail   chan error // what Run ends with before its time
}

func newMemSwarm(group string) *memSwarm {
	return &memSwarm{group: group, rooms: make(map[piecehash.Root]*memRoom), fail: make(chan error, 1)}
}

func (s *memSwarm) Run(ctx context.Context) error {
	s.mu.Lock()
	s.runs++
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-s.fail:
		return err
	}
}

func (s *memSwarm) Join(h Holding) (Room, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	root := h.Manifest().Root()
	if s.rooms[root] != nil {
		return nil, errors.New("joined already")
	}
	s.joined++
	r := &memRoom{swarm: s, root: root, events: make(chan fetch.Heard, 1)}
	s.rooms[root] = r
	return r, nil
}

func (s *memSwarm) Layer(context.Context, piecehash.Content) (*piecehash.Manifest, error) {
	return nil, fault.New(fault.Unavailable, "nobody is there")
}

func (s *memSwarm) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rooms)
}

type memRoom struct {
	swarm  *memSwarm
	root   piecehash.Root
	events chan fetch.Heard
}

func (r *memRoom) Self() fetch.PeerID       { return "me" }
func (r *memRoom) Say(fetch.Saying)         {}
func (r *memRoom) Hear() <-chan fetch.Heard { return r.events }

func (r *memRoom) Close() error {
	r.swarm.mu.Lock()
	defer r.swarm.mu.Unlock()
	delete(r.swarm.rooms, r.root)
	r.events <- fetch.Noticed{} // a last word that somebody has to take
	close(r.events)
	return nil
}

type memHolding struct {
	*fetchtest.Part
	closed int
}

func (h *memHolding) Close() error { h.closed++; return nil }

func holding(seed uint64) *memHolding {
	b, m := fetchtest.Content(seed, 100_000, 16<<10)
	return &memHolding{Part: fetchtest.FullPart(m, b)}
}

// swarms opens memSwarms and remembers them.
func swarms(all *[]*memSwarm) func(string) (Swarm, error) {
	return func(group string) (Swarm, error) {
		s := newMemSwarm(group)
		*all = append(*all, s)
		return s, nil
	}
}

func TestLANServesUntilItLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var all []*memSwarm
		l := newLAN(swarms(&all), slog.New(slog.DiscardHandler))
		if err := l.enter(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		first, second := holding(1), holding(2)
		if l.serve(first) == nil || l.serve(second) == nil || all[0].open() != 2 || !l.serves(first.Manifest().Root()) {
			t.Error("not served")
		}
		l.keepOnly(map[piecehash.Root]bool{second.Manifest().Root(): true})
		if first.closed != 1 || second.closed != 0 || all[0].open() != 1 {
			t.Errorf("kept the wrong one: closed %d and %d", first.closed, second.closed)
		}
		l.leave()
		if second.closed != 1 || all[0].open() != 0 || l.name() != "" {
			t.Error("something stayed open")
		}
		l.leave() // a second time does nothing
	})
}

func TestLANJoinsAgainWithTheSameHolding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var all []*memSwarm
		l := newLAN(swarms(&all), slog.New(slog.DiscardHandler))
		if err := l.enter(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		defer l.leave()
		h := holding(1)
		for range 3 {
			s := l.serve(h)
			_ = s.Hear()
		}
		if all[0].joined != 3 || all[0].open() != 1 || h.closed != 0 {
			t.Errorf("joined %d times, %d open, holding closed %d times", all[0].joined, all[0].open(), h.closed)
		}
		other := holding(1) // another copy of the same content
		l.serve(other)
		if h.closed != 1 || other.closed != 0 {
			t.Error("the holding that was replaced is still open")
		}
	})
}

func TestLANChangesTheGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var all []*memSwarm
		l := newLAN(swarms(&all), slog.New(slog.DiscardHandler))
		h := holding(1)
		for _, group := range []string{"a", "a", "b", "b"} {
			if err := l.enter(t.Context(), group); err != nil {
				t.Fatal(err)
			}
			if l.name() != group {
				t.Errorf("in group %q, want %q", l.name(), group)
			}
			if !l.serves(h.Manifest().Root()) {
				l.serve(h)
			}
		}
		if len(all) != 2 || all[0].open() != 0 || all[1].open() != 1 {
			t.Errorf("%d swarms", len(all))
		}
		l.leave()
	})
}

func TestLANOpensAgainAfterItsSwarmHasEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var all []*memSwarm
		l := newLAN(swarms(&all), slog.New(slog.DiscardHandler))
		for i := range 3 {
			if err := l.enter(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			all[i].fail <- errors.New("gone")
			time.Sleep(time.Second)
			if l.name() != "" || l.serve(holding(1)) != nil {
				t.Error("it serves without a swarm")
			}
		}
		l.leave()
	})
}

func TestLANWithoutASwarm(t *testing.T) {
	t.Parallel()
	taken := func(string) (Swarm, error) { return nil, fault.New(fault.Unavailable, "port is taken") }
	for name, l := range map[string]*lan{
		"sharing is off": newLAN(nil, slog.New(slog.DiscardHandler)),
		"port is taken":  newLAN(taken, slog.New(slog.DiscardHandler)),
	} {
		if err := l.enter(t.Context(), "a"); (err != nil) != (l.open != nil) {
			t.Errorf("%s: %v", name, err)
		}
		h := holding(1)
		if l.serve(h) != nil || h.closed != 0 || l.serves(h.Manifest().Root()) {
			t.Errorf("%s: it is served", name)
		}
		if _, err := l.layer(t.Context(), h.Manifest().Content); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
		l.leave()
	}
}
