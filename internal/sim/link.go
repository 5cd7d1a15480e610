package sim

import (
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/swarm/relay"
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
	argUp    = iota // both ends have said what they have
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
		x.from.linksChanged(x, true)
		x.to.hear(fetch.Joined{ID: x.from.id, Have: x.from.says(), RTT: 2 * e.s.delay})
		x.from.tellClaims(x)
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
			x.from.linksChanged(x, false)
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

// message is what a device has said to the site, as it goes over links.
type message struct {
	from *device
	what fetch.Saying
	word relay.Word // where not everybody has a link to everybody
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
	if d.relay != nil {
		m.word = d.relay.Say(what)
	}
	d.keep(m)
	d.spread(m, d.links)
}

// keep remembers the claims that stand: who gets a link later is told of them, as package swarm does.
func (d *device) keep(m *message) {
	ends := func(o *message) bool {
		c := o.what.(fetch.SayClaim)
		switch w := m.what.(type) {
		case fetch.SayClaim:
			return c.First == w.First
		case fetch.SayRelease:
			return c.First == w.First
		}
		return !slices.Contains(d.store[c.First:c.First+c.Count], 0)
	}
	d.claims = slices.DeleteFunc(d.claims, ends)
	if _, ok := m.what.(fetch.SayClaim); ok {
		d.claims = append(d.claims, m)
	}
}

// tellClaims tells the other end of a new link which claims stand.
func (d *device) tellClaims(e *edge) {
	for _, m := range d.claims {
		d.spread(m, []*edge{e})
	}
}

// spread sends a message over links.
func (d *device) spread(m *message, links []*edge) {
	s := d.s
	c := s.newCast(m)
	soon := s.now + s.delay
	for _, e := range links {
		if !e.live {
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

// receive takes a message in and passes it on to those whom package relay names.
func (d *device) receive(e *edge, m *message) {
	deliver := true
	if d.relay != nil {
		var forward []fetch.PeerID
		if deliver, forward = d.relay.Heard(d.s.now, e.from.id, m.word); len(forward) > 0 {
			d.passOn(m, forward)
		}
	}
	if deliver {
		d.hear(fetch.Said{ID: m.from.id, Relayed: e.from != m.from, What: m.what})
	}
}

func (d *device) passOn(m *message, ids []fetch.PeerID) {
	links := make([]*edge, 0, len(ids))
	for _, id := range ids {
		if e := d.linkTo[d.s.byID[id]]; e != nil {
			links = append(links, e)
		}
	}
	d.spread(&message{from: m.from, what: m.what, word: m.word.Passed()}, links)
}

// linksLater is the time from a change of links to telling of it (package swarm).
const linksLater = 500 * time.Millisecond

// linksChanged sees to it that neighbours learn of a device's links.
func (d *device) linksChanged(e *edge, up bool) {
	if d.relay == nil {
		return
	}
	if up {
		d.relay.Joined(e.to.id)
	} else {
		d.relay.Left(e.to.id)
	}
	d.linkNo++
	d.tellLater()
}

func (d *device) tellLater() {
	if !d.telling {
		d.telling = true
		d.s.q.push(d.s.now+linksLater, d, argLinks)
	}
}

// tellLinks tells neighbours of a device's links, and the device how many members there seem to be.
func (d *device) tellLinks() {
	d.telling = false
	if d.dead || d.relay == nil {
		return
	}
	if size := d.relay.Size(); size != d.crowd {
		d.crowd = size
		d.hear(fetch.Crowd{Size: size})
	}
	if d.toldNo == d.linkNo {
		return
	}
	d.toldNo = d.linkNo
	l := &linkList{d, d.relay.Links(), nil}
	for _, e := range d.links {
		if e.live {
			l.to = append(l.to, e)
			e.last = max(e.last, d.s.now+d.s.delay)
		}
	}
	d.s.q.push(d.s.now+d.s.delay, l, 0)
}

// linkList is a device's word of whom it is linked to, on its way.
type linkList struct {
	from *device
	list []relay.Short
	to   []*edge
}

func (l *linkList) happen(int) {
	for _, e := range l.to {
		if e.passes() && e.to.relay != nil {
			e.to.relay.Linked(l.from.id, true, l.list, nil)
			e.to.tellLater() // the crowd may have changed
		}
	}
}
