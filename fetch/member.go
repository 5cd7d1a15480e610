package fetch

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
)

// member is what the decision knows about one device of the site.
type member struct {
	id   PeerID
	role Role
	key  uint64
	rtt  time.Duration
	have piecehash.Bitmap

	distant bool // there is no link to it (rule 8): what it says comes over others, and nothing can be asked of it

	claims []*claim
	record
	drew pace // what its claims have brought so far, by its word; see believed

	asks    []*ask  // the oldest first
	pending int64   // bytes asked and not arrived
	rate    float64 // bytes per second of this link while it is used; 0 = not yet measured
	lastGot time.Duration

	// paused means that this member failed to deliver, and is not asked until `until`. busy means that it said "later".
	// counted means that its pieces count as reachable: until it fails, and again when it answers after that.
	paused, busy, counted bool
	answered              bool // it has answered a request, be it with "later"
	until                 time.Duration
	failures              int
}

// record is what a member has made of its claims. It outlives the member: who leaves and joins again does not begin anew.
type record struct {
	deaths int // leases that ended without the promised pieces
	broken int // claims in a row that came to nothing, in whatever way
}

// ask is one request to a member.
type ask struct {
	piece int
	since time.Duration // when it was sent
	moved time.Duration // when the last byte came
	left  int64         // bytes not arrived
	taken bool          // it was moved here from another holder, and stays
}

// ask returns the request for piece i, or nil.
func (m *member) ask(i int) *ask {
	for _, a := range m.asks {
		if a.piece == i {
			return a
		}
	}
	return nil
}

// next is the earliest moment at which something of this member may run out.
func (m *member) next() time.Duration {
	t := time.Duration(math.MaxInt64)
	if m.paused || m.busy {
		t = m.until
	}
	for _, c := range m.claims {
		t = min(t, c.ends())
	}
	if len(m.asks) > 0 && !m.paused {
		t = min(t, m.moved()+m.patience())
	}
	return t
}

// Hear takes in what the site said.
func (d *Core) Hear(now time.Duration, h Heard) {
	switch h := h.(type) {
	case Noticed:
		d.notice(now, h.ID)
	case Answered:
		d.noticed = false
		clear(d.coming)
	case Joined:
		d.join(now, h)
	case Left:
		d.leave(h.ID)
	case Crowd:
		d.crowd = h.Size
	case Said:
		m := d.members[h.ID]
		if m == nil && h.Relayed {
			m = d.meet(h.ID)
		}
		if m != nil {
			d.hearSaid(now, m, h.What)
		}
	}
}

// noticed is a device that discovery has found and that may become a member.
type noticed struct {
	key   uint64
	until time.Duration
}

func (d *Core) notice(now time.Duration, id PeerID) {
	d.noticed = true
	if id == "" || id == d.cfg.Self || d.members[id] != nil {
		return
	}
	d.named = true
	if len(d.coming) >= maxDistant {
		d.forgetNoticed(now)
	}
	if len(d.coming) < maxDistant {
		d.coming[id] = noticed{peerKey(d.c.Root(), id), now + noticedTime}
	}
}

// forgetNoticed drops those that have not become members in time. Most of a large site never do, and without it there would
// be no room for those who come later; and each decision looks at all that are kept.
func (d *Core) forgetNoticed(now time.Duration) {
	maps.DeleteFunc(d.coming, func(_ PeerID, c noticed) bool { return now >= c.until })
}

func (d *Core) join(now time.Duration, j Joined) {
	if j.ID == d.cfg.Self || j.Have.Len() != d.c.Pieces() {
		return
	}
	d.leave(j.ID)
	m := &member{
		id: j.ID, role: j.Role, rtt: j.RTT, have: j.Have,
		key:     peerKey(d.c.Root(), j.ID),
		lastGot: now, counted: true,
		record: d.past[j.ID],
	}
	d.members[j.ID] = m
	delete(d.coming, j.ID)
	d.everSeen, d.lastJoin = true, now
	d.order = insert(d.order, m)
	if len(d.order) <= coldFew {
		d.fewJoined = now
	}
	d.rankSpans(m, 1)
	d.count(m, 1)
}

func (d *Core) leave(id PeerID) {
	m := d.members[id]
	if m == nil {
		return
	}
	if m.distant {
		d.forget(m)
		return
	}
	d.remember(m)
	if m.counted {
		d.count(m, -1)
	}
	for len(m.claims) > 0 {
		d.endClaim(m, m.claims[0], true)
	}
	for len(m.asks) > 0 {
		d.dropAsk(m, m.asks[0].piece)
	}
	d.rankSpans(m, -1)
	delete(d.members, id)
	d.order = slices.DeleteFunc(d.order, func(o *member) bool { return o == m })
}

