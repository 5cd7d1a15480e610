package sim

import "time"

// Of what is on its way between two devices.
const (
	netWindow  = 256 << 10              // bytes of one flow between its line and the other end
	netBacklog = 100 * time.Millisecond // of a slow downlink: senders hold back beyond it, as TCP does
)

// line is a wire of fixed rate that flows share fairly, slice by slice: a device's uplink, or the site's line to the
// origin.
type line struct {
	s       *site
	rate    float64 // bytes per second
	ready   fifo[*flow]
	sending *flow
}

// pipe is a device's downlink: what arrives goes through in the order of arrival.
type pipe struct {
	rate float64 // bytes per second
	free time.Duration
}

// carry returns when n bytes have arrived whose last bit left a line of the given rate so that it would arrive at the
// time last.
func (p *pipe) carry(last time.Duration, n int, from float64) time.Duration {
	first := last - seconds(float64(n)/from)
	p.free = max(last, max(first, p.free)+seconds(float64(n)/p.rate))
	return p.free
}

// chunk is n bytes of a transfer.
type chunk struct {
	t *transfer
	n int
}

// flow is one connection's payload in one direction.
type flow struct {
	line    *line
	to      *pipe
	delay   time.Duration
	owner   carrier
	queue   fifo[chunk] // given to the line
	queued  int         // bytes of it
	net     fifo[chunk] // has left the line
	inNet   int         // bytes of it
	inReady bool
	broken  bool
}

// carrier is told of a flow's chunks.
type carrier interface {
	left(c chunk)    // the line has sent it
	arrived(c chunk) // the other end has it
}

func (f *flow) give(c chunk) {
	f.queue.push(c)
	f.queued += c.n
	f.rouse()
}

// rouse gives the flow a place in the line's turn if it may send.
func (f *flow) rouse() {
	if f.inReady || f.broken || f.queue.len() == 0 || !f.may() {
		return
	}
	f.inReady = true
	f.line.ready.push(f)
	f.line.start()
}

// may reports whether the network takes more of this flow now. What is in it always brings the flow back.
func (f *flow) may() bool {
	return f.inNet == 0 || f.inNet < netWindow && f.to.free-f.line.s.now < netBacklog
}

// stop ends the flow: what has not left the line never will.
func (f *flow) stop() {
	f.broken = true
	f.queue, f.queued = fifo[chunk]{}, 0
}

func (l *line) start() {
	for l.sending == nil && l.ready.len() > 0 {
		f := l.ready.pop()
		f.inReady = false
		if f.broken || f.queue.len() == 0 || !f.may() {
			continue
		}
		l.sending = f
		l.s.q.push(l.s.now+seconds(float64(f.next())/l.rate), l, 0)
	}
}

// next is how many bytes the flow's next slice has.
func (f *flow) next() int { return min(f.queue.first().n, f.line.s.slice) }

// happen: a slice has been sent.
func (l *line) happen(int) {
	f := l.sending
	l.sending = nil
	if !f.broken && f.queue.len() > 0 {
		c := *f.queue.first()
		n := f.next()
		if n == c.n {
			f.queue.pop()
		} else {
			f.queue.first().n -= n
		}
		c.n = n
		f.queued -= n
		f.inNet += n
		f.net.push(c)
		f.owner.left(c)
		l.s.q.push(f.to.carry(l.s.now+f.delay, n, l.rate), f, 0)
		f.rouse()
	}
	l.start()
}

// happen: a slice has arrived.
func (f *flow) happen(int) {
	c := f.net.pop()
	f.inNet -= c.n
	f.rouse()
	f.owner.arrived(c)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
