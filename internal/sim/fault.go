package sim

import (
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// What goes wrong on purpose.

const (
	userTimeout = 15 * time.Second // until a connection without an answer is given up (package swarm/conn)
	lieEvery    = 500 * time.Millisecond
)

// flaw breaks the simulator itself, so that tests can see that the invariants fail.
type flaw struct {
	unchecked bool          // devices store what they get
	miscount  bool          // the origin counts wrong
	forgetful bool          // a device counts half of what it gets from the origin
	skew      time.Duration // what devices hear is dated later
}

// kill ends the process of a device. Its kernel closes the connections.
func (d *device) kill() {
	if !d.there() {
		return
	}
	d.quit()
	d.unlink(d.s.delay)
	d.s.departed(d)
}

// pull takes the cable out: nothing passes any more, and the others notice late.
func (d *device) pull() {
	if !d.there() {
		return
	}
	d.quit()
	d.cut = true
	d.s.q.push(d.s.now+userTimeout, d, argGone)
	d.s.departed(d)
}

func (d *device) quit() {
	d.s.note(evGone, d.n, 0, 0)
	d.dead = true
	d.state = gone
	for _, t := range d.draws {
		t.over = true
		d.s.q.push(d.s.now+d.s.origin.delay, t, argStop)
	}
	for _, t := range d.asks {
		t.over = true
	}
	d.asks, d.draws, d.claims, d.core, d.relay, d.crowd = nil, nil, nil, nil, nil, 0
}

func (d *device) unlink(after time.Duration) {
	for _, e := range d.links {
		e.flow.stop()
		d.s.q.push(d.s.now+after, e, argBreak)
	}
}

// lie is what a device says that fetches nothing. It claims all that its claims may cover, from the front of the file on, as
// that stands; and by turns it says more done than there is, no rate and a byte more each time, a second claim inside the
// first, another count, and a release just before the next claim.
func (d *device) lie() {
	if d.kind != Claimer || d.dead {
		return
	}
	const claims = 16
	n := d.s.content.Pieces()
	at := int64((d.s.now - d.began) / lieEvery)
	per := max(1, int((8<<20)/d.s.content.PieceLength()))
	front := int(at/8) * per
	for k := range claims {
		c := fetch.SayClaim{First: (front + k*per) % n}
		c.Count = min(per, n-c.First)
		d.twist(k, at, &c)
		d.say(c)
	}
	d.s.q.push(d.s.now+lieEvery, d, argLie)
}

// twist is the trick that goes with the claim number k.
func (d *device) twist(k int, at int64, c *fetch.SayClaim) {
	c.Rate = 1 << 20
	switch k % 6 {
	case 0:
		c.Done = 1<<30 + at
	case 1:
		c.Rate, c.Done = 0, at
	case 2:
		if at%2 == 1 && c.Count > 1 {
			c.First, c.Count = c.First+1, c.Count-1
		}
		c.Done = at
	case 3:
		c.Count -= int(at % 2)
		c.Count = max(1, c.Count)
	case 4:
		d.say(fetch.SayRelease{First: c.First, Count: c.Count})
	}
}

// strike hits the lowest device that is drawing from the origin.
type strike struct {
	s   *site
	how int // argKill or argCut
}

func (k *strike) happen(int) {
	for _, d := range k.s.devices {
		if d.state == running && len(d.draws) > 0 {
			d.happen(k.how)
			return
		}
	}
	if k.s.left > 0 {
		k.s.q.push(k.s.now+50*time.Millisecond, k, 0)
	}
}
