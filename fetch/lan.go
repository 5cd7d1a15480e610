package fetch

import (
	"cmp"
	"slices"
	"time"
)

// askPeers fills the links: each round gives every free link one more piece, so that no link starves another.
func (d *Core) askPeers(now time.Duration) {
	for again := len(d.askable) > 0; again; {
		again = false
		for _, m := range d.order {
			if !d.free4ask(m) {
				continue
			}
			if i := d.pick(now, m); i >= 0 {
				d.ask(now, m, i)
				again = true
			}
		}
	}
	d.askIdle(now)
}

// askIdle gives links that have nothing to do what is late elsewhere.
func (d *Core) askIdle(now time.Duration) {
	late := d.late(now)
	if len(late) == 0 && !d.stuck(now) {
		return
	}
	end := d.endgame()
	for _, m := range d.order {
		if len(m.asks) > 0 || !d.free4ask(m) {
			continue
		}
		if d.move(now, m, late) {
			continue
		}
		if i := d.pickLate(now, m, late, end); i >= 0 {
			d.ask(now, m, i)
		}
	}
}

// lateAsk is a request that is old enough for an idle link to take an interest in it.
type lateAsk struct {
	*ask
	of *member
}

// late returns the requests that have waited longer than a first byte should take, the oldest first. They are few: all that
// is asked for at once is.
func (d *Core) late(now time.Duration) []lateAsk {
	d.lateAsks = d.lateAsks[:0]
	before := now - d.unstarted()
	for _, m := range d.order {
		for _, a := range m.asks {
			if a.since >= before {
				break // they only get younger
			}
			d.lateAsks = append(d.lateAsks, lateAsk{a, m})
		}
	}
	slices.SortStableFunc(d.lateAsks, func(a, b lateAsk) int { return cmp.Compare(a.since, b.since) })
	return d.lateAsks
}

// stuck reports whether an origin range of this device has stopped moving.
func (d *Core) stuck(now time.Duration) bool {
	return slices.ContainsFunc(d.draws, func(dr *draw) bool { return now-dr.moved >= stuckDraw })
}

// move lets an idle link take over what waits unserved at a busy holder: first copies go out one by one, and whoever has
// got one serves the next. Without it everybody who asked the first holder waits for that one's uplink, however many
// others have the piece by now. It costs no byte: only what has not begun to arrive is moved. It is moved once: where this
// device's own line is what is slow, no holder sends the first byte in time, and a request that is moved again and again
// never arrives.
func (d *Core) move(now time.Duration, m *member, late []lateAsk) bool {
	for _, a := range late {
		i := a.piece
		if a.of != m && !a.taken && m.have.Has(i) && a.left == d.c.PieceSize(i) && d.piece[i].asked == 1 && a.of.ask(i) == a.ask {
			d.dropAsk(a.of, i)
			d.do(Cancel{Peer: a.of.id, Piece: i})
			d.ask(now, m, i).taken = true
			return true
		}
	}
	return false
}

// unstarted is how long a request may wait for its first byte before an idle holder takes it over: a few times what a piece
// takes on a good link of this site. Where pieces are quick and all ask the first holder, waiting longer leaves the other
// holders idle.
func (d *Core) unstarted() time.Duration {
	if d.link == 0 {
		return maxUnstarted
	}
	piece := time.Duration(float64(d.c.PieceLength()) / d.link * float64(time.Second))
	return min(max(4*piece, minUnstarted), maxUnstarted)
}

func (d *Core) ask(now time.Duration, m *member, i int) *ask {
	size := d.c.PieceSize(i)
	a := &ask{piece: i, since: now, moved: now, left: size}
	m.asks = append(m.asks, a)
	d.dueBy(now + m.patience())
	m.pending += size
	d.inAsk += size
	d.piece[i].asked++
	d.do(Ask{Peer: m.id, Piece: i})
	return a
}

// free4ask reports whether a link has room (rule 9): bytes in flight follow its rate and round trip, so that it never
// idles and never queues more than it moves soon. What is asked for over all links follows this device's own line: a
// slow one that asks everybody for something would have many uplinks wait for it.
func (d *Core) free4ask(m *member) bool {
	if m.paused || m.busy || !m.counted {
		return false
	}
	if d.inAsk > 0 && d.inAsk+d.c.PieceLength() > d.mostAsked() {
		return false
	}
	return m.pending < d.window(m)
}

