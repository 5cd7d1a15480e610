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
func (m *member) grow(now time.Duration, c *claim, done int64) {
	m.drew.add(now, done-c.done)
	c.done = done
}

// broke forgets what a member seems to have drawn, because a claim that had brought something came to nothing: who takes
// claims back and makes them anew would otherwise draw any number of bytes that nobody ever sees.
func (m *member) broke(c *claim) {
	if c.done > 0 {
		m.drew = meter{}
	}
}

// believed is the rate of a claim as far as the claimer's progress bears it out, in bytes per second. Whoever says a rate that
// nothing comes of would make the others leave the origin to it, and its claims would never be taken over. Progress is only
// its word as well, but each claim must end with pieces that it had not before, so it cannot go on making it up.
func (d *Core) believed(now time.Duration, m *member, c *claim) float64 {
	if c.rate == 0 {
		return 0
	}
	return min(c.rate, rateSlack*m.drew.proven(now))
}

// eta is how long the rest of a claim will take; 0 if the claimer has said no rate yet, or had no time to keep to it.
func (d *Core) eta(now time.Duration, m *member, c *claim) time.Duration {
	if c.rate <= 0 {
		return 0
	}
	rate := c.rate
	if now-c.since >= time.Second {
		rate = max(d.believed(now, m, c), 1)
	}
	return time.Duration(min(float64(c.bytes-c.done)/rate, maxETA) * float64(time.Second))
}

func (d *Core) hearClaim(now time.Duration, m *member, s SayClaim) {
	if !d.sound(s) {
		return
	}
	for _, c := range slices.Clone(m.claims) {
		switch {
		case c.first != s.First:
		case c.end == s.First+s.Count:
			c.rate = float64(s.Rate)
			if s.Done > c.done {
				c.moved = now
				m.grow(now, c, min(s.Done, c.bytes))
			}
			return
		default: // said again with another end: it takes the place of the former
			d.endClaim(m, c, false)
		}
	}
	// A device whose leases keep dying does not get to block the site again.
	if m.deaths >= 3 || len(m.claims) >= maxClaims {
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
	d.yield(m, c)
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
			m.broke(c)
		}
		d.endClaim(m, c, died)
	}
}

// yield settles two claims for the same pieces: the lower hash wins, the loser stops asking (rule 3). What it has asked for
// already still comes; a range is cut by not asking for the next one (rule 5).
func (d *Core) yield(m *member, c *claim) {
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

// siteStreams counts the origin streams of the whole site that this device knows of.
func (d *Core) siteStreams() int {
	n := len(d.streams)
	for m := range d.everyone {
		if len(m.claims) > 0 {
			n++
		}
	}
	return n
}

// siteRate is the rate at which the whole site draws from the origin, as far as this device knows.
func (d *Core) siteRate(now time.Duration) float64 {
	sum := d.originRate.rate(now)
	for m := range d.everyone {
		var most float64
		for _, c := range m.claims {
			most = max(most, d.believed(now, m, c))
		}
		sum += most
	}
	return sum
}
