package sim

import (
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// edge is one direction of a link between two devices: payload and words from one to the other.
type edge struct {
	s        *site
	from, to *device
	back     *edge // the other direction
	flow     flow
	serving  serving
	live     bool
	last     time.Duration // when the newest word arrives: no later one overtakes it
}

// What happens to a link.
const (
	argFound = iota // discovery has told both ends of each other
	argUp           // both ends have said what they have
	argBreak        // the connection has ended
)

// connect makes the two directions of a link that is not up yet.
func (s *site) connect(a, b *device) *edge {
	ab, ba := &edge{s: s, from: a, to: b}, &edge{s: s, from: b, to: a}
	ab.back, ba.back = ba, ab
	for _, e := range [...]*edge{ab, ba} {
		e.flow = flow{line: &e.from.up.line, to: &e.to.down, delay: s.delay, owner: e}
		e.from.links = append(e.from.links, e)
		e.from.linkTo[e.to] = e
	}
	return ab
}

func (e *edge) happen(arg int) {
	a, b := e.from, e.to
	switch arg {
	case argFound:
		a.hear(fetch.Noticed{ID: b.id})
		b.hear(fetch.Noticed{ID: a.id})
	case argUp:
		if a.there() && b.there() && !a.cut && !b.cut && a.linkTo[b] == e {
			e.up()
		}
	case argBreak:
		e.end()
	}
}

// up: both ends have become members for each other.
func (e *edge) up() {
	for _, x := range [...]*edge{e, e.back} {
		x.live, x.flow.broken = true, false
		x.to.hear(fetch.Joined{ID: x.from.id, Have: x.from.says(), RTT: 2 * e.s.delay})
	}
}

// end: both ends notice that the link is gone. A link that has ended does not come back.
func (e *edge) end() {
	if e.from.linkTo[e.to] != e {
		return
	}
	for _, x := range [...]*edge{e, e.back} {
		was := x.live
		x.live = false
		x.flow.stop()
		x.from.up.end(x)
		delete(x.from.linkTo, x.to)
		x.from.links = slices.DeleteFunc(x.from.links, func(o *edge) bool { return o == x })
		if was {
			x.to.hear(fetch.Left{ID: x.from.id})
		}
	}
}

// left implements carrier.
func (e *edge) left(chunk) {}

// arrived implements carrier. What a device without a network should get is never acknowledged.
func (e *edge) arrived(c chunk) {
	if !e.live || e.from.cut || e.to.cut {
		return
	}
	e.from.up.arrived(e, c.n)
	c.t.arrive(c.n)
}

// word is when a word that is said now arrives: it waits behind payload of its own connection.
func (e *edge) word() time.Duration {
	at := e.s.now + e.s.delay
	if q := e.flow.queued; q > 0 {
		l := e.flow.line
		at += seconds(float64(q) / l.rate * float64(l.ready.len()+1))
	}
	e.last = max(e.last, at)
	return e.last
}

// passes reports whether words go through.
func (e *edge) passes() bool { return e.live && !e.from.cut && !e.to.cut && !e.to.dead }

// message is what a device has said to the site.
type message struct {
	from   *device
	what   fetch.Saying
	passOn bool // by members, to those without a link (rule 8)
	seen   []uint64
}

func (m *message) see(d *device) (fresh bool) {
	w, bit := &m.seen[d.n/64], uint64(1)<<(d.n%64)
	fresh = *w&bit == 0
	*w |= bit
	return fresh
}

// cast is a message on its way over several links on which it arrives at the same time.
type cast struct {
	s  *site
	m  *message
	to []*edge
}

// say sends what a device says over all its links.
func (d *device) say(what fetch.Saying) {
	m := &message{from: d, what: what}
	switch w := what.(type) {
	case fetch.SayHave:
		m.passOn = d.s.partial && w.Drawn
	default:
		m.passOn = d.s.partial
	}
	if m.passOn {
		m.seen = make([]uint64, (len(d.s.devices)+63)/64)
		m.see(d)
	}
	d.spread(m, nil)
}

// spread sends a message over all links but that to whom it came from.
func (d *device) spread(m *message, but *device) {
	s := d.s
	c := s.newCast(m)
	soon := s.now + s.delay
	for _, e := range d.links {
		if e.to == but || e.to == m.from || !e.live {
			continue
		}
		if at := e.word(); at > soon {
			late := s.newCast(m)
			late.to = append(late.to, e)
			s.q.push(at, late, 0)
			continue
		}
		c.to = append(c.to, e)
	}
	if len(c.to) == 0 {
		s.casts = append(s.casts, c)
		return
	}
	s.q.push(soon, c, 0)
}

func (s *site) newCast(m *message) *cast {
	if n := len(s.casts); n > 0 {
		c := s.casts[n-1]
		s.casts = s.casts[:n-1]
		c.m = m
		return c
	}
	return &cast{s: s, m: m}
}

// happen: the message arrives.
func (c *cast) happen(int) {
	for _, e := range c.to {
		if e.passes() {
			e.to.receive(e, c.m)
		}
	}
	c.m, c.to = nil, c.to[:0]
	c.s.casts = append(c.s.casts, c)
}

// receive takes a message in, and passes it on if others may not have it. Whoever has a link to the sender hears the
// sender.
func (d *device) receive(e *edge, m *message) {
	direct := e.from == m.from
	fresh := m.passOn && m.see(d)
	if direct || fresh && d.linkTo[m.from] == nil {
		d.hear(fetch.Said{ID: m.from.id, Relayed: !direct, What: m.what})
	}
	if fresh {
		d.spread(m, e.from)
	}
}
