package fetch

import (
	"cmp"
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
	open       int  // draws under way for it
	skipped    bool // some of it came, or comes, over the LAN
}

// draw is one origin range that is under way.
type draw struct {
	id         int
	st         *stream
	claim      *ownClaim
	first, end int
	left       int64
	warn       int64
	begun      bool          // a byte of it has come
	moved      time.Duration // when the last came; before the first, when it was asked for
}

// originState is what went wrong with the origin.
type originState struct {
	failures int
	until    time.Duration // not before
	since    time.Duration // when it was first open to this device, 0 = not yet
	dead     bool          // it will not serve this content any more
	best     float64       // the highest rate of the whole site that was seen
	wide     float64       // the same, with several streams
	mine     float64       // the highest rate of this device that was seen
	first    time.Duration // from a range's request to its first byte, smoothed; 0 = not known
	idle     time.Duration // since when the site has had too few streams, 0 = it has enough
}

// siteWidth is how many origin streams the site should have (rule 4): more as long as that makes it faster. Too many
// streams are what makes devices fetch the same bytes, and each of them is slower; too few leave a line idle that gives each
// stream little.
type siteWidth struct {
	streams int
	since   time.Duration // when there were last more or fewer
	peak    float64       // the highest rate since then
	trying  bool          // one more, for a trial
	base    float64       // and the highest rate before it
	nextTry time.Duration
}

const (
	widthSettle  = 1500 * time.Millisecond
	widthRetry   = 15 * time.Second
	widthGain    = 1.10
	idleLine     = 250 * time.Millisecond // the line may be idle so long before the next in rank steps in
	idleTurn     = 100 * time.Millisecond // and so much longer for each rank below
	coldTurn     = 25 * time.Millisecond  // between two ranks of a site where nobody has drawn anything
	firstUnknown = 150 * time.Millisecond // until the first byte of a range, as long as none has come
	fullLine     = 0.7                    // of the highest rate that was seen: that rate sways
	crowdTurn    = 250 * time.Millisecond // between two ranks of a crowd: words take several hops
	crowdMost    = 5 * time.Second        // at most, for the last of a crowd
)

// adapt looks at the rate that the site has with its streams. most is how many it may have at that rate. What is compared are
// peaks: the rate is the sum of what each device says of itself, so it sags while one claim ends and the next is not yet heard,
// and a trial that is measured against such a moment always succeeds.
func (w *siteWidth) adapt(now time.Duration, active, most int, rate float64) {
	if w.streams > most {
		w.set(now, most, false)
	}
	if active < w.streams || rate == 0 {
		return
	}
	w.peak = max(w.peak, rate)
	if now-w.since < widthSettle {
		return
	}
	switch {
	case w.trying && w.peak < w.base*gain(w.streams-1):
		w.nextTry = now + widthRetry
		w.set(now, w.streams-1, false)
	case w.streams < most && (w.trying || now >= w.nextTry):
		w.base = w.peak
		w.set(now, w.streams+1, true)
	}
}

func (w *siteWidth) set(now time.Duration, streams int, trying bool) {
	w.streams, w.trying, w.since, w.peak = streams, trying, now, 0
}

// gain is how many times faster a site must be with one more stream than with n, for that stream to stay.
func gain(n int) float64 { return max(widthGain, 1+0.5/float64(max(n, 1))) }

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
	if d.cfg.Warm || alone {
		return true
	}
	// The bitmaps of a site that starts together arrive one soon after the other; a choice made after the first of them would
	// be made by everybody, before anybody knows its rank. Where discovery has named those who are still to come, the ranks
	// are known, and links that take long to make hold up nobody. The first few are waited for all the same: where two devices
	// come when all others have everything, the first bitmap may be that of the one that has nothing either.
	settle := d.lastJoin
	if !d.named && len(d.order) < coldFew && now < coldQuiet {
		return false // a link may be quicker than discovery
	}
	if n := d.expected(now); n > 0 {
		if settle = d.fewJoined; len(d.order) < min(coldFew, n) {
			return false
		}
	}
	return d.everSeen && now-settle >= coldSettle
}

