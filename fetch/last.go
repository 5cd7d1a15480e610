package fetch

import (
	"slices"
	"time"
)

// lastAge is how long one of the last pieces must have been asked for before it is drawn once more.
const lastAge = time.Second

// reclaim is rule 3's steal for the last pieces: a device draws a piece, is then slow to pass it on, and all the others, who
// have everything else, wait for its uplink. Nobody draws any more, so the line is idle: devices that know what it gives
// draw such a piece again, one after the other by rank, when its only holder needs over three times as long. The price is
// a piece or two for a site; a device that has drawn nothing never does it, so one that joins late costs nothing.
func (d *Core) reclaim(now time.Duration) {
	missing := d.c.Pieces() - d.have.Count()
	if d.origin.mine == 0 || missing > fewLeft || d.inAsk == 0 || d.siteStreams() > 0 || d.holdsBack(now) {
		d.lastIdle = 0
		return
	}
	if d.lastIdle == 0 {
		d.lastIdle = now
	}
	place, _ := d.rank(now)
	if now-d.lastIdle < idleLine+time.Duration(min(place, 50))*idleTurn {
		return
	}
	for _, m := range d.order {
		for _, a := range m.asks {
			if d.piece[a.piece].avail == 1 && d.crawls(now, a) {
				d.giveUp(m, a.piece)
				return
			}
		}
	}
}

// crawls reports whether the rest of a request takes far longer than the origin would need for the piece.
func (d *Core) crawls(now time.Duration, a *ask) bool {
	age, size := now-a.since, float64(d.c.PieceSize(a.piece))
	if age < lastAge {
		return false
	}
	got := size - float64(a.left)
	mine := size / d.origin.mine
	return got == 0 || age.Seconds()*float64(a.left)/got > 3*mine
}

// giveUp leaves a piece of a member's alone, because it comes too slowly: it is drawn instead.
func (d *Core) giveUp(m *member, i int) {
	d.dropAsk(m, i)
	d.do(Cancel{Peer: m.id, Piece: i})
	if m.have.Clear(i) && m.counted {
		d.piece[i].avail--
	}
	d.piece[i].overdue = true
	d.givenUp = append(d.givenUp, givenUp{m, i})
}

// givenUp is a piece that a member has and that is drawn all the same.
type givenUp struct {
	m     *member
	piece int
}

// takeUp goes back to members for pieces that were given up and could not be drawn: they say only once what they have.
func (d *Core) takeUp(first, end int) {
	d.givenUp = slices.DeleteFunc(d.givenUp, func(g givenUp) bool {
		if g.piece < first || g.piece >= end {
			return false
		}
		if d.members[g.m.id] == g.m && g.m.have.Set(g.piece) && g.m.counted {
			d.reach(g.piece)
		}
		return true
	})
}