// remember keeps the record of a member that leaves.
func (d *Core) remember(m *member) {
	r := m.record
	if slices.ContainsFunc(m.claims, func(c *claim) bool { return !d.inReach(c) }) {
		r.broken++
	}
	if _, known := d.past[m.id]; known || r != (record{}) && len(d.past) < maxDistant {
		d.past[m.id] = r
	}
}

// rankSpans keeps the owner map: for each span the number of members that rank above this device (rule 3).
func (d *Core) rankSpans(m *member, by int) {
	for s := range d.ranks {
		if spanRank(m.key, s) < spanRank(d.key, s) {
			d.ranks[s] = uint16(int(d.ranks[s]) + by)
		}
	}
}

// count adds (or takes away) a member's pieces from the availability.
func (d *Core) count(m *member, by int) {
	for i := range d.piece {
		switch {
		case !m.have.Has(i):
		case by > 0:
			d.reach(i)
		default:
			d.piece[i].avail--
		}
	}
}

// reach takes note of one more member in reach that has piece i.
func (d *Core) reach(i int) {
	d.piece[i].avail++
	d.paid(i)
	d.list(i)
}

// list puts a piece among those to look at when a link is free.
func (d *Core) list(i int) {
	if p := &d.piece[i]; !p.listed && p.avail > 0 && d.missing(i) {
		p.listed = true
		d.askable = append(d.askable, i)
	}
}

func (d *Core) hearSaid(now time.Duration, m *member, what Saying) {
	switch s := what.(type) {
	case SayHave:
		if m.distant {
			d.hearsay(now, m, s)
		} else {
			d.hearHave(now, m, s)
		}
	case SayClaim:
		d.hearClaim(now, m, s)
	case SayRelease:
		for _, c := range slices.Clone(m.claims) {
			if c.first == s.First && c.end == s.First+s.Count {
				d.dropClaim(now, m, c)
			}
		}
	}
}

func (d *Core) hearHave(now time.Duration, m *member, s SayHave) {
	if s.First < 0 || s.Count < 1 || s.First > d.c.Pieces()-s.Count {
		return
	}
	for i := s.First; i < s.First+s.Count; i++ {
		if !m.have.Set(i) {
			continue
		}
		if s.Drawn {
			m.broken = 0
		}
		if m.counted {
			d.reach(i)
		}
	}
	for _, c := range slices.Clone(m.claims) {
		if d.fulfilled(m, c) {
			d.grow(now, m, c, c.bytes)
			d.endClaim(m, c, false)
		}
	}
}

// pause leaves a member alone for a while that doubles with each failure, and its pieces count as unreachable until it
// answers again. Without it a device that accepts requests and never answers would hold up every piece it says it has, for
// the patience of one request each time.
func (d *Core) pause(now time.Duration, m *member) {
	if m.paused {
		return
	}
	for len(m.asks) > 0 {
		i := m.asks[0].piece
		d.dropAsk(m, i)
		d.do(Cancel{Peer: m.id, Piece: i})
		d.piece[i].overdue = true
	}
	if m.counted {
		d.count(m, -1)
	}
	m.paused, m.busy, m.counted, m.answered = true, false, false, false
	m.until = now + time.Second<<min(m.failures, 6)
	d.dueBy(m.until)
	m.failures++
	for i := range d.piece {
		if m.have.Has(i) {
			d.list(i)
		}
	}
}

// resume ends a pause: the member is asked for one piece, and counts again when it answers. While there is nothing to ask
// it for, the pause goes on: a member that were neither paused nor counted would never be asked again.
func (d *Core) resume(now time.Duration, m *member) {
	i := d.probe(now, m)
	if i < 0 {
		m.until = now + time.Second
		return
	}
	m.paused = false
	m.lastGot = now
	d.ask(now, m, i)
}

// probe returns the piece to ask a member for that has failed, or -1. The last pieces are not risked on it while the origin
// delivers.
func (d *Core) probe(now time.Duration, m *member) int {
	origin := d.cfg.Origin && !d.origin.dead && d.origin.failures == 0 && now >= d.origin.until
	n := d.c.Pieces()
	if origin && n-d.have.Count() < fewLeft {
		return -1
	}
	for at, k := d.rng.IntN(n), 0; k < n; k++ {
		if i := (at + k) % n; m.have.Has(i) && d.missing(i) {
			return i
		}
	}
	return -1
}

// answers notes that a member has answered.
func (d *Core) answers(m *member) {
	m.answered = true
	if !m.counted && !m.paused {
		m.counted = true
		d.count(m, 1)
	}
}

func (d *Core) dropAsk(m *member, i int) {
	a := m.ask(i)
	if a == nil {
		return
	}
	m.asks = slices.DeleteFunc(m.asks, func(o *ask) bool { return o == a })
	m.pending -= a.left
	d.inAsk -= a.left
	d.piece[i].asked--
	d.list(i)
}
