package fetch

import (
	"slices"
	"time"
)

// Thin lines: what several devices draw at the same time comes to each of them so slowly that a piece takes longer than
// anybody should wait. What is drawn of it in vain is dear, and the first whole piece comes late, so: few streams, short ranges,
// and a range that has become useless is broken off.
const (
	pieceTime  = 8 * time.Second // a site has so few streams that a piece needs no longer, if one stream can do that
	rangeTime  = 4 * time.Second // a range beside others is one that takes no longer, or one piece
	uselessFor = 2 * time.Second // a range that has become useless and would go on for longer is broken off
)

// mostStreams is how many streams the line can feed. The first bytes come late and make every line look thin.
func (d *Core) mostStreams(now time.Duration) int {
	if now-d.origin.since < widthSettle || d.origin.best == 0 {
		return maxStreams
	}
	return min(max(int(d.origin.best*pieceTime.Seconds()/float64(d.c.PieceLength())), 1), maxStreams)
}

// subRange is how many bytes one range of a stream has beside others (rule 5).
func (d *Core) subRange(now time.Duration) int64 {
	rate := d.originRate.rate(now) / float64(max(1, len(d.streams)))
	if rate == 0 {
		return minSubRange
	}
	return min(minSubRange, max(d.c.PieceLength(), int64(rate*rangeTime.Seconds())))
}

// left is how long a draw will go on.
func (d *Core) left(now time.Duration, dr *draw) time.Duration {
	rate := d.originRate.rate(now) / float64(max(1, len(d.draws)))
	if rate == 0 {
		rate = d.origin.mine / float64(max(1, len(d.draws)))
	}
	if rate == 0 {
		return 0
	}
	return time.Duration(min(float64(dr.left)/rate, maxETA) * float64(time.Second))
}

// cutIdle breaks ranges off whose next piece can be had of a member by now.
func (d *Core) cutIdle(now time.Duration) {
	if d.floor.both {
		return
	}
	for _, dr := range slices.Clone(d.draws) {
		i := d.have.NextMissing(dr.first)
		if i >= 0 && i < dr.end && d.piece[i].avail > 0 && d.left(now, dr) > uselessFor {
			d.cutDraw(now, dr)
		}
	}
}

// cutDraw breaks a range off. Its stream ends with it, and a new one begins where there is something to do.
func (d *Core) cutDraw(now time.Duration, dr *draw) {
	st, old := dr.st, dr.claim
	d.do(Cut{ID: dr.id})
	d.endDraw(dr)
	d.say(SayRelease{First: old.first, Count: old.end - old.first})
	st.next = st.end
	for _, o := range d.draws {
		if o.claim == old { // it goes on, under a claim of its own
			size := d.size(o.first, o.end)
			o.claim = &ownClaim{first: o.first, end: o.end, done: size - o.left, open: 1, saidAt: now}
			st.claim = o.claim
			d.say(SayClaim{First: o.first, Count: o.end - o.first, Rate: int64(d.originRate.rate(now)), Done: size - o.left})
		}
	}
	if st.drawing == 0 {
		d.endStream(st)
	}
}

// size is the length of pieces first to end-1.
func (d *Core) size(first, end int) (n int64) {
	for i := first; i < end; i++ {
		n += d.c.PieceSize(i)
	}
	return n
}
