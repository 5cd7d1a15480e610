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
	d.asks, d.draws, d.core, d.relay, d.crowd = nil, nil, nil, nil, 0
}

func (d *device) unlink(after time.Duration) {
	for _, e := range d.links {
		e.flow.stop()
		d.s.q.push(d.s.now+after, e, argBreak)
	}
}

// lie is what a device says that fetches nothing: claims, at a rate that it never keeps.
func (d *device) lie() {
	if d.kind != Claimer || d.dead {
		return
	}
	per := 1
	for range 4 {
		first := d.s.rng.IntN(d.s.content.Pieces())
		d.say(fetch.SayClaim{First: first, Count: min(per, d.s.content.Pieces()-first), Rate: 1 << 20})
	}
	d.s.q.push(d.s.now+lieEvery, d, argLie)
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