func (d *Core) mostAsked() int64 {
	rate := d.lan.rate(d.now)
	if rate == 0 {
		return maxUnverified
	}
	return min(maxUnverified, max(minAsked*d.c.PieceLength(), int64(rate*askedTime.Seconds())))
}

func (d *Core) window(m *member) int64 {
	const service = 5 * time.Millisecond // queue, disk and hash at the other end
	w := 2*d.c.PieceLength() + int64(2*m.rate*(m.rtt+service).Seconds())
	return min(max(w, minInFlight), maxInFlight)
}

// scanMost bounds how many candidates one choice looks at.
const scanMost = 256

// pick chooses the rarest missing piece that m has, then one near the front of the file, then at random: equal choices of
// all devices would make every one of them ask the same holder for the same piece. From the only other member pieces come in
// their order, so that nothing has to be read back for the hash of the whole file.
func (d *Core) pick(now time.Duration, m *member) int {
	best, n := -1, len(d.askable)
	if n == 0 {
		return -1
	}
	alone, at := len(d.order) == 1, 0
	if !alone {
		at = d.rng.IntN(n)
	}
	for looked := 0; looked < scanMost && looked < n && len(d.askable) > 0; looked++ {
		at %= len(d.askable)
		i := d.askable[at]
		if p := &d.piece[i]; p.avail == 0 || !d.missing(i) {
			p.listed = false
			d.unlist(at)
			continue
		}
		if m.have.Has(i) && (best < 0 || d.before(i, best)) && d.worth(now, m, i) {
			best = i
			if alone {
				break
			}
		}
		at++
	}
	return best
}

// unlist takes an entry out of askable; from the front without touching the order of the others.
func (d *Core) unlist(at int) {
	if at == 0 {
		d.askable = d.askable[1:]
		return
	}
	last := len(d.askable) - 1
	d.askable[at] = d.askable[last]
	d.askable = d.askable[:last]
}

// before reports whether piece i should be had before piece j.
func (d *Core) before(i, j int) bool {
	a, b := d.piece[i].avail, d.piece[j].avail
	return a < b || a == b && i/frontPieces < j/frontPieces
}

// worth reports whether m is a sensible source for a piece: not one that needs over three times as long as another holder
// that is free (rule 7: the shortest queue, in seconds).
func (d *Core) worth(now time.Duration, m *member, i int) bool {
	mine := d.queue(m, i)
	if mine == 0 {
		return true
	}
	for _, o := range d.order {
		if o != m && o.have.Has(i) && o.rate > 0 && d.free4ask(o) && 3*d.queue(o, i) < mine {
			return false
		}
	}
	return true
}

// queue is how long a piece would take over this link, with what is asked already; 0 while its rate is unknown.
func (d *Core) queue(m *member, i int) time.Duration {
	if m.rate == 0 {
		return 0
	}
	return time.Duration(float64(m.pending+d.c.PieceSize(i)) / m.rate * float64(time.Second))
}

// pickLate is the endgame (rule 10), for a link that has nothing to do: a piece that is late from its one holder, or that
// an origin range of this device has stopped moving on. At most two holders, never the origin twice.
func (d *Core) pickLate(now time.Duration, m *member, late []lateAsk, end bool) int {
	for _, a := range late {
		i := a.piece
		if a.of != m && a.of.ask(i) == a.ask && d.piece[i].asked == 1 && m.have.Has(i) && now-a.since > d.lateAfter(m, i, end) && d.mayDouble(i) {
			return i
		}
	}
	for _, dr := range d.draws {
		if now-dr.moved < stuckDraw {
			continue
		}
		for i := dr.first; i < dr.end; i++ {
			if m.have.Has(i) && !d.have.Has(i) && d.piece[i].asked == 0 {
				return i
			}
		}
	}
	return -1
}

// lateAfter is the age at which a request is late when m could serve it instead. While pieces are still to come that
// nobody has asked for, a late one holds up nobody, and asking twice only takes the uplinks from those who wait: at a busy
// site that was a fifth of all bytes. At the end the last piece decides.
func (d *Core) lateAfter(m *member, i int, end bool) time.Duration {
	q := d.queue(m, i)
	switch {
	case !end:
		return max(10*q, 2*time.Second)
	case q > 0:
		return max(3*q, 250*time.Millisecond)
	default:
		return time.Second
	}
}

