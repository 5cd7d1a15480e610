package sim

import (
	"math"
	"slices"
	"time"
)

// The order in which a device serves: what package swarm/upload does with goroutines and package swarm/piece with one
// server for each peer, as events. Values and words are theirs.
const (
	minUnsent    = 256 << 10
	unsentTime   = 50 * time.Millisecond
	queueTime    = 2 * time.Second
	guessedRate  = 12.5e6
	sampleTime   = 200 * time.Millisecond
	stalledAfter = 500 * time.Millisecond
	minCopyTime  = 100 * time.Millisecond
	maxCopyTime  = 750 * time.Millisecond
	guessedCopy  = 250 * time.Millisecond
	starvedAfter = 2 * time.Second
	shortWait    = 50 * time.Millisecond
	longWait     = 2 * time.Second
	maxPending   = 16
	tiredAfter   = time.Second
	streamWindow = 1 << 20 // bytes of a stream that the other end has not taken
)

// uplink is the upload side of a device: which link may give its next slice to the line.
type uplink struct {
	s       *site
	line    line
	pieces  []served
	flows   []*edge // links over which pieces were ever asked for
	waiting []*edge // for a turn, in the order in which they asked

	promised int64
	granted  int64
	all      int64 // bytes given to links that have not arrived
	unsent   int64 // the same without links that have stalled, at the last look
	looked   time.Duration
	rate     float64
	sampled  time.Duration
	drained  int64
	idled    bool
	filled   bool          // somebody had to wait for the uplink, and not for his own link
	again    time.Duration // when to look again
}

// served is what an uplink knows of one piece.
type served struct {
	copies uint8
	going  bool
	since  time.Duration // when the newest copy was begun that has not ended
}

// serving is the upload side of one link.
type serving struct {
	pending []*transfer
	current *transfer
	open    bool // the peer has asked for something
	waiting bool // for a turn
	unsent  int64
	moved   time.Duration
	wanting bool          // it wants a turn, and was given none
	since   time.Duration // for so long
}

func (u *uplink) pace() float64 {
	if u.rate == 0 {
		return guessedRate
	}
	return u.rate
}

func (u *uplink) limit() int64 { return max(minUnsent, int64(u.rate*unsentTime.Seconds())) }

// request takes in that the other end of e wants a piece. It returns how long it should stay away, 0 if it is served.
func (u *uplink) request(e *edge, t *transfer) (wait time.Duration) {
	v := &e.serving
	if !v.open {
		v.open, v.moved = true, u.s.now
		u.flows = append(u.flows, e)
	}
	only := len(v.pending) == 0 && v.current == nil
	if len(v.pending) >= maxPending || !only && float64(u.promised+t.size) > u.pace()*queueTime.Seconds() {
		return u.wait(len(v.pending)+1, t.size)
	}
	u.promised += t.size
	v.pending = append(v.pending, t)
	u.next(e)
	if v.current != t {
		u.s.q.push(u.s.now+tiredAfter, t, argTired)
	}
	u.give()
	return 0
}

func (u *uplink) wait(pending int, size int64) time.Duration {
	each := u.pace() / float64(max(len(u.flows), 1))
	return min(max(seconds(float64(int64(pending)*size)/each/2), shortWait), longWait)
}

// forget drops a request that has not been begun, and reports whether it was there.
func (u *uplink) forget(e *edge, t *transfer) bool {
	i := slices.Index(e.serving.pending, t)
	if i < 0 {
		return false
	}
	e.serving.pending = slices.Delete(e.serving.pending, i, i+1)
	u.promised -= t.size
	return true
}

// drop forgets a request, or cuts the piece that is being sent.
func (u *uplink) drop(e *edge, t *transfer) {
	if !u.forget(e, t) && e.serving.current == t {
		u.promised -= t.size
		e.serving.current = nil
		u.next(e)
		u.give()
	}
}

// end takes a link that has broken out.
func (u *uplink) end(e *edge) {
	v := &e.serving
	for _, t := range v.pending {
		u.promised -= t.size
	}
	if v.current != nil {
		u.promised -= v.current.size
	}
	u.all -= v.unsent
	*v = serving{}
	same := func(o *edge) bool { return o == e }
	u.flows = slices.DeleteFunc(u.flows, same)
	u.waiting = slices.DeleteFunc(u.waiting, same)
	u.give()
}

// next chooses the piece that a link sends next.
func (u *uplink) next(e *edge) {
	v := &e.serving
	if v.current == nil && len(v.pending) > 0 {
		best := 0
		for i := range v.pending {
			if u.order(v.pending[i]) < u.order(v.pending[best]) {
				best = i
			}
		}
		v.current = v.pending[best]
		v.pending = slices.Delete(v.pending, best, best+1)
	}
	u.queue(e)
}

// queue lets a link ask for a turn, unless its stream is full.
func (u *uplink) queue(e *edge) {
	v := &e.serving
	if v.waiting || v.current == nil || v.unsent > 0 && v.unsent+int64(u.slice(v.current)) > streamWindow {
		return
	}
	v.waiting = true
	if !v.wanting {
		v.wanting, v.since = true, u.s.now
	}
	u.waiting = append(u.waiting, e)
}

func (u *uplink) slice(t *transfer) int { return int(min(int64(u.s.slice), t.size-t.granted)) }

