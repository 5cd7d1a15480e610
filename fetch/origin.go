package fetch

import (
	"slices"
	"time"
)

// stream is one line of origin ranges of this device: it claims a run of pieces, draws it in sub-ranges, and claims the
// next. The next sub-range is asked for before the last one ends (rule 5).
type stream struct {
	why       Reason
	next, end int // claimed and not yet drawn
	claim     *ownClaim
	drawing   int   // draws under way
	size      int64 // of the next sub-range
}

// ownClaim is this device's word to the site; it is said again with progress, because that keeps the lease.
type ownClaim struct {
	first, end int
	done       int64
	saidDone   int64
	saidAt     time.Duration
	open       int // draws under way for it
}

// draw is one origin range that is under way.
type draw struct {
	st         *stream
	claim      *ownClaim
	first, end int
	left       int64
	warn       int64
	moved      time.Duration
}

// originState is what went wrong with the origin.
type originState struct {
	failures int
	until    time.Duration // not before
	dead     bool          // it will not serve this content any more
	best     float64       // the highest rate of the whole site that was seen
	idle     time.Duration // since when the site has had too few streams, 0 = it has enough
	slowFrom time.Duration // since when the LAN looks slower than the origin, 0 = it does not
}

// siteWidth is how many origin streams the site should have (rule 4): more as long as that makes it faster. Too many
// streams are what makes devices fetch the same bytes; too few leave a line idle that gives each stream little.
type siteWidth struct {
	streams int
	base    float64
	since   time.Duration
	trying  bool
	nextTry time.Duration
}

const (
	widthSettle = 1500 * time.Millisecond
	widthRetry  = 15 * time.Second
	widthGain   = 1.10
	idleLine    = 250 * time.Millisecond // the line may be idle so long before the next in rank steps in
	idleTurn    = 100 * time.Millisecond // and so much longer for each rank below
)

func (w *siteWidth) adapt(now time.Duration, active int, rate float64) {
	if active < w.streams || rate == 0 || now-w.since < widthSettle {
		return
	}
	switch {
	case w.trying && rate < w.base*widthGain:
		w.streams--
		w.trying, w.nextTry, w.since = false, now+widthRetry, now
	case w.streams < maxStreams && (w.trying || now >= w.nextTry):
		w.base, w.trying, w.since = rate, true, now
		w.streams++
	}
}

// originOpen says whether the first wait is over (rules 2 and 13). A device that starts cold and does not wait for its
// links fetches what its neighbours fetch in the same instant; one that waits longer than it must makes everybody late.
func (d *Core) originOpen(now time.Duration) bool {
	alone := now >= coldMost || now >= coldQuiet && !d.noticed
	if len(d.members) == 0 && alone {
		return true
	}
	if now < d.cfg.Delay {
		return false
	}
	// The bitmaps of a site that starts together arrive within a few milliseconds; a choice made after the first of them
	// would be made by everybody, before anybody knows its rank.
	return d.cfg.Warm || alone || d.everSeen && now-d.lastJoin >= coldSettle
}

func (d *Core) drawOrigin(now time.Duration) {
	if !d.cfg.Origin || d.origin.dead || now < d.origin.until || !d.originOpen(now) {
		return
	}
	rate := d.siteRate(now)
	d.origin.best = max(d.origin.best, rate)
	d.width.adapt(now, d.siteStreams(), rate)
	d.judgeLAN(now)
	for _, st := range slices.Clone(d.streams) {
		if d.dry(st) && !d.feed(now, st, d.mayGoOn()) && st.drawing == 0 {
			d.endStream(st)
		}
	}
	for d.mayOpen(now) {
		st := &stream{size: minSubRange}
		d.streams = append(d.streams, st)
		if !d.feed(now, st, true) {
			d.endStream(st)
			break
		}
	}
}

// dry reports whether a stream needs its next sub-range now.
func (d *Core) dry(st *stream) bool {
	if st.drawing >= 2 {
		return false
	}
	for _, dr := range d.draws {
		if dr.st == st && dr.left > dr.warn {
			return false
		}
	}
	return true
}

// feed asks for the next sub-range of a stream, claiming a new run first if the last is used up and fresh allows it.
func (d *Core) feed(now time.Duration, st *stream, fresh bool) bool {
	for st.next < st.end && !d.wanted(st.next) {
		st.next++
	}
	if st.next >= st.end {
		if !fresh || !d.claimRun(now, st) {
			return false
		}
	}
	if !d.loner(now) {
		st.size = minSubRange
	}
	dr := &draw{st: st, claim: st.claim, first: st.next, end: st.next, moved: now}
	for dr.end < st.end && d.wanted(dr.end) && (dr.left == 0 || dr.left+d.c.PieceSize(dr.end) <= st.size) {
		dr.left += d.c.PieceSize(dr.end)
		d.piece[dr.end].drawn = true
		dr.end++
	}
	st.next = dr.end
	dr.warn = d.warnAt(now, dr.left)
	st.size = min(2*st.size, maxSubRange)
	st.drawing++
	st.claim.open++
	d.nextDraw++
	d.draws[d.nextDraw] = dr
	d.do(Draw{ID: d.nextDraw, First: dr.first, Count: dr.end - dr.first, Why: st.why, Warn: dr.warn})
	return true
}

