package sim

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm/relay"
)

const fullMesh = 64 // members up to which everybody has a link to everybody (rule 8)

// site is one site: it belongs to the one goroutine that runs it.
type site struct {
	sc      *Scenario
	flaw    flaw
	q       queue
	now     time.Duration
	rng     *rand.Rand
	salt    uint64
	content piecehash.Content
	slice   int
	delay   time.Duration // one way, inside the site
	partial bool          // not everybody has a link to everybody
	devices []*device
	near    [][]int // by device: with whom it may have a link
	byID    map[fetch.PeerID]*device
	origin  origin
	casts   []*cast // free ones
	dirty   []*device
	left    int // devices that have not finished and are there, or will be

	hash      uint64
	trace     io.Writer // gets a line for each event; nil = only the hash is kept
	events    int64
	decisions int64
	broken    []string // invariants
}

// newSite builds the site with the given number.
func newSite(sc *Scenario, number int, seed uint64, f flaw) *site {
	s := &site{
		sc: sc, flaw: f, salt: seed<<20 + uint64(number),
		rng:   rand.New(rand.NewPCG(seed, uint64(number))),
		slice: sc.slice(), delay: sc.RTT / 2,
		byID: make(map[fetch.PeerID]*device),
	}
	s.content = sc.content(seed)
	s.origin = origin{s: s, line: line{s: s, rate: sc.WAN}, delay: sc.WANRTT / 2}
	for n, id := range s.ids(sc.Devices) {
		s.add(n, id, sc.device(n, s.rng))
	}
	s.near = sc.neighbours(s.rng)
	for n := range s.near {
		s.partial = s.partial || len(s.near[n]) < sc.Devices-1
	}
	s.openRooms()
	for _, o := range sc.Outages {
		s.q.push(o.From, &s.origin, 1)
		s.q.push(o.From+o.For, &s.origin, 0)
	}
	if sc.Strike != nil {
		k := &strike{s: s, how: argKill}
		if sc.Strike.Cut {
			k.how = argCut
		}
		s.q.push(sc.Strike.At, k, 0)
	}
	return s
}

// ids draws the names of devices. They are in the order of the ranking (fetch/rank.go), so that a scenario
// can say what happens to an owner: device 0 is the first in rank.
func (s *site) ids(n int) []fetch.PeerID {
	type ranked struct {
		id  fetch.PeerID
		key [sha256.Size]byte
	}
	root := s.content.Root()
	all := make([]ranked, n)
	for i := range all {
		id := fmt.Sprintf("%016x", s.rng.Uint64())
		all[i] = ranked{fetch.PeerID(id), sha256.Sum256(append(root[:], id...))}
	}
	slices.SortFunc(all, func(a, b ranked) int { return bytes.Compare(a.key[:], b.key[:]) })
	ids := make([]fetch.PeerID, n)
	for i := range all {
		ids[i] = all[i].id
	}
	return ids
}

func (s *site) add(n int, id fetch.PeerID, spec Device) {
	d := &device{
		s: s, n: n, id: id, kind: spec.Kind, spec: spec,
		linkTo: make(map[*device]*edge),
		store:  make([]uint64, s.content.Pieces()),
		down:   pipe{rate: spec.Down},
	}
	d.up = uplink{s: s, line: line{s: s, rate: spec.Up}, pieces: make([]served, s.content.Pieces())}
	s.devices = append(s.devices, d)
	s.byID[d.id] = d
	if spec.counts() {
		s.left++
	}
	if spec.Start >= 0 {
		s.q.push(spec.Start, d, argStart)
	}
	if spec.Leave > 0 {
		s.q.push(spec.Leave, d, argKill)
	}
	if spec.Restart > 0 {
		s.q.push(spec.Restart, d, argStart)
	}
}

// openRooms makes the links that are up before anything begins.
func (s *site) openRooms() {
	if !s.sc.Warm {
		return
	}
	for n, d := range s.devices {
		for _, o := range s.near[n] {
			other := s.devices[o]
			if o > n && d.spec.early() && other.spec.early() {
				e := s.connect(d, other)
				e.live, e.back.live = true, true
			}
		}
	}
	if s.partial {
		s.introduce()
	}
}

// introduce lets all devices know whom their neighbours are linked to, as they do after a while.
func (s *site) introduce() {
	for _, d := range s.devices {
		d.relay = relay.New(d.id, 0)
		for _, e := range d.links {
			d.relay.Joined(e.to.id)
		}
	}
	for _, d := range s.devices {
		for _, e := range d.links {
			d.relay.Linked(e.to.id, true, e.to.relay.Links(), nil)
		}
		d.crowd = d.relay.Size()
	}
}

// discover lets two devices find each other, and makes the link.
func (s *site) discover(a, b *device) {
	var found time.Duration
	if s.sc.sees(a.n, b.n) {
		found = s.between(s.sc.Found)
	}
	s.q.push(s.now+found+s.between(s.sc.Linked), s.connect(a, b), argUp)
}

func (s *site) between(r [2]time.Duration) time.Duration {
	if r[1] <= r[0] {
		return r[0]
	}
	return r[0] + time.Duration(s.rng.Int64N(int64(r[1]-r[0])))
}

// truth is what piece i is, instead of its bytes; never 0.
func (s *site) truth(i int) uint64 { return mix(s.salt, uint64(i)) | 1<<63 }

// run lives until every device has finished, or the time is up.
func (s *site) run() {
	most := s.sc.deadline()
	for s.left > 0 {
		if len(s.dirty) > 0 && (len(s.q.heap) == 0 || s.q.heap[0].at > s.now) {
			s.settle()
			continue
		}
		if len(s.q.heap) == 0 || s.q.heap[0].at > most {
			break
		}
		e := s.q.pop()
		s.now = e.at
		s.events++
		e.do.happen(e.arg)
	}
	s.settle()
	s.judge()
}

// settle asks the decisions for which something has changed at this moment.
func (s *site) settle() {
	for i := 0; i < len(s.dirty); i++ {
		s.dirty[i].step()
	}
	s.dirty = s.dirty[:0]
}

// finished: a device has everything, or has given up.
func (s *site) finished(d *device) {
	if !d.spec.counts() {
		return
	}
	s.left--
	s.note(evDone, d.n, 0, 0)
	late := 0
	for _, o := range s.devices {
		if o.spec.late() && o.state == waiting {
			late++
		}
	}
	if s.left > late || late == 0 {
		return
	}
	for _, o := range s.devices {
		if o.spec.late() && o.state == waiting {
			s.q.push(s.now+time.Second, o, argStart)
		}
	}
}

// departed: a device is gone before it had everything.
func (s *site) departed(d *device) {
	if d.ended == 0 && d.spec.counts() && d.spec.Restart == 0 {
		s.left--
	}
}

// mix is one step of SplitMix64.
func mix(x, y uint64) uint64 {
	z := (x ^ y*0xff51afd7ed558ccd) + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