// held reports whether a piece must wait because a copy of it is on its way.
func (u *uplink) held(t *transfer) bool {
	p := &u.pieces[t.first]
	return t.granted == 0 && p.going && u.s.now-p.since < u.alone(t)
}

// alone is how long a piece goes to one peer only.
func (u *uplink) alone(t *transfer) time.Duration {
	if u.rate == 0 {
		return guessedCopy
	}
	return min(max(minCopyTime, seconds(2*float64(t.size)/u.pace())), maxCopyTime)
}

// place orders turns: what has begun is finished first, then the piece goes that was sent least often.
func (u *uplink) place(t *transfer) int {
	if t.granted > 0 {
		return 0
	}
	return 1 + int(u.pieces[t.first].copies)
}

// turn is the place of what a link sends next, or the first for one that has waited for long.
func (u *uplink) turn(e *edge) int {
	v := &e.serving
	rounds := seconds(2 * float64(len(u.waiting)) * float64(v.current.size) / u.pace())
	if v.wanting && u.s.now-v.since > max(starvedAfter, rounds) {
		return 0
	}
	return u.place(v.current)
}

func (u *uplink) order(t *transfer) int {
	if u.held(t) {
		return math.MaxInt
	}
	return u.place(t)
}

// give grants what may be granted.
func (u *uplink) give() {
	if u.s.now-u.looked > time.Millisecond {
		u.look()
	}
	limit := u.limit()
	share := max(limit/int64(max(len(u.flows), 1)), int64(u.s.slice))
	for {
		best := -1
		for i, e := range u.waiting {
			t := e.serving.current
			if t == nil {
				continue
			}
			if (best < 0 || u.turn(e) < u.turn(u.waiting[best])) && !u.othersFirst(e, share) && !u.held(t) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		e := u.waiting[best]
		if u.unsent > 0 && u.unsent+int64(u.slice(e.serving.current)) > limit {
			u.filled = true
			return // an arrival leads here again
		}
		u.waiting = slices.Delete(u.waiting, best, best+1)
		e.serving.waiting = false
		u.grant(e)
	}
	u.waiting = slices.DeleteFunc(u.waiting, func(e *edge) bool {
		e.serving.waiting = e.serving.current != nil
		return !e.serving.waiting
	})
	if len(u.waiting) > 0 {
		u.lookAgain()
	}
}

// lookAgain plans another look for those who are held: soon when nothing is on its way whose arrival leads there.
func (u *uplink) lookAgain() {
	at := u.s.now + 2*time.Millisecond
	if u.unsent > 0 {
		at = u.s.now + minCopyTime
	}
	if u.again == 0 || at < u.again {
		u.again = at
		u.s.q.push(at, u, 0)
	}
}

func (u *uplink) happen(int) {
	if u.again == u.s.now {
		u.again = 0
		u.give()
	}
}

func (u *uplink) othersFirst(e *edge, share int64) bool {
	v := &e.serving
	return len(u.flows) > 1 && v.unsent > 0 && v.unsent+int64(u.slice(v.current)) > share || u.s.now-v.moved > stalledAfter && v.unsent > 0
}

func (u *uplink) grant(e *edge) {
	v := &e.serving
	t := v.current
	p := &u.pieces[t.first]
	if v.unsent == 0 {
		v.moved = u.s.now
	}
	if t.granted == 0 {
		p.going, p.since = true, u.s.now
		if p.copies < math.MaxUint8 {
			p.copies++
		}
	}
	v.wanting = false
	n := u.slice(t)
	t.granted += int64(n)
	v.unsent += int64(n)
	u.all += int64(n)
	u.unsent += int64(n)
	u.granted += int64(n)
	if t.granted == t.size {
		p.going = false
		u.promised -= t.size
		v.current = nil
		u.next(e)
	} else {
		u.queue(e)
	}
	e.flow.give(chunk{t, n})
}

// arrived: n bytes that were given to a link have come to its other end.
func (u *uplink) arrived(e *edge, n int) {
	v := &e.serving
	v.unsent -= int64(n)
	v.moved = u.s.now
	u.all -= int64(n)
	u.unsent = max(0, u.unsent-int64(n))
	u.queue(e)
	u.give()
}

// look asks every link what it has not got rid of, and learns the uplink's rate from how that falls.
func (u *uplink) look() {
	u.looked = u.s.now
	u.unsent = 0
	for _, e := range u.flows {
		v := &e.serving
		if v.unsent == 0 {
			v.moved = u.s.now
		}
		if u.s.now-v.moved <= stalledAfter {
			u.unsent += v.unsent
		}
	}
	u.sample()
}

func (u *uplink) sample() {
	if u.all == 0 {
		u.idled = true
	}
	d := u.s.now - u.sampled
	if d < sampleTime {
		return
	}
	drained := max(u.granted-u.all, u.drained)
	r := float64(drained-u.drained) / d.Seconds()
	switch {
	case d > 2*sampleTime:
	case u.rate == 0, u.idled && r > u.rate:
		u.rate = r
	case !u.idled && (r > u.rate || u.filled):
		u.rate += (r - u.rate) / 2
	}
	u.sampled, u.drained, u.idled, u.filled = u.s.now, drained, u.all == 0, false
}
