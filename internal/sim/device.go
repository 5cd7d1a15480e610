package sim

import (
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm/relay"
)

const (
	tick     = 100 * time.Millisecond // of the runner, see fetch.File
	patience = fetch.DefaultPatience
)

// Kind says how a device behaves.
type Kind uint8

// The kinds.
const (
	Honest   Kind = iota
	Mute          // takes requests and never answers
	Turncoat      // fetches as others do, and sends every piece with wrong bytes
	Corrupt       // has everything, and sends wrong bytes
	Absent        // says that it has everything, and then that it has not
	Claimer       // claims spans for ever
)

// String is the kind's name in the table.
func (k Kind) String() string {
	return [...]string{"honest", "mute", "turncoat", "corrupt", "absent", "false-claims"}[k]
}

// fetches reports whether the device wants the content; the others are there to do harm only.
func (k Kind) fetches() bool { return k <= Turncoat }

// device is one device: the runner around its decision, its links, its store.
type device struct {
	s    *site
	n    int
	id   fetch.PeerID
	spec Device
	kind Kind

	core   *fetch.Core
	began  time.Duration
	found  time.Duration // when the others were told of it
	ended  time.Duration // when it had everything
	state  state
	dead   bool // it was killed, or has left
	cut    bool // its cable is out
	failed bool // it has given up

	links  []*edge // to the others, in the order they were made
	linkTo map[*device]*edge
	up     uplink
	down   pipe
	mirror mirror

	relay          *relay.Relay // nil where everybody has a link to everybody
	linkNo, toldNo int          // changes of links: the newest, and the newest that neighbours know
	telling        bool         // of them, soon
	crowd          int          // devices in all, as far as it knows; 0 = no more than it has links to

	store  []uint64   // what is stored of each piece, 0 = nothing
	claims []*message // its own that stand, the oldest first
	asks   []*transfer
	draws  []*transfer

	dirty  bool          // Decide is due
	timer  time.Duration // the earliest event that will call it, 0 = none
	wake   time.Duration // when it wants to be called
	ticked time.Duration
	moved  time.Duration // when the last byte came

	got       counts
	badPieces int
	leases    map[lease]*leaseState // that it has heard of; nil = not watched
}

type state uint8

const (
	waiting state = iota // not started
	running
	seeding
	gone
)

// counts is bytes by source, as fetch.Stats has them.
type counts struct {
	peers  int64
	origin [4]int64 // by reason
	useful int64
}

func (c *counts) fromOrigin() (n int64) {
	for _, b := range c.origin {
		n += b
	}
	return n
}

// there reports whether the device takes part: its room is open.
func (d *device) there() bool { return d.state == running || d.state == seeding }

// clock is the time that the decision sees.
func (d *device) clock() time.Duration { return d.s.now - d.began }

// start begins the fetch with what is in the store.
func (d *device) start() {
	s := d.s
	d.state, d.dead = running, false
	if s.partial && d.relay == nil {
		d.relay = relay.New(d.id, uint64(s.now))
	}
	d.began, d.moved, d.ticked = s.now, s.now, s.now
	if d.ended > 0 { // it comes back and has everything
		d.state = seeding
		d.meet()
		return
	}
	if !d.kind.fetches() {
		d.meet()
		d.lie()
		return
	}
	d.core = fetch.NewCore(fetch.Config{
		Self: d.id, Content: s.content, Have: d.has(), Origin: true, Warm: s.sc.Warm, Seed: s.rng.Uint64(),
	})
	if s.sc.Leases {
		d.leases = make(map[lease]*leaseState)
	}
	if d.crowd > 0 {
		d.hear(fetch.Crowd{Size: d.crowd})
	}
	d.meet()
	d.announce()
	d.mark()
}

// announce begins discovery. Where there is no multicast a device knows only that links are being made.
func (d *device) announce() {
	switch sc := d.s.sc; {
	case sc.Warm || len(d.s.devices) == 1:
	case sc.Static:
		d.hear(fetch.Noticed{})
	default:
		d.found = 0
		d.s.q.push(d.s.now+d.s.between(sc.Found), d, argFound)
	}
}

// notice: multicast reaches everybody in the subnet, also those to whom there will be no link.
func (d *device) notice() {
	d.found = d.s.now
	for _, o := range d.s.devices {
		if o == d || !o.there() || !d.s.sc.sees(d.n, o.n) || o.found >= d.began && o.found > 0 {
			continue // it is not there, or has told of itself when this device was there already
		}
		d.hear(fetch.Noticed{ID: o.id})
		o.hear(fetch.Noticed{ID: d.id})
	}
}