// warnAt is how many bytes of a sub-range may be left when the next is asked for: what the line delivers in a generous
// round trip, and half the range at most.
func (d *Core) warnAt(now time.Duration, size int64) int64 {
	ahead := int64(d.originRate.rate(now) / float64(max(1, len(d.streams))) * 0.15)
	return min(size/2, max(minInFlight, ahead))
}

// wanted reports whether a piece should come from the origin: it is missing and nobody in reach has it, or the LAN is
// the slower of the two.
func (d *Core) wanted(i int) bool {
	return d.missing(i) && (d.piece[i].avail == 0 || d.lanSlow > 0)
}

// claimRun picks the run of pieces that this device takes next and says so to the site.
func (d *Core) claimRun(now time.Duration, st *stream) bool {
	first, end, why := d.pickRun(now, st.size)
	if first == end {
		return false
	}
	st.why, st.next, st.end = why, first, end
	st.claim = &ownClaim{first: first, end: end, saidAt: now}
	d.say(SayClaim{First: first, Count: end - first, Rate: int64(d.originRate.rate(now))})
	return true
}

// loner reports whether this device has been without a member for long enough to believe it. Before that it must act as if
// others were starting beside it, unseen: in its own order, and in small ranges.
func (d *Core) loner(now time.Duration) bool { return len(d.members) == 0 && now >= lonerAfter }

// pickRun finds the best span that nobody has, fetches or claims (rule 3). Rank only orders: a device that ranks low in
// every span still finds one. Alone, the order of the file is best, for whoever reads it while it grows.
func (d *Core) pickRun(now time.Duration, size int64) (first, end int, why Reason) {
	best := -1
	var bestRank uint16
	var bestHash uint64
	for s := range d.grid.spans {
		if d.firstFree(s) < 0 {
			continue
		}
		if d.loner(now) {
			best = s
			break
		}
		r, h := d.ranks[s], spanRank(d.key, s)
		if best < 0 || r < bestRank || r == bestRank && h < bestHash {
			best, bestRank, bestHash = s, r, h
		}
	}
	if best < 0 {
		return d.pickSteal(now)
	}
	first = d.firstFree(best)
	end = d.extend(first, size)
	return first, end, d.reason(first, end)
}

// firstFree returns the first piece of span s that should come from the origin and that nobody claims, or -1.
func (d *Core) firstFree(s int) int {
	first, end := d.grid.span(s, d.c.Pieces())
	for i := first; i < end; i++ {
		if d.free(i) {
			return i
		}
	}
	return -1
}

func (d *Core) free(i int) bool { return d.wanted(i) && d.piece[i].claimed == 0 && !d.claimedByMe(i) }

func (d *Core) claimedByMe(i int) bool {
	for _, st := range d.streams {
		if i >= st.next && i < st.end {
			return true
		}
	}
	return false
}

// extend grows a run from its first piece: to the end of the span, and on over free spans while it is below size.
func (d *Core) extend(first int, size int64) int {
	_, spanEnd := d.grid.span(d.grid.of(first), d.c.Pieces())
	end, bytes := first, int64(0)
	for end < d.c.Pieces() && d.free(end) {
		bytes += d.c.PieceSize(end)
		if end >= spanEnd && bytes > size {
			break
		}
		end++
	}
	return end
}

func (d *Core) reason(first, end int) Reason {
	if len(d.members) == 0 {
		return NoPeers
	}
	for i := first; i < end; i++ {
		if d.piece[i].overdue || d.piece[i].avail > 0 {
			return Timeout
		}
	}
	return Own
}

// pickSteal takes over from a claimer that would need over three times as long as this device, when there is nothing else
// to do (rule 3). Without it the slowest device of a site decides when the last byte arrives.
func (d *Core) pickSteal(now time.Duration) (first, end int, why Reason) {
	var slowest *claim
	for _, m := range d.order {
		for _, c := range m.claims {
			if d.outpaces(now, c) && (slowest == nil || c.eta() > slowest.eta()) {
				slowest = c
			}
		}
	}
	if slowest == nil {
		return 0, 0, Own
	}
	// From the end of the claim: the claimer goes on from its beginning.
	end = slowest.end
	for end > slowest.first && !d.stealable(end-1) {
		end--
	}
	first = end
	for first > slowest.first && d.stealable(first-1) && int64(end-first+1)*d.c.PieceLength() <= max(minSubRange, d.c.PieceLength()) {
		first--
	}
	return first, end, Steal
}

