package fetch

import (
	"math"
	"time"
)

// floor is rule 11, HTTP alone is the floor: when the LAN holds what is missing and has been slower than the origin for five
// seconds, both are used. Whether that helps is measured, because a device whose own line is slow gets no more from anywhere:
// the origin's bytes then only take the place of the LAN's, the LAN looks slower still, and the device draws a whole copy.
type floor struct {
	both  bool          // what members have is drawn too
	from  time.Duration // since when the LAN looks slower, or since when both are used; 0 = it does not
	alone float64       // what the LAN can bring by itself, in bytes per second
	peak  float64       // the LAN's rate at its best in the last while; it fades
	at    time.Duration // when peak was last looked at
	vain  int           // how often both brought no more than the LAN
	terms int           // how often both were used to the end of a term
	until time.Duration // not again before
}

const (
	floorTrial = 2500 * time.Millisecond // so long both are used before it is judged whether that helps; a little over what a meter covers
	floorGain  = 1.2                     // they must bring so many times what the LAN brought
	floorPause = 30 * time.Second        // after a trial in vain; doubles
	floorTerm  = 10 * time.Second        // so long both are used before the LAN is looked at alone again; doubles
	floorTerms = 4                       // so often at most
	floorFade  = 10 * time.Second        // in so long a peak falls to half
)

// judgeLAN decides whether what members have is drawn too.
func (d *Core) judgeLAN(now time.Duration) {
	f := &d.floor
	rate := d.lan.rate(now)
	f.peak, f.at = max(rate, f.peak*math.Exp2(-(now-f.at).Seconds()/floorFade.Seconds())), now
	switch {
	case !d.backlog(rate) || d.limited(now):
		f.both, f.from = false, 0
	case f.both:
		d.judgeBoth(now, rate)
	case now < f.until || d.origin.mine > 0 && slowerLAN*f.peak >= d.origin.mine:
		f.from = 0
	case f.from == 0:
		f.from = now
	case now-f.from >= slowLAN:
		f.both, f.from, f.alone = true, now, f.peak
	}
}

// backlog reports whether the LAN, at its rate, needs longer than slowLAN for what it could bring.
func (d *Core) backlog(rate float64) bool {
	waiting := d.inAsk + int64(len(d.askable))*d.c.PieceLength()
	return waiting > 0 && (rate == 0 || float64(waiting)/rate > slowLAN.Seconds())
}

// judgeBoth ends the use of both when it does not help, and from time to time to see what the LAN can bring alone: it may have
// been busy with others before, and beside the origin it looks slow for ever on a line that one of them fills.
func (d *Core) judgeBoth(now time.Duration, rate float64) {
	f := &d.floor
	switch {
	case now-f.from < floorTrial:
	case rate+d.originRate.rate(now) < floorGain*f.alone:
		f.both, f.from = false, 0
		f.until = now + floorPause<<min(f.vain, 6)
		f.vain++
	case now-f.from >= floorTerm<<min(f.terms, floorTerms):
		f.both, f.from = false, 0
		f.terms++
	}
}
