package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// The invariants.

const mostBroken = 5 // sentences that are kept of a site

func (s *site) violated(format string, args ...any) {
	if len(s.broken) < mostBroken {
		s.broken = append(s.broken, fmt.Sprintf(format, args...))
	}
}

// judge looks at the whole site when it has ended.
func (s *site) judge() {
	for _, d := range s.devices {
		s.judgeDevice(d)
	}
	var counted int64
	for _, d := range s.devices {
		counted += d.got.fromOrigin()
	}
	if all := counted + s.origin.lost + s.origin.inNet; all != s.origin.sent {
		s.violated("the origin has sent %d bytes, devices counted %d, %d were lost, %d are on their way", s.origin.sent,
			counted, s.origin.lost, s.origin.inNet)
	}
}

func (s *site) judgeDevice(d *device) {
	for i, sum := range d.store {
		if sum != 0 && sum != s.truth(i) {
			s.violated("device %d has stored a wrong piece %d", d.n, i)
		}
	}
	if d.badPieces > s.liars() {
		s.violated("device %d got %d wrong pieces from %d devices that send them", d.n, d.badPieces, s.liars())
	}
	if n := d.got.fromOrigin(); d.spec.late() && n > 0 {
		s.violated("device %d came when the others were done, and drew %d bytes", d.n, n)
	}
	if !d.spec.counts() || d.state == gone {
		return
	}
	have := d.has()
	if d.failed || d.ended == 0 || !have.Full() {
		s.violated("device %d (state %d) has %d of %d pieces at %v", d.n, d.state, have.Count(), have.Len(), s.now)
	}
}

// liars counts the devices that send wrong bytes: a device may get one piece of each, and asks it for no other.
func (s *site) liars() (n int) {
	for _, d := range s.devices {
		if d.kind == Corrupt || d.kind == Turncoat {
			n++
		}
	}
	return n
}

// lease is a claim that a device has heard of.
type lease struct {
	by           fetch.PeerID
	first, count int
}

type leaseState struct {
	moved   time.Duration
	done    int64
	rate    int64
	missing int // pieces that its device has not said to have
}

// Of a lease, as the design has it (section 6, rule 3).
const (
	minLease  = 3 * time.Second
	maxLease  = time.Minute
	leaseStep = 1 << 20
)

func (l *leaseState) ends() time.Duration {
	d := minLease
	if l.rate > 0 {
		d = max(d, min(maxLease, seconds(4*leaseStep/float64(l.rate))))
	}
	return l.moved + d
}

// watch keeps the leases of which the device hears, by its own reckoning.
func (d *device) watch(h fetch.Said) {
	if d.leases == nil {
		return
	}
	switch w := h.What.(type) {
	case fetch.SayClaim:
		k := lease{h.ID, w.First, w.Count}
		l := d.leases[k]
		switch {
		case l == nil || d.s.now >= l.ends():
			d.leases[k] = &leaseState{moved: d.s.now, done: w.Done, rate: w.Rate, missing: w.Count}
		case min(w.Done, d.s.bytes(w.First, w.Count)) > l.done:
			l.moved, l.done, l.rate = d.s.now, w.Done, w.Rate
		default:
			l.rate = w.Rate
		}
	case fetch.SayRelease:
		delete(d.leases, lease{h.ID, w.First, w.Count})
	case fetch.SayHave:
		d.endLeases(h.ID, w.First, w.Count, false)
	}
}

// endLeases ends those of a device that reach into the pieces: all of them, or those that are fulfilled now.
func (d *device) endLeases(by fetch.PeerID, first, count int, all bool) {
	for k, l := range d.leases {
		both := min(first+count, k.first+k.count) - max(first, k.first)
		if k.by != by || both <= 0 {
			continue
		}
		if l.missing -= both; all || l.missing <= 0 {
			delete(d.leases, k)
		}
	}
}

// bytes is the length of pieces.
func (s *site) bytes(first, count int) (n int64) {
	for i := first; i < min(first+count, s.content.Pieces()); i++ {
		n += s.content.PieceSize(i)
	}
	return n
}

// checkLeases looks for claims that the decision still believes in although their lease has ended.
func (d *device) checkLeases() {
	if d.leases == nil {
		return
	}
	for c := range d.core.LiveClaims {
		l := d.leases[lease{c.By, c.First, c.Count}]
		switch {
		case l == nil:
			d.s.violated("device %d knows a claim of %s that nobody made", d.n, c.By)
		case d.s.now > l.ends()+tick:
			d.s.violated("device %d at %v believes in a claim of %s for piece %d that ended at %v", d.n, d.s.now, c.By, c.First, l.ends())
		}
	}
}

// Outcome is what came of one site.
type Outcome struct {
	Copies   float64 // bytes that the origin has sent / length
	Makespan float64 // of the healthy, each from its own start, / bound
	All      float64 // the same of all devices that finished
	Waste    float64 // bytes that devices got and did not need, / what they needed
	Late     int64   // origin bytes of devices that came when the others were done
	Bad      int     // wrong pieces of the device that got most of them
	ByReason [4]int64
	Length   int64

	Events, Decisions int64
	Hash              uint64
	Broken            []string // invariants that did not hold
}

func (s *site) outcome() Outcome {
	o := Outcome{
		Copies: float64(s.origin.sent) / float64(s.sc.Length), Length: s.sc.Length,
		Events: s.events, Decisions: s.decisions, Hash: s.hash, Broken: slices.Clone(s.broken),
	}
	bound := s.sc.Bound().Seconds()
	var got, useful int64
	for _, d := range s.devices {
		got += d.got.peers + d.got.fromOrigin()
		useful += d.got.useful
		for r, n := range d.got.origin {
			o.ByReason[r] += n
		}
		if d.spec.late() {
			o.Late += d.got.fromOrigin()
		}
		o.Bad = max(o.Bad, d.badPieces)
		if d.ended > 0 {
			took := (d.ended - d.began).Seconds() / bound
			o.All = max(o.All, took)
			if d.spec.healthy() {
				o.Makespan = max(o.Makespan, took)
			}
		}
	}
	o.Waste = float64(got-useful) / float64(useful)
	return o
}