func (d *Core) stealable(i int) bool { return d.wanted(i) && !d.claimedByMe(i) }

func (d *Core) outpaces(now time.Duration, c *claim) bool {
	mine := d.originRate.rate(now)
	if mine == 0 {
		mine = d.origin.best / float64(max(1, d.width.streams))
	}
	if mine == 0 || c.eta() < time.Second {
		return false
	}
	open := false
	for i := c.first; i < c.end && !open; i++ {
		open = d.stealable(i)
	}
	own := time.Duration(float64(c.bytes-c.done) / mine * float64(time.Second))
	return open && c.eta() > 3*own
}

// rank returns this device's place among the devices that still need bytes, and how many those are.
func (d *Core) rank() (place, of int) {
	of = 1
	for _, m := range d.order {
		if m.have.Full() || m.paused {
			continue
		}
		of++
		if m.key < d.key {
			place++
		}
	}
	return place, of
}

// quota is how many streams fall to this device: the site's streams are dealt out by rank (rule 4).
func (d *Core) quota() int {
	place, of := d.rank()
	q := d.width.streams / of
	if place < d.width.streams%of {
		q++
	}
	return q
}

// mayGoOn says whether an open stream may claim its next run.
func (d *Core) mayGoOn() bool {
	return len(d.streams) <= d.quota() || d.siteStreams() <= d.width.streams
}

// mayOpen says whether to open one more stream: in this device's turn; or when those whose turn it is leave the line
// idle, because they may not use the origin or have died. Ranks order, they never block.
func (d *Core) mayOpen(now time.Duration) bool {
	if len(d.streams) >= maxStreams {
		return false
	}
	if len(d.streams) < d.quota() {
		return true
	}
	if d.siteStreams() >= d.width.streams {
		d.origin.idle = 0
		return false
	}
	if d.origin.idle == 0 {
		d.origin.idle = now
		return false
	}
	place, _ := d.rank()
	return now-d.origin.idle >= idleLine+time.Duration(min(place, 50))*idleTurn
}

func (d *Core) endStream(st *stream) {
	d.streams = slices.DeleteFunc(d.streams, func(o *stream) bool { return o == st })
}

// DrawProgress says that n bytes of a draw arrived.
func (d *Core) DrawProgress(now time.Duration, id int, n int64) {
	dr := d.draws[id]
	if dr == nil {
		return
	}
	dr.left -= n
	dr.moved = now
	d.originRate.add(now, n)
	d.origin.failures = 0
	c := dr.claim
	c.done += n
	if len(d.members) > 0 && (c.done-c.saidDone >= claimBytes || now-c.saidAt >= claimEvery) {
		c.saidDone, c.saidAt = c.done, now
		d.say(SayClaim{First: c.first, Count: c.end - c.first, Rate: int64(d.originRate.rate(now)), Done: c.done})
	}
}

// DrawResult says how a draw ended.
type DrawResult uint8

// The results of a draw.
const (
	DrawOK     DrawResult = iota
	DrawFailed            // try again later
	DrawDead              // the origin cannot or must not serve this content
)

// DrawEnded says that a draw is over; its pieces were reported with Stored before.
func (d *Core) DrawEnded(now time.Duration, id int, res DrawResult) {
	dr := d.draws[id]
	if dr == nil {
		return
	}
	delete(d.draws, id)
	dr.st.drawing--
	dr.claim.open--
	lost := false
	for i := dr.first; i < dr.end; i++ {
		d.piece[i].drawn = false
		if !d.have.Has(i) {
			lost = true
			d.list(i)
		}
	}
	if res == DrawOK && !lost {
		return
	}
	st := dr.st
	d.say(SayRelease{First: dr.claim.first, Count: dr.claim.end - dr.claim.first})
	st.next = st.end
	if res == DrawDead {
		d.origin.dead = true
	}
	d.origin.until = now + 250*time.Millisecond<<min(d.origin.failures, 6)
	d.origin.failures++
	if st.drawing == 0 {
		d.endStream(st)
	}
}

// judgeLAN notices when the LAN has been slower than the origin for five seconds although it holds what is missing
// (rule 11): then both are used, because plain HTTP is the floor.
func (d *Core) judgeLAN(now time.Duration) {
	waiting := d.inAsk + int64(len(d.askable))*d.c.PieceLength()
	rate := d.lan.rate(now)
	backlog := waiting > 0 && (rate == 0 || float64(waiting)/rate > slowLAN.Seconds())
	// An origin that was never measured is tried: one range tells which of the two is slower.
	slow := backlog && (d.origin.best == 0 || rate <= d.origin.best)
	switch {
	case !slow:
		d.origin.slowFrom, d.lanSlow = 0, 0
	case d.origin.slowFrom == 0:
		d.origin.slowFrom = now
	case now-d.origin.slowFrom >= slowLAN:
		d.lanSlow = now
	}
}
