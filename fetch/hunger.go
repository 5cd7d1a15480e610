package fetch

import "time"

// hunger is what ends every blockade: whatever members claim, say or leave undone, a device that may use the origin and has got
// no piece from anybody for a while draws one range, its turn or not. Without it a word that nobody can check would keep a
// device from the origin until it gives up. What others claim is not believed for ever, and a line that is seen to be quick
// then takes over the rest (rule 3).
type hunger struct {
	since time.Duration // when the last piece was stored, or the origin was first open; 0 = not yet
	times int           // ranges drawn for that reason since a member has last delivered a piece
}

const (
	hungerWait = 20 * time.Second // so long while others seem to draw
	hungerMost = 90 * time.Second // and so long where they draw so slowly that a piece needs it
	crawl      = 8 << 10          // bytes per second: what the others draw in all is nothing; then slowLAN
	hungerTurn = time.Second      // and so much longer for each rank: a piece that one gets feeds the others
	hungerMin  = time.Second      // where the line proves quicker than the others' the wait halves each time, at least to this
)

// fed notes that a piece has come.
func (d *Core) fed(now time.Duration, from PeerID) {
	d.hunger.since = max(now, 1)
	if from != "" {
		d.hunger.times = 0
	}
}

// hungry reports whether it is time for a range that is nobody's business. One after the other by rank, so that the piece
// that the first one gets feeds the others.
func (d *Core) hungry(now time.Duration) bool {
	h := &d.hunger
	if h.since == 0 || now-h.since < hungerMin || len(d.draws) > 0 || d.limited(now) {
		return false
	}
	place, _ := d.rank(now)
	others := d.othersRate(now)
	piece := d.pieceBy(now)
	wait := min(max(hungerWait, 2*piece), hungerMost) + time.Duration(min(place, 8))*max(hungerTurn, min(piece, hungerWait)/2)
	if d.origin.failures == 0 && others < crawl {
		wait = slowLAN + time.Duration(min(place, 50))*idleTurn
	}
	if d.origin.mine > others { // on a thin line that all share it is not
		wait >>= min(h.times, 5)
	}
	return now-h.since >= max(hungerMin, wait)
}

// pickAny takes the first piece that this device has no other way to, whoever claims it or is said to have drawn it.
func (d *Core) pickAny() (first, end int, why Reason) {
	for i := d.have.NextMissing(0); i >= 0 && i < d.c.Pieces(); i = d.have.NextMissing(i + 1) {
		if d.missing(i) && (d.piece[i].avail == 0 || d.floor.both) && !d.claimedByMe(i) {
			return i, i + 1, Steal
		}
	}
	return 0, 0, Own
}

// pieceBy is how long the quickest of the others needs for a piece, as far as its progress shows; 0 if none shows any.
func (d *Core) pieceBy(now time.Duration) time.Duration {
	var most float64
	for m := range d.everyone {
		if len(m.claims) > 0 {
			most = max(most, m.drew.rate(now))
		}
	}
	if most < 1 {
		return 0
	}
	return time.Duration(min(float64(d.c.PieceLength())/most, maxETA) * float64(time.Second))
}
