package fetch

import (
	"slices"
	"time"
)

// claim is a member's word that it is fetching pieces first to end-1 from the origin.
type claim struct {
	first, end int
	bytes      int64
	done       int64
	drew       pace // what of it counts in the member's meter
	rate       float64
	since      time.Duration // when it was first heard
	moved      time.Duration // when done last grew
	unsaid     int           // of a member without a link: pieces it has not said to have
}

// ends is when the lease of the claim ends: it lives by progress, not by a count of retries (rule 3). A fixed wait would
// either give up on every slow line or let a dead device block the site.
func (c *claim) ends() time.Duration {
	lease := minLease
	if c.rate > 0 {
		lease = max(lease, min(time.Minute, time.Duration(4*claimBytes/c.rate*float64(time.Second))))
	}
	return c.moved + lease
}

// grow notes that the claim has brought so many bytes by now.
func (d *Core) grow(now time.Duration, m *member, c *claim, done int64) {
	d.othersMoved = now
	m.drew.add(now, done-c.done)
	c.drew.add(now, done-c.done)
	c.done = done
}

// broke notes that a claim has come to nothing, in whatever way. What it seems to have brought is forgotten: who takes claims
// back and makes them anew would otherwise draw any number of bytes that nobody ever sees. What other claims of the member
// have brought still counts: one broken range does not make a slow line.
func (m *member) broke(now time.Duration, c *claim) {
	m.drew.sub(now, &c.drew)
	if !m.distant { // what a member without a link has brought may not have come this far yet
		m.broken++
	}
}

// maySay reports whether another claim of a member is heard. Who has made three in a row that came to nothing has none until
// it says that it has drawn a piece, and whose leases keep dying has none any more: claims that are made anew as soon as they
// end would block the site for ever and never grow old.
func (m *member) maySay() bool {
	return m.deaths < mostBroken && m.broken < mostBroken && len(m.claims) < maxClaims
}

// believed is the rate of a claim as far as the claimer's progress bears it out, in bytes per second. Whoever says a rate that
// nothing comes of would make the others leave the origin to it, and its claims would never be taken over. Progress is only
// its word as well, but each claim must end with pieces that it had not before, so it cannot go on making it up.
func (d *Core) believed(now time.Duration, m *member, c *claim) float64 {
	if m.distant { // its progress comes late and in part
		return c.rate
	}
	return min(c.rate, rateSlack*m.drew.rate(now))
}

// eta is how long the rest of a claim will take; 0 if the claimer has had no time yet to keep to a rate and has said none.
func (d *Core) eta(now time.Duration, m *member, c *claim) time.Duration {
	rate := c.rate
	if now-c.since >= stealAge && !m.distant { // whatever it says: who says no rate at all would never be taken over
		rate = rateSlack * m.drew.rate(now)
		if c.rate > 0 {
			rate = min(rate, c.rate)
		}
		rate = max(rate, 1)
	}
	if rate == 0 {
		return 0
	}
	return time.Duration(min(float64(c.bytes-c.done)/rate, maxETA) * float64(time.Second))
}

func (d *Core) hearClaim(now time.Duration, m *member, s SayClaim) {
	if !d.sound(s) {
		return
	}
	for _, c := range slices.Clone(m.claims) {
		switch end := s.First + s.Count; {
		case c.first != s.First:
		case end <= c.end:
			d.cut(c, end)
			c.rate = float64(s.Rate)
			if done := min(s.Done, c.bytes); done > c.done {
				c.moved = now
				d.grow(now, m, c, done)
			}
			return
		default: // said again with another end: it takes the place of the former
			d.dropClaim(now, m, c)
		}
	}
	if !m.maySay() {
		return
	}
	c := &claim{first: s.First, end: s.First + s.Count, rate: float64(s.Rate), since: now, moved: now, unsaid: s.Count}
	for i := c.first; i < c.end; i++ {
		c.bytes += d.c.PieceSize(i)
		d.piece[i].claimed++
	}
	c.done = min(s.Done, c.bytes)
	m.drew.add(now, 0)
	m.claims = append(m.claims, c)
	d.dueBy(c.ends())
	if d.fulfilled(m, c) || m.distant && d.inReach(c) {
		d.endClaim(m, c, false)
		return
	}
	d.yield(now, m, c)
}

// cut takes the end of a claim back. The rest is as old as it was.
func (d *Core) cut(c *claim, end int) {
	for ; c.end > end; c.end-- {
		d.piece[c.end-1].claimed--
		c.bytes -= d.c.PieceSize(c.end - 1)
		c.unsaid--
	}
}

