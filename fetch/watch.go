package fetch

import (
	"sync/atomic"
	"time"
)

const (
	watchEvery = time.Second
	maxWatched = 1024 // members of one fetch that are counted apart
	cacheWord  = "cache"
	deviceWord = "device"
)

// watcher counts what each member gives, for Options.Watch. All of it but the counts belongs to the loop.
type watcher struct {
	show   func(View)
	last   time.Duration
	of     map[PeerID]*given
	origin map[Standing]int // how often the origin stood so
}

// given is what one member has given.
type given struct {
	role  Role
	bytes atomic.Int64
	meter meter
	told  int64 // of bytes, what meter knows
	gone  Standing
	seen  map[Standing]int // how often it stood so
}

func newWatcher(show func(View)) *watcher {
	if show == nil {
		return nil
	}
	return &watcher{show: show, of: make(map[PeerID]*given), origin: make(map[Standing]int)}
}

// joined begins to count a member, or goes on. A nil watcher does nothing.
func (w *watcher) joined(id PeerID, r Role) {
	if w == nil {
		return
	}
	g := w.of[id]
	if g == nil && len(w.of) < maxWatched {
		g = &given{seen: make(map[Standing]int)}
		w.of[id] = g
	}
	if g != nil {
		g.role, g.gone = r, ""
	}
}

// left says why a member is no source any more.
func (w *watcher) left(id PeerID, why Standing) {
	if w == nil {
		return
	}
	if g := w.of[id]; g != nil && g.gone != Liar {
		g.gone = why
	}
}

// counter is where to count what a member gives; nil when nobody looks.
func (w *watcher) counter(id PeerID) *atomic.Int64 {
	if w == nil || w.of[id] == nil {
		return nil
	}
	return &w.of[id].bytes
}

// tick measures, and shows a picture when it is time.
func (w *watcher) tick(now time.Duration, r *run) {
	if w == nil {
		return
	}
	for _, g := range w.of {
		n := g.bytes.Load()
		g.meter.add(now, n-g.told)
		g.told = n
	}
	if now-w.last >= watchEvery {
		w.last = now
		w.show(w.view(now, r, false))
	}
}

// end shows the last picture.
func (w *watcher) end(now time.Duration, r *run) {
	if w != nil {
		w.show(w.view(now, r, true))
	}
}

func (w *watcher) view(now time.Duration, r *run, final bool) View {
	v := View{Final: final, Origin: r.core.explainOrigin(now), Sources: make([]Source, 0, len(w.of))}
	v.Caches = r.count.via.Load()
	v.Others = r.count.peers.arrived.Load() + r.count.cache.arrived.Load() - v.Caches
	for id, g := range w.of {
		s := g.source(now, id, r.core, final)
		v.Others -= s.Bytes
		v.Sources = append(v.Sources, s)
	}
	v.Others = max(0, v.Others)
	v.Sources = ordered(v.Sources)
	v.Origin.By = make(map[string]int64, len(reasonWords))
	for i, word := range reasonWords {
		v.Origin.By[word] = r.count.origin[i].arrived.Load()
	}
	w.origin[v.Origin.Standing]++
	if final {
		w.origin[v.Origin.Standing]-- // how it stands when nothing is missing any more says nothing
		v.Origin.Standing, v.Origin.Left = most(w.origin, v.Origin.Standing), 0
	}
	return v
}

func (g *given) source(now time.Duration, id PeerID, d *Core, final bool) Source {
	s := Source{ID: id, Role: deviceWord, Bytes: g.bytes.Load(), Rate: int64(g.meter.rate(now))}
	if g.role == Cache {
		s.Role = cacheWord
	}
	switch known := d.explain(now, &s); {
	case g.gone != "":
		s.Standing, s.Left = g.gone, 0
	case final && g.seen[Paused] > 0: // also if it spent longer being asked in vain
		s.Standing, s.Left = Paused, 0
	case final:
		s.Standing, s.Left = most(g.seen, s.Standing), 0
	case known:
		g.seen[s.Standing]++
	default: // the core has dropped it, and its end is about to be heard
		s.Standing = Gone
	}
	return s
}

// most returns the standing that was seen most often, or fallback if none was seen.
func most(seen map[Standing]int, fallback Standing) Standing {
	best, n := fallback, 0
	for s, k := range seen {
		if k > n || k == n && k > 0 && s < best {
			best, n = s, k
		}
	}
	return best
}
