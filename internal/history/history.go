package history

import (
	"log/slog"
	"sync"
	"time"
)

// What is kept, at most: buckets in which something was counted. With a clock that runs straight that is so much time.
const (
	MinutesKept = 6 * 60
	HoursKept   = 35 * 24
)

const (
	minute = 60 // seconds
	hour   = 60 // minutes

	// stepBack is how far the clock may fall back, in minutes, and be taken for one that is being put right: the newest
	// minute goes on then.
	stepBack = 5
	// patience is how long a clock must have stood further back before what was noted "later" is forgotten. A machine that
	// has no clock of its own starts in 1970 and is put right within that time.
	patience = time.Hour
)

// History is what came and went. It is safe for concurrent use.
type History struct {
	path string // "": nowhere
	log  *slog.Logger

	mu      sync.Mutex // guards the rest
	minutes series
	hours   series
	last    Amounts // the counters when they were last looked at
	pending Amounts // counted while the clock was not believed
	behind  bool    // it is not, since the moment fellAt of the monotonic clock
	fellAt  time.Duration
	dirty   bool // there is something that the file does not have
}

// New returns a history that is kept nowhere.
func New() *History {
	return &History{minutes: series{most: MinutesKept}, hours: series{most: HoursKept}, log: slog.New(slog.DiscardHandler)}
}

// Observe takes over counters as they stand. wall is what the clock of the machine says, tick the time since any fixed moment
// by a clock that never jumps. The first counters are taken as counted since the process began.
func (h *History) Observe(wall time.Time, tick time.Duration, total Amounts) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending = h.pending.plus(total.since(h.last))
	h.last = total
	at, ok := h.place(wall, tick)
	if !ok || h.pending == (Amounts{}) {
		return
	}
	h.minutes.add(at, h.pending)
	h.hours.add(at/hour, h.pending)
	h.pending, h.dirty = Amounts{}, true
}

// place returns the minute that is now, false while the clock is not believed.
func (h *History) place(wall time.Time, tick time.Duration) (int64, bool) {
	at := minuteOf(wall)
	newest := h.minutes.newest()
	switch {
	case at+stepBack >= newest:
		h.behind = false
		return max(at, newest), true
	case !h.behind:
		h.behind, h.fellAt = true, tick
		return 0, false
	case tick-h.fellAt < patience:
		return 0, false
	}
	// It was ahead before: nothing can have come at times that have not been.
	h.behind, h.dirty = false, true
	h.minutes.cut(at)
	h.hours.cut(at / hour)
	return at, true
}

func minuteOf(t time.Time) int64 { return max(0, t.Unix()/minute) }

// Minutes returns the sum from one moment to another, both cut to whole minutes; the minute of to is not in it.
func (h *History) Minutes(from, to time.Time) Amounts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.minutes.sum(minuteOf(from), minuteOf(to))
}

// Hours returns the sum from one moment to another, both cut to whole hours (UTC); the hour of to is not in it.
func (h *History) Hours(from, to time.Time) Amounts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hours.sum(minuteOf(from)/hour, minuteOf(to)/hour)
}