// meet greets the members whose links are up already, and makes links to the others that are there.
func (d *device) meet() {
	for _, n := range d.s.near[d.n] {
		other := d.s.devices[n]
		switch e := other.linkTo[d]; {
		case e != nil && e.live:
			d.hear(fetch.Joined{ID: other.id, Have: other.says(), RTT: 2 * d.s.delay})
		case e == nil && other.there() && !other.cut:
			d.s.discover(d, other)
		}
	}
}

// says is the bitmap that the device shows to others.
func (d *device) says() piecehash.Bitmap {
	if d.kind != Absent && d.kind != Corrupt {
		return d.has()
	}
	all := piecehash.NewBitmap(len(d.store))
	for i := range d.store {
		all.Set(i)
	}
	return all
}

func (d *device) has() piecehash.Bitmap {
	b := piecehash.NewBitmap(len(d.store))
	for i, sum := range d.store {
		if sum != 0 {
			b.Set(i)
		}
	}
	return b
}

// hear hands on what the site said, to a fetch that runs.
func (d *device) hear(h fetch.Heard) {
	if d.state != running || d.core == nil || d.dead {
		return
	}
	switch h := h.(type) {
	case fetch.Joined:
		d.cancelAsks(h.ID)
		d.s.note(evJoined, d.n, int64(d.s.byID[h.ID].n), int64(h.Have.Count()))
	case fetch.Left:
		d.cancelAsks(h.ID)
		d.endLeases(h.ID, 0, len(d.store), true)
		d.s.note(evLeft, d.n, int64(d.s.byID[h.ID].n), 0)
	case fetch.Said:
		d.watch(h)
	}
	d.core.Hear(d.clock()+d.s.flaw.skew, h)
	d.mark()
}

// mark says that the decision must be asked: when everything of this moment has been taken in.
func (d *device) mark() {
	if d.dirty || d.state != running || d.core == nil || d.dead {
		return
	}
	d.dirty = true
	if q := d.s.sc.Quantum; q > 0 {
		at := (d.s.now + q - 1) / q * q
		if at > d.s.now {
			d.s.q.push(at, d, argStep)
			return
		}
	}
	d.s.dirty = append(d.s.dirty, d)
}

// What happens to a device.
const (
	argStart = iota
	argStep
	argTimer
	argKill // its process dies: the kernel closes its connections
	argCut  // its cable is pulled out
	argGone // those with a link to a device without a cable have noticed
	argLie
	argLinks // it is time to say who is linked
	argFound // multicast has told it of the others, and them of it
)

func (d *device) happen(arg int) {
	switch arg {
	case argStart:
		d.start()
	case argStep:
		d.step()
	case argTimer:
		d.expired()
	case argKill:
		d.kill()
	case argCut:
		d.pull()
	case argGone:
		d.unlink(0)
	case argLie:
		d.lie()
	case argLinks:
		d.tellLinks()
	case argFound:
		d.notice()
	}
}

func (d *device) expired() {
	if d.timer != d.s.now {
		return // an earlier one was set since
	}
	d.timer = 0
	if d.wake <= d.s.now {
		d.mark()
	} else {
		d.setTimer()
	}
}

func (d *device) setTimer() {
	if d.timer == 0 || d.wake < d.timer {
		d.timer = d.wake
		d.s.q.push(d.wake, d, argTimer)
	}
}

// step is one turn of the runner's loop.
func (d *device) step() {
	d.dirty = false
	if d.state != running || d.dead {
		return
	}
	now := d.s.now
	if now-d.ticked >= tick {
		d.ticked = now
		d.flush()
	}
	actions, wake := d.core.Decide(d.clock())
	d.s.decisions++
	for _, a := range actions {
		d.act(a)
	}
	switch {
	case d.core.Done():
		d.finish()
		return
	case now-d.lastMoved() >= patience:
		d.failed = true
		d.finish()
		return
	}
	d.checkLeases()
	d.wake = max(now+1, min(d.began+wake, d.ticked+tick))
	d.setTimer()
}