// endgame reports whether everything that is missing has been asked for.
func (d *Core) endgame() bool {
	under := 0
	for _, m := range d.order {
		under += len(m.asks)
	}
	for _, dr := range d.draws {
		under += dr.end - dr.first
	}
	return d.have.Count()+under >= d.c.Pieces()
}

// mayDouble keeps the bytes that are asked for twice below half a percent of the content, or two pieces.
func (d *Core) mayDouble(i int) bool {
	most := max(d.c.Length()/200, 2*d.c.PieceLength())
	if d.doubled+d.c.PieceSize(i) > most {
		return false
	}
	d.doubled += d.c.PieceSize(i)
	return true
}

// AskProgress says that n bytes of a requested piece arrived.
func (d *Core) AskProgress(now time.Duration, from PeerID, piece int, n int64) {
	m := d.members[from]
	if m == nil {
		return
	}
	a := m.ask(piece)
	if a == nil {
		return
	}
	d.answers(m)
	n = min(n, a.left)
	a.left -= n
	a.moved = now
	m.pending -= n
	d.inAsk -= n
	d.lan.add(now, n)
}

// AskResult says how a request to a peer ended.
type AskResult uint8

// The results of a request.
const (
	AskOK     AskResult = iota
	AskBusy             // the peer said "later"
	AskAbsent           // the peer does not have the piece after all
	AskBad              // the peer sent bytes that are provably wrong
	AskFailed           // anything else
)

// AskEnded says that a request is over; a piece that arrived was reported with Stored before. retry counts for AskBusy.
func (d *Core) AskEnded(now time.Duration, from PeerID, piece int, res AskResult, retry time.Duration) {
	m := d.members[from]
	if m == nil {
		return
	}
	a := m.ask(piece)
	d.dropAsk(m, piece)
	if a != nil && res != AskFailed {
		d.answers(m)
	}
	switch res {
	case AskOK:
	case AskBusy:
		m.busy, m.until = true, now+min(max(retry, 20*time.Millisecond), 5*time.Second)
		d.dueBy(m.until)
	case AskAbsent:
		if m.have.Clear(piece) && m.counted {
			d.piece[piece].avail--
		}
	case AskBad: // rule 12: it would be asked again and again, and each wrong piece costs the time of a right one
		d.leave(from)
	case AskFailed:
		if a != nil {
			d.pause(now, m)
		}
	}
}

// delivered ends the request that brought a piece, and learns from it.
func (d *Core) delivered(now time.Duration, m *member, a *ask) {
	m.failures = 0
	d.learnRate(now, m, a)
	d.dropAsk(m, a.piece)
}

// learnRate measures a link while it is used: from one piece to the next, or from the request where the link had none.
func (d *Core) learnRate(now time.Duration, m *member, a *ask) {
	took := now - max(a.since, m.lastGot)
	m.lastGot = now
	if took <= 0 {
		return
	}
	r := float64(d.c.PieceSize(a.piece)) / took.Seconds()
	d.link = max(d.link, r)
	if m.rate == 0 {
		m.rate = r
		return
	}
	m.rate += 0.3 * (r - m.rate)
}

// patience is how long a member may be silent that was asked for something.
func (m *member) patience() time.Duration {
	if !m.answered {
		return unknownAsk
	}
	if m.rate == 0 {
		return minAskPatience
	}
	return max(minAskPatience, min(30*time.Second, time.Duration(4*float64(m.pending)/m.rate*float64(time.Second))))
}

// moved is when the last byte of what is asked for now came.
func (m *member) moved() time.Duration {
	var moved time.Duration = -1
	for _, a := range m.asks {
		moved = max(moved, a.moved)
	}
	return moved
}

// expireAsks gives up on a member that took a request and sends nothing. A piece that waits behind others of the same link
// is not late as long as the link moves.
func (d *Core) expireAsks(now time.Duration, m *member) {
	if !m.paused && len(m.asks) > 0 && now-m.moved() >= m.patience() {
		d.pause(now, m)
	}
}
