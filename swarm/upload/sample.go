package upload

import (
	"maps"
	"time"
)

// This file learns what the uplink takes: how much the links have not got rid of, and how fast that falls.

// Bounds of what all links together may have sent and not yet got rid of. Without them control messages wait behind
// payload: on a 10 Mbit/s uplink that serves eleven, for longer than a lease lives.
const (
	minUnsent  = 256 << 10             // bytes
	unsentTime = 50 * time.Millisecond // of the uplink's rate
)

// Times of looking.
const (
	sampleTime   = 200 * time.Millisecond
	firstSample  = 20 * time.Millisecond  // the same on a quick link of which nothing is known: it need not creep so long
	stalledAfter = 500 * time.Millisecond // a link that got rid of nothing for so long holds up only itself
)

// limit is how much may be unsent, in bytes. The caller holds mu, here and below.
func (u *Scheduler) limit() int64 {
	return max(minUnsent, int64(u.rate*unsentTime.Seconds()))
}

// look asks every connection what it has not got rid of, and learns the uplink's rate from how that falls.
func (u *Scheduler) look(now time.Time) {
	u.looked = now
	var all, counted int64
	for f := range u.flows {
		f.look(now)
		all += f.unsent
		if now.Sub(f.moved) <= stalledAfter {
			counted += f.unsent
		}
	}
	maps.DeleteFunc(u.going, func(_ *uint8, c copying) bool { return now.Sub(c.since) > staleCopy })
	u.unsent = counted
	u.sample(now, all)
}

func (f *Flow) look(now time.Time) {
	if f.unsent == 0 { // nothing was given to it since: of many links most are idle, and the kernel need not be asked about them
		f.moved = now
		return
	}
	written := f.written()
	f.handed = max(f.handed, written)
	n := f.handed - written + f.queued()
	if n < f.unsent || n == 0 {
		f.moved = now
	}
	f.unsent = n
}

// sample learns the rate: what the links got rid of in a window. While there was always something to get rid of, and more
// would have been given to them, that is the uplink's rate; otherwise it is at least that: a few peers with slow lines
// take little, however fast the uplink. Too low an estimate is soon mended, since minUnsent every few
// milliseconds is more than most links carry; too high a one makes control messages wait.
func (u *Scheduler) sample(now time.Time, unsent int64) {
	if unsent == 0 {
		u.idled = true
	}
	d := now.Sub(u.sampled)
	drained := max(u.granted-unsent, u.drained)
	quick := u.rate == 0 && d >= firstSample && drained-u.drained >= 4*minUnsent
	if d < sampleTime && !quick {
		return
	}
	r := float64(drained-u.drained) / d.Seconds()
	switch {
	case d > 2*sampleTime: // nobody looked meanwhile
	case u.rate == 0, u.idled && r > u.rate:
		u.rate = r
	case !u.idled && (r > u.rate || u.filled):
		u.rate += (r - u.rate) / 2
	}
	u.sampled, u.drained, u.idled, u.filled = now, drained, unsent == 0, false
}