// lastMoved is since when the device loses patience.
func (d *device) lastMoved() time.Duration {
	others := d.began + d.core.OthersMoved()
	return min(max(d.moved, others), d.moved+(fetch.WaitingFactor-1)*patience)
}

func (d *device) act(a fetch.Action) {
	switch a := a.(type) {
	case fetch.Tell:
		d.tell(a.What)
	case fetch.Ask:
		d.s.note(evAsk, d.n, int64(d.s.byID[a.Peer].n), int64(a.Piece))
		d.startAsk(a)
	case fetch.Draw:
		d.s.note(evDraw, d.n, int64(a.First), int64(a.Count))
		d.startDraw(a)
	case fetch.Cut:
		if i := slices.IndexFunc(d.draws, func(t *transfer) bool { return t.id == a.ID }); i >= 0 {
			d.s.note(evCut, d.n, int64(d.draws[i].first), d.draws[i].got)
			d.cutDraw(d.draws[i])
		}
	case fetch.Cancel:
		d.s.note(evCancel, d.n, int64(d.s.byID[a.Peer].n), int64(a.Piece))
		if i := slices.IndexFunc(d.asks, func(t *transfer) bool { return t.first == a.Piece && t.e.from.id == a.Peer }); i >= 0 {
			d.cancel(d.asks[i])
		}
	}
}

func (d *device) tell(what fetch.Saying) {
	switch w := what.(type) {
	case fetch.SayHave:
		d.s.note(evHave, d.n, int64(w.First), int64(w.Count))
	case fetch.SayClaim:
		d.s.note(evClaim, d.n, int64(w.First), int64(w.Done))
	case fetch.SayRelease:
		d.s.note(evRelease, d.n, int64(w.First), int64(w.Count))
	}
	d.say(what)
}

// put checks a piece and stores it. It reports false for a piece that is wrong.
func (d *device) put(i int, sum uint64, from fetch.PeerID) bool {
	if sum != d.s.truth(i) && !d.s.flaw.unchecked {
		return false
	}
	if d.store[i] == 0 {
		source := int64(-1)
		if from != "" {
			source = int64(d.s.byID[from].n)
		}
		d.store[i] = sum
		d.got.useful += d.s.content.PieceSize(i)
		d.s.note(evStored, d.n, int64(i), source)
		d.core.Stored(d.clock(), i, from)
		d.mark()
	}
	return true
}

// finish ends the fetch; the device goes on serving what it has.
func (d *device) finish() {
	d.state, d.ended = seeding, d.s.now
	d.stopAll()
	d.core = nil
	d.s.finished(d)
}

func (d *device) stopAll() {
	for len(d.asks) > 0 {
		d.cancel(d.asks[0])
	}
	for len(d.draws) > 0 {
		d.cutDraw(d.draws[0])
	}
}

// cutDraw breaks a range off; the origin learns of it a little later.
func (d *device) cutDraw(t *transfer) {
	d.forgetDraw(t)
	d.s.q.push(d.s.now+d.s.origin.delay, t, argStop)
}

// cancel forgets a request at once; the holder learns of it a little later.
func (d *device) cancel(t *transfer) {
	d.forgetAsk(t)
	if t.e.live {
		d.s.q.push(t.e.back.word(), t, argCancel)
	}
}

func (d *device) cancelAsks(id fetch.PeerID) {
	for _, t := range slices.Clone(d.asks) {
		if t.e.from.id == id {
			d.cancel(t)
		}
	}
}

func (d *device) forgetAsk(t *transfer) {
	t.over = true
	d.asks = slices.DeleteFunc(d.asks, func(o *transfer) bool { return o == t })
}

func (d *device) forgetDraw(t *transfer) {
	t.over = true
	d.draws = slices.DeleteFunc(d.draws, func(o *transfer) bool { return o == t })
}

// flush tells the decision of bytes that arrived since it was last told.
func (d *device) flush() {
	for _, t := range d.asks {
		d.flushAsk(t)
	}
	for _, t := range d.draws {
		d.flushDraw(t)
	}
}

func (d *device) flushAsk(t *transfer) {
	if n := t.got - t.told; n > 0 && !t.over {
		t.told = t.got
		d.core.AskProgress(d.clock(), t.e.from.id, t.first, n)
	}
}

func (d *device) flushDraw(t *transfer) {
	if n := t.got - t.told; n > 0 && !t.over {
		t.told = t.got
		d.core.DrawProgress(d.clock(), t.id, n)
	}
}
