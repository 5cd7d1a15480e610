package fetch

import (
	"slices"
	"time"
)

// What this device takes from the origin next, and whether it is its turn (rules 3 and 4).

// wanted reports whether a piece should come from the origin: it is missing and nobody in reach has it, or the LAN is
// the slower of the two.
func (d *Core) wanted(i int) bool {
	p := &d.piece[i]
	return d.missing(i) && (p.avail == 0 && p.rumour <= d.now || d.floor.both)
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
func (d *Core) loner(now time.Duration) bool {
	return len(d.members) == 0 && now >= lonerAfter && d.expected(now) == 0
}

// expected counts the devices that were noticed a moment ago and may become members.
func (d *Core) expected(now time.Duration) int {
	n := 0
	for _, c := range d.coming {
		if now < c.until {
			n++
		}
	}
	return n
}

// pickRun finds the best span that nobody has, fetches or claims (rule 3). Rank only orders: a device that ranks low in
// every span still finds one. It orders within a few spans at the front of what is left: the file then grows roughly from
// its beginning, so that its whole-file hash runs along and whoever reads it while it grows need not wait for its end.
// Alone, the order of the file is best.
func (d *Core) pickRun(now time.Duration, size int64) (first, end int, why Reason) {
	best := -1
	var bestRank uint16
	var bestHash uint64
	loner := d.loner(now)
	for s, seen := 0, 0; s < d.grid.spans && seen < frontSpans; s++ {
		if d.firstFree(s) < 0 {
			continue
		}
		seen++
		if loner {
			best = s
			break
		}
		r, h := d.ranks[s], spanRank(d.key, s)
		if best < 0 || r < bestRank || r == bestRank && h < bestHash {
			best, bestRank, bestHash = s, r, h
		}
	}
	if best < 0 {
		if first, end, why = d.pickSteal(now); first == end && d.hungry(now) {
			return d.pickAny()
		}
		return first, end, why
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
		if p := &d.piece[i]; p.overdue || p.avail > 0 || p.rumour > 0 {
			return Timeout
		}
	}
	return Own
}

// pickSteal takes over from a claimer that would need over three times as long as this device, when there is nothing else
// to do (rule 3). Without it the slowest device of a site decides when the last byte arrives.
func (d *Core) pickSteal(now time.Duration) (first, end int, why Reason) {
	var slowest *claim
	var longest time.Duration
	for m := range d.everyone {
		for _, c := range m.claims {
			if eta := d.eta(now, m, c); eta > longest && d.outpaces(now, m, c) && d.open(now, c) {
				slowest, longest = c, eta
			}
		}
	}
	if slowest == nil {
		return 0, 0, Own
	}
	// From the end of the claim: the claimer goes on from its beginning.
	end = slowest.end
	for end > slowest.first && !d.stealable(now, end-1) {
		end--
	}
	first = end
	for first > slowest.first && d.stealable(now, first-1) && int64(end-first+1)*d.c.PieceLength() <= max(minSubRange, d.c.PieceLength()) {
		first--
	}
	return first, end, Steal
}

// open reports whether any piece of a claim may be taken over.
func (d *Core) open(now time.Duration, c *claim) bool {
	for i := c.first; i < c.end; i++ {
		if d.stealable(now, i) {
			return true
		}
	}
	return false
}

// stealable reports whether a piece may be taken over: this device outpaces all who claim it. One that it does not may have
// taken it over already; but a second claim of the same member, or one of a crawler, keeps it from nobody.
func (d *Core) stealable(now time.Duration, i int) bool {
	if !d.wanted(i) || d.piece[i].claimed == 0 || d.claimedByMe(i) {
		return false
	}
	for m := range d.everyone {
		for _, c := range m.claims {
			if c.first <= i && i < c.end && !d.outpaces(now, m, c) {
				return false
			}
		}
	}
	return true
}

// outpaces reports whether the claimer needs over three times as long for the rest of a claim as this device would. It is
// given the time that this device would need itself: on a thin line that many share the first bytes take seconds.
func (d *Core) outpaces(now time.Duration, m *member, c *claim) bool {
	mine := d.originRate.rate(now)
	if mine == 0 {
		mine = d.origin.best / float64(max(1, d.width.streams))
	}
	if mine == 0 {
		return false
	}
	own := time.Duration(min(float64(c.bytes-c.done)/mine, maxETA) * float64(time.Second))
	if now-c.since < max(stealAge, own) {
		return false
	}
	eta := d.eta(now, m, c)
	return eta >= time.Second && eta > 3*own
}

// rank returns this device's place among the devices that still need bytes, and how many those are. Devices that were
// noticed count for a moment: otherwise all that start together would be first among those they know. In a crowd the place
// is an estimate, the same for each device whomever it has links to: keys are spread evenly.
func (d *Core) rank(now time.Duration) (place, of int) {
	if d.crowded(now) {
		return int(d.estimate()), d.crowd
	}
	of = 1
	for _, c := range d.coming {
		if now >= c.until {
			continue
		}
		of++
		if c.key < d.key {
			place++
		}
	}
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

// crowded reports whether there are more members than this device knows. Those who were noticed are known better than by an
// estimate.
func (d *Core) crowded(now time.Duration) bool {
	return d.crowd > 0 && d.crowd > len(d.order)+1+d.expected(now)
}

// estimate is this device's place in a crowd, not rounded. The size of a crowd is known too small, because nobody sees far,
// so several devices believe to be first: they begin one after the other, and each looks first whether enough have begun.
func (d *Core) estimate() float64 { return float64(d.crowd) * float64(d.key) / (1 << 64) }

// quota is how many streams fall to this device: the site's streams are dealt out by rank (rule 4).
func (d *Core) quota(now time.Duration) int {
	place, of := d.rank(now)
	q := d.width.streams / of
	if place < d.width.streams%of {
		q++
	}
	return q
}

// mayGoOn says whether an open stream may claim its next run.
func (d *Core) mayGoOn(now time.Duration) bool {
	if d.holdsBack(now) {
		return false
	}
	return len(d.streams) <= d.quota(now) || d.siteStreams() <= d.width.streams
}

// mayOpen says whether to open one more stream: in this device's turn; or when those whose turn it is leave the line
// idle, because they may not use the origin or have died. Ranks order, they never block.
func (d *Core) mayOpen(now time.Duration) bool {
	if d.hungry(now) {
		return true
	}
	if len(d.streams) >= maxStreams || d.holdsBack(now) {
		return false
	}
	if !d.crowded(now) && len(d.streams) < d.quota(now) && now >= d.debt.thin {
		return true
	}
	if n := d.siteStreams(); n >= d.width.streams || n > 0 && d.lineFull(now) {
		d.origin.idle = 0
		return false
	}
	if d.origin.idle == 0 {
		d.origin.idle = now
		return false
	}
	return now-d.origin.idle >= d.turn(now)
}

// lineFull reports whether the streams that the site has bring what the line has brought with more of them. Where one of two has
// left because its line brings little, nobody need take its place: the newcomer's line would be as empty, because those who draw
// already leave it nothing, and what it draws would be the last of the file. A claim of which nothing is heard fills no line: its
// owner's link may be cut.
func (d *Core) lineFull(now time.Duration) bool {
	if d.origin.wide == 0 || d.crowded(now) {
		return false
	}
	return d.originRate.rate(now)+d.heardRate(now, 2*claimEvery) >= fullLine*d.origin.wide
}

// turn is how long this device leaves an idle line to those that rank above it. Where nobody has drawn anything yet the line is
// idle because they are still starting: with the same patience as for one that has died, a site that starts together waits
// for the one device that ranks first, and that may be the slowest. Larger sites hear a claim too late for that: it takes several
// hops.
func (d *Core) turn(now time.Duration) time.Duration {
	if d.crowded(now) {
		return min(time.Duration(d.estimate()*float64(crowdTurn)), crowdMost)
	}
	place, of := d.rank(now)
	place = min(place, 50)
	if of <= meshMost && d.untouched() {
		return time.Duration(place) * coldTurn
	}
	return idleLine + time.Duration(place)*idleTurn
}

// untouched reports whether nobody of the site has a piece, as far as this device knows.
func (d *Core) untouched() bool {
	return d.have.Count() == 0 && !slices.ContainsFunc(d.order, func(m *member) bool { return m.have.Count() > 0 })
}