// sound reports whether a claim makes sense: inside the content and not larger than any device of this protocol claims, so
// that nobody can claim the whole file with one word.
func (d *Core) sound(s SayClaim) bool {
	if s.First < 0 || s.Count < 1 || s.First > d.c.Pieces()-s.Count || s.Rate < 0 || s.Done < 0 {
		return false
	}
	most := max(int64(d.grid.per)*d.c.PieceLength(), maxSubRange)
	return int64(s.Count)*d.c.PieceLength() <= most+d.c.PieceLength()
}

// fulfilled reports whether the claimer now has everything it claimed.
func (d *Core) fulfilled(m *member, c *claim) bool {
	if m.distant {
		return c.unsaid <= 0
	}
	for i := c.first; i < c.end; i++ {
		if !m.have.Has(i) {
			return false
		}
	}
	return true
}

// endClaim removes a claim; died says that it ended without the pieces and not by the claimer's own word.
func (d *Core) endClaim(m *member, c *claim, died bool) {
	for i := c.first; i < c.end; i++ {
		d.piece[i].claimed--
		if died && (m.distant || !m.have.Has(i)) {
			d.piece[i].overdue = true
		}
	}
	m.claims = slices.DeleteFunc(m.claims, func(o *claim) bool { return o == c })
}

// dropClaim ends a claim by its claimer's word. It has come to nothing unless all its pieces are there.
func (d *Core) dropClaim(now time.Duration, m *member, c *claim) {
	if !d.inReach(c) {
		m.broke(now, c)
	} else {
		m.drew.sub(now, &c.drew)
	}
	d.endClaim(m, c, false)
}

// inReach reports whether all that is claimed is stored, or can be had of a member.
func (d *Core) inReach(c *claim) bool {
	for i := c.first; i < c.end; i++ {
		if !d.have.Has(i) && d.piece[i].avail == 0 {
			return false
		}
	}
	return true
}

// expireClaims ends leases. Of a member without a link only those pieces are heard that it drew itself: when others brought
// what it had claimed, it has not failed, and does not lose the right to claim.
func (d *Core) expireClaims(now time.Duration, m *member) {
	for _, c := range slices.Clone(m.claims) {
		if now < c.ends() {
			continue
		}
		died := !m.distant || !d.inReach(c)
		if died {
			m.deaths++
			m.broke(now, c)
		}
		d.endClaim(m, c, died)
	}
}

// yield settles two claims for the same pieces: the lower hash wins, the loser stops asking (rule 3). What it has asked for
// already still comes; a range is cut by not asking for the next one (rule 5).
func (d *Core) yield(now time.Duration, m *member, c *claim) {
	for _, dr := range slices.Clone(d.draws) {
		i := d.have.NextMissing(max(dr.first, c.first))
		if dr.st.why == Steal || i < 0 || i >= min(dr.end, c.end) || d.left(now, dr) <= uselessFor {
			continue
		}
		if s := d.grid.of(i); spanRank(m.key, s) < spanRank(d.key, s) {
			d.cutDraw(now, dr)
		}
	}
	for _, st := range d.streams {
		if st.next >= st.end || c.end <= st.next || st.end <= c.first || st.why == Steal {
			continue
		}
		s := d.grid.of(max(st.next, c.first))
		if spanRank(m.key, s) < spanRank(d.key, s) {
			d.shorten(st)
		}
	}
}

// shorten takes the part of a claim back that is not under way.
func (d *Core) shorten(st *stream) {
	cl := st.claim
	st.end = st.next
	if st.next == cl.first {
		d.say(SayRelease{First: cl.first, Count: cl.end - cl.first})
		return
	}
	cl.end = st.next
	d.say(SayClaim{First: cl.first, Count: cl.end - cl.first, Done: cl.done})
}

// siteStreams counts the origin streams of the whole site that this device knows of. Where the others
// draw as good as nothing, a member all of whose claims could be taken over is none: two that crawl would otherwise use up the
// site's streams.
func (d *Core) siteStreams() int {
	n := len(d.streams)
	crawling := d.othersRate(d.now) < crawl
	for m := range d.everyone {
		if slices.ContainsFunc(m.claims, func(c *claim) bool { return !crawling || m.distant || !d.outpaces(d.now, m, c) }) {
			n++
		}
	}
	return n
}

// siteRate is the rate at which the whole site draws from the origin, as far as this device knows.
func (d *Core) siteRate(now time.Duration) float64 {
	return d.originRate.rate(now) + d.othersRate(now)
}

// othersRate is the rate at which the others draw, as far as their progress bears it out.
func (d *Core) othersRate(now time.Duration) float64 { return d.heardRate(now, now) }

// heardRate is the same of claims of which something was heard in a while.
func (d *Core) heardRate(now, while time.Duration) (sum float64) {
	for m := range d.everyone {
		var most float64
		for _, c := range m.claims {
			if now-c.moved <= while {
				most = max(most, d.believed(now, m, c))
			}
		}
		sum += most
	}
	return sum
}
