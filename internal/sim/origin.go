package sim

import (
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// How a device tries the origin again, as package httpfallback does: a connection that broke after progress at once, any
// other after a pause with jitter, until nothing has come for so long.
const (
	originPatience = 4 * time.Second
	firstBackoff   = 200 * time.Millisecond
)

// origin is the web server behind the site's line.
type origin struct {
	s     *site
	line  line
	delay time.Duration // one way
	down  bool
	draws []*transfer // with a connection, in the order they were asked for
	sent  int64       // payload bytes: its own count, as an access log has it
	inNet int64       // of these, on their way
	lost  int64       // of these, what no device counted: it was on its way when a connection broke
}

// mirror is what a device remembers of the origin.
type mirror struct {
	failures  int
	notBefore time.Duration
}

func (d *device) startDraw(a fetch.Draw) {
	t := &transfer{d: d, first: a.First, count: a.Count, id: a.ID, warn: a.Warn, why: a.Why, next: a.First}
	for i := a.First; i < a.First+a.Count; i++ {
		t.size += d.s.content.PieceSize(i)
	}
	t.edgeOf = d.s.content.PieceSize(a.First)
	t.until = d.s.now + originPatience
	d.draws = append(d.draws, t)
	t.ask()
}

// ask sends the request for the rest of the range, or waits until the origin may be asked.
func (t *transfer) ask() {
	d := t.d
	if t.over || d.dead {
		return
	}
	switch free := d.mirror.notBefore; {
	case free > t.until:
		d.drawFailed(t)
	case free > d.s.now:
		d.s.q.push(free, t, argAgain)
	default:
		d.s.q.push(d.s.now+d.s.origin.delay, t, argAsk)
	}
}

// asked: the request has come to the origin.
func (o *origin) asked(t *transfer) {
	if t.over || t.d.dead || t.d.cut {
		return
	}
	if o.down {
		o.s.q.push(o.s.now+o.delay, t, argBroken)
		return
	}
	t.base = t.got
	t.flow = &flow{line: &o.line, to: &t.d.down, delay: o.delay, owner: o}
	o.draws = append(o.draws, t)
	t.flow.give(chunk{t, int(t.size - t.got)})
}

// left implements carrier.
func (o *origin) left(c chunk) {
	o.sent += int64(c.n)
	o.inNet += int64(c.n)
	if o.s.flaw.miscount {
		o.sent++
	}
	o.s.note(evSent, c.t.d.n, int64(c.t.first), int64(c.n))
}

// arrived implements carrier.
func (o *origin) arrived(c chunk) {
	t, d := c.t, c.t.d
	o.inNet -= int64(c.n)
	if t.over || d.dead || d.cut || t.flow == nil {
		o.lost += int64(c.n)
		return
	}
	d.moved = d.s.now
	d.got.origin[t.why] += int64(c.n)
	if o.s.flaw.forgetful {
		d.got.origin[t.why] -= int64(c.n / 2)
	}
	t.got += int64(c.n)
	for t.next < t.first+t.count && t.got >= t.edgeOf {
		d.flushDraw(t)
		d.put(t.next, o.s.truth(t.next), "")
		if t.next++; t.next < t.first+t.count {
			t.edgeOf += o.s.content.PieceSize(t.next)
		}
	}
	begins, warns := t.got == int64(c.n), !t.warned && t.size-t.got <= t.warn
	if begins || warns {
		t.warned = warns || t.warned
		d.flush()
		d.mark()
	}
	if t.got == t.size {
		d.mirror.failures = 0
		o.forget(t)
		d.flushDraw(t)
		d.forgetDraw(t)
		o.s.note(evDrawn, d.n, int64(t.first), int64(t.count))
		d.core.DrawEnded(d.clock(), t.id, fetch.DrawOK)
		d.mark()
	}
}

func (o *origin) forget(t *transfer) {
	for i, x := range o.draws {
		if x == t {
			o.draws = append(o.draws[:i], o.draws[i+1:]...)
			return
		}
	}
}

// end cuts the connection of a transfer. What is on its way is lost.
func (o *origin) end(t *transfer) {
	if t.flow != nil {
		t.flow.stop()
		t.flow = nil
		o.forget(t)
	}
}

// setDown breaks all connections and refuses new ones, or ends that.
func (o *origin) setDown(down bool) {
	o.down = down
	for down && len(o.draws) > 0 {
		t := o.draws[0]
		o.end(t)
		o.s.q.push(o.s.now+o.delay, t, argBroken)
	}
}

// broken: the device sees that its connection broke, or was refused.
func (t *transfer) broken() {
	d := t.d
	if t.over || d.dead {
		return
	}
	m := &d.mirror
	if t.got > t.base { // there was progress: at once
		t.until, m.failures = d.s.now+originPatience, 0
		t.ask()
		return
	}
	wait := firstBackoff << min(max(min(m.failures, 2), m.failures-10), 7)
	m.failures++
	m.notBefore = d.s.now + wait/2 + time.Duration(d.s.rng.Int64N(int64(wait/2)+1))
	t.ask()
}

func (d *device) drawFailed(t *transfer) {
	d.flushDraw(t)
	d.forgetDraw(t)
	d.core.DrawEnded(d.clock(), t.id, fetch.DrawFailed)
	d.mark()
}

// happen: the origin goes down (1) or comes back (0).
func (o *origin) happen(arg int) { o.setDown(arg == 1) }
