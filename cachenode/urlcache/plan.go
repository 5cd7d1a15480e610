package urlcache

import "time"

// run is some slices in a row that one request is to bring.
type run struct{ first, count int }

// plan starts as many streams as there may be, for the readers that are nearest to what they lack. g.mu is held. The error
// says why none can be started for anybody.
//
// One request after the other for a slice each, as caches in front of the web have it, leaves a cold line idle for a round trip
// each time. Here requests are of several slices, the next one begins while others run, and they grow while the origin keeps up.
func (g *generation) plan() error {
	switch {
	case g.ended != nil:
		return g.ended
	case g.e.c.isPaused(time.Now()):
		return errNoRoom
	}
	for g.streams < g.allowed() {
		next := g.choose()
		if next.count == 0 {
			return nil
		}
		if !g.begin(next) {
			return errEnding
		}
	}
	return nil
}

// allowed is how many streams there may be: two at first, one more for each request that has come to its end.
func (g *generation) allowed() int {
	if g.plain {
		return 1
	}
	return max(1, min(2+g.brought, g.width))
}

// length of the next request, in slices.
func (g *generation) stride() int { return min(g.e.c.grid.first<<min(g.brought, 8), g.e.c.grid.most) }

// choose returns what is to be fetched next. g.mu is held.
func (g *generation) choose() run {
	var best run
	nearest := int64(-1)
	for r := range g.readers {
		i := g.missing(r)
		if i < 0 {
			continue
		}
		if away := g.offset(i) - r.at; nearest < 0 || away < nearest {
			nearest, best = away, g.span(i, r)
		}
	}
	if g.plain && best.count > 0 {
		return run{0, len(g.sum)}
	}
	return best
}

// missing is the first slice that a reader wants soon and that is neither there nor on its way; -1 for none.
func (g *generation) missing(r *reader) int {
	for i := int(r.at / g.e.c.slice); i < len(g.sum) && g.offset(i) < g.horizon(r); i++ {
		if g.isMissing(i) {
			return i
		}
	}
	return -1
}

// horizon is how far the file is fetched for a reader now. One that is slow, or has gone, has not made the node draw more.
func (g *generation) horizon(r *reader) int64 { return min(r.end, r.at+g.e.c.grid.ahead) }

func (g *generation) isMissing(i int) bool { return !g.have.Has(i) && g.flights[i] == nil }

// span is the run that begins at a missing slice.
func (g *generation) span(first int, r *reader) run {
	n := 1
	for n < g.stride() && first+n < len(g.sum) && g.offset(first+n) < g.horizon(r) && g.isMissing(first+n) {
		n++
	}
	return run{first, n}
}

// begin starts a stream, if the cache lives. g.mu is held.
func (g *generation) begin(what run) bool {
	ctx := g.e.c.lives.Enter()
	if ctx == nil {
		return false
	}
	g.reserve(what)
	go func() {
		defer g.e.c.lives.Leave()
		g.fetch(ctx, what)
	}()
	return true
}

// reserve notes that a stream brings what is missing of a run. g.mu is held.
func (g *generation) reserve(what run) {
	g.streams++
	for i := what.first; i < what.first+what.count; i++ {
		if g.isMissing(i) {
			g.flights[i] = &flight{more: make(chan struct{})}
		}
	}
}

// aim says what an answer wants now.
func (g *generation) aim(r *reader, at, end int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.at, r.end = at, end
}