func (d *Core) drawOrigin(now time.Duration) {
	if !d.cfg.Origin || d.origin.dead || now < d.origin.until || !d.originOpen(now) {
		return
	}
	d.hunger.since = cmp.Or(d.hunger.since, max(now, 1))
	d.origin.since = cmp.Or(d.origin.since, max(now, 1))
	rate := d.siteRate(now)
	d.origin.best = max(d.origin.best, rate)
	if d.originRate.lived(now, time.Second) { // the first bytes come late and all at once, and look fast
		d.origin.mine = max(d.origin.mine, d.originRate.rate(now))
	}
	active := d.siteStreams()
	if active >= minStreams {
		d.origin.wide = max(d.origin.wide, rate)
	}
	d.width.adapt(now, active, d.mostStreams(now), rate)
	d.judgeLAN(now)
	d.cutIdle(now)
	for _, st := range slices.Clone(d.streams) {
		if d.dry(st) && !d.feed(now, st, d.mayGoOn(now)) && st.drawing == 0 {
			d.endStream(st)
		}
	}
	d.reclaim(now)
	for d.mayOpen(now) {
		st := &stream{size: d.subRange(now)}
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
	d.skip(st)
	if st.next >= st.end {
		if !fresh || !d.claimRun(now, st) {
			return false
		}
	}
	if !d.loner(now) {
		st.size = d.subRange(now)
	}
	d.nextDraw++
	dr := &draw{id: d.nextDraw, st: st, claim: st.claim, first: st.next, end: st.next, moved: now}
	for dr.end < st.end && d.wanted(dr.end) && (dr.left == 0 || dr.left+d.c.PieceSize(dr.end) <= st.size) {
		dr.left += d.c.PieceSize(dr.end)
		d.piece[dr.end].drawn = true
		dr.end++
	}
	st.next = dr.end
	dr.warn = d.warnAt(now, dr.left)
	st.size = min(2*st.size, maxSubRange)
	if d.hungry(now) {
		d.hunger.times++
	}
	st.drawing++
	st.claim.open++
	d.draws = append(d.draws, dr)
	d.originRate.start(now)
	d.do(Draw{ID: dr.id, First: dr.first, Count: dr.end - dr.first, Why: st.why, Warn: dr.warn})
	return true
}

// skip passes over what a stream has claimed and need not draw any more.
func (d *Core) skip(st *stream) {
	for st.next < st.end && !d.wanted(st.next) {
		st.next++
		st.claim.skipped = true
	}
	d.conclude(st, st.claim)
}

// conclude takes a claim back when all is drawn that must be and some of it was not. Members that have no link to this device
// hear only of what it drew: they would wait for the rest until the lease ends, and take this device for one that failed.
func (d *Core) conclude(st *stream, c *ownClaim) {
	if c != nil && c.skipped && c.open == 0 && (c != st.claim || st.next >= st.end) {
		c.skipped = false
		d.say(SayRelease{First: c.first, Count: c.end - c.first})
	}
}

// warnAt is how many bytes of a sub-range may be left when the next is asked for: what the line delivers until the first byte
// of an answer comes, generously, and half the range at most. As long as nothing is known of the origin that is a long round
// trip. More would keep twice as many ranges under way as there are streams: each piece then takes twice as long, and the
// last ones of the file end all at once, when the LAN has to pass them on one after the other.
func (d *Core) warnAt(now time.Duration, size int64) int64 {
	wait := firstUnknown
	if d.origin.first > 0 {
		wait = 3 * d.origin.first / 2
	}
	ahead := int64(d.originRate.rate(now) / float64(max(1, len(d.streams))) * wait.Seconds())
	return min(size/2, max(minInFlight, ahead))
}

// begin notes that the first byte of a draw has come.
func (d *Core) begin(now time.Duration, dr *draw) {
	dr.begun = true
	took := max(now-dr.moved, 1)
	if d.origin.first == 0 {
		d.origin.first = took
	}
	d.origin.first += (took - d.origin.first) / 4
}

func (d *Core) endStream(st *stream) {
	d.streams = slices.DeleteFunc(d.streams, func(o *stream) bool { return o == st })
}

func (d *Core) draw(id int) *draw {
	for _, dr := range d.draws {
		if dr.id == id {
			return dr
		}
	}
	return nil
}

// DrawProgress says that n bytes of a draw arrived.
func (d *Core) DrawProgress(now time.Duration, id int, n int64) {
	dr := d.draw(id)
	if dr == nil {
		return
	}
	if n > 0 && !dr.begun {
		d.begin(now, dr)
	}
	dr.left -= n
	dr.moved = now
	d.originRate.add(now, n)
	d.origin.failures = 0
	c := dr.claim
	c.done += n
	if len(d.members) > 0 && !d.hasAll(c.first, c.end) && (c.done-c.saidDone >= claimBytes || now-c.saidAt >= claimEvery) {
		c.saidDone, c.saidAt = c.done, now
		d.say(SayClaim{First: c.first, Count: c.end - c.first, Rate: int64(d.originRate.rate(now)), Done: c.done})
	}
}

// hasAll reports whether pieces first to end-1 are stored. A claim of such pieces is over, though its range may still run:
// the pieces came over the LAN. Members without a link would take it for a new one that nothing ends.
func (d *Core) hasAll(first, end int) bool {
	missing := d.have.NextMissing(first)
	return missing < 0 || missing >= end
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
	dr := d.draw(id)
	if dr == nil {
		return
	}
	lost := d.endDraw(dr)
	if res == DrawOK && !lost {
		d.conclude(dr.st, dr.claim)
		return
	}
	d.takeUp(dr.first, dr.end)
	st := dr.st
	d.say(SayRelease{First: dr.claim.first, Count: dr.claim.end - dr.claim.first})
	st.next = st.end
	if res == DrawDead {
		d.origin.dead = true
	}
	d.origin.until = now + originPause(d.origin.failures)
	d.origin.failures++
	if st.drawing == 0 {
		d.endStream(st)
	}
}

// endDraw forgets a draw and reports whether pieces of it are missing.
func (d *Core) endDraw(dr *draw) (lost bool) {
	d.draws = slices.DeleteFunc(d.draws, func(o *draw) bool { return o == dr })
	dr.st.drawing--
	dr.claim.open--
	for i := dr.first; i < dr.end; i++ {
		d.piece[i].drawn = false
		if !d.have.Has(i) {
			lost = true
			d.list(i)
		}
	}
	return lost
}

// originPause is how long an origin is left alone that has failed so often in a row. It stays short for the first ten
// seconds: most outages are, and a site that waits long for the next attempt lasts longer than its outage.
func originPause(failures int) time.Duration {
	const short, most = 2, 6
	return 250 * time.Millisecond << min(max(min(failures, short), failures-10), most)
}
