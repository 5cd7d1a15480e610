package relay

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// Bounds of what is passed on. MaxHops reaches every device of a random site with 12 links each and ten thousand devices
// (4 to 6 hops), with room for a bridge or two.
const (
	MaxHops  = 8
	MaxLinks = 1024 // links of one neighbour that are remembered; the rest counts as not there

	progressEvery = 500 * time.Millisecond // a claim that only proceeds is passed on so often; leases last 3 s and more
	silentAfter   = time.Minute            // a sayer that said nothing for so long is forgotten
	idleClaim     = 10 * time.Second       // a claim that was not said again for so long does not count any more

	wordsPerSecond = 256 // new words of one neighbour that are passed on
	wordsAtOnce    = 1024
	maxSayers      = 256 // devices that one neighbour may speak for in silentAfter
	maxAllSayers   = 4096
	maxClaims      = 128 // claims that stand in others' names through one neighbour
	maxOfSayer     = 16  // claims that stand in the name of one device
	maxBroken      = 32  // claims through one neighbour that came to nothing in a minute, before it is not believed
)

// Word is something that a member said, as it goes from neighbour to neighbour.
type Word struct {
	Sayer fetch.PeerID
	Seq   uint64 // the sayer's number for it, for one content rising; 0 is never passed on
	Hops  int    // how often it may still be passed on
	What  fetch.Saying
}

// Passed returns the word as a neighbour is told it.
func (w Word) Passed() Word {
	w.Hops = min(w.Hops, MaxHops) - 1
	return w
}

// Short stands for a peer id in the lists of links: the first 8 bytes of the SHA-256 of its text. That saves four fifths of
// the lists. Ten thousand devices have two with the same one once in 10^11 sites, and then, or when somebody makes one on
// purpose, a neighbour is not told what one device says: it may draw a span twice.
type Short = [8]byte

// ShortOf returns what stands for id.
func ShortOf(id fetch.PeerID) Short {
	h := sha256.Sum256([]byte(id))
	return Short(h[:8])
}

// Relay is what one device passes on for one content. It is not safe for concurrent use. Times are durations since any
// moment, the same for all calls.
type Relay struct {
	self   fetch.PeerID
	seq    uint64
	nbs    map[fetch.PeerID]*neighbour
	order  []*neighbour // by id, so that the same story has the same end
	sayers map[fetch.PeerID]*sayer
	swept  time.Duration
	minute time.Duration // when broken claims were last forgiven
}

// neighbour is a member that we have a link to.
type neighbour struct {
	id     fetch.PeerID
	short  Short
	known  bool // it has said whom it is linked to
	linked map[Short]struct{}

	tokens float64 // words of its that may be passed on now
	filled time.Duration
	speaks int // devices without a link to us that it was the first to speak for
	claims int // that stand in others' names through it
	broken int
}

// New returns the relay of a device that joins the content. Its words are numbered from first+1 on. A device that comes
// back must begin above where it ended, or it is not passed on for a minute: milliseconds since 1970 will do.
func New(self fetch.PeerID, first uint64) *Relay {
	return &Relay{self: self, seq: first, nbs: make(map[fetch.PeerID]*neighbour), sayers: make(map[fetch.PeerID]*sayer)}
}

// Say numbers a word of our own, which the caller tells all neighbours. Pieces that did not come from the origin are not
// passed on: what matters far away is only that the site need not draw them again.
func (r *Relay) Say(what fetch.Saying) Word {
	w := Word{Sayer: r.self, What: what, Hops: MaxHops}
	if h, ok := what.(fetch.SayHave); !ok || h.Drawn {
		r.seq++
		w.Seq = r.seq
	}
	return w
}

// Joined: there is a link to a member now. Nothing is passed on to it before it has said whom it is linked to (Linked): a
// site that starts together would otherwise tell everybody everything twelve times.
func (r *Relay) Joined(id fetch.PeerID) {
	r.Left(id)
	n := &neighbour{id: id, short: ShortOf(id), linked: make(map[Short]struct{}), tokens: wordsAtOnce}
	r.nbs[id] = n
	i, _ := slices.BinarySearchFunc(r.order, n, byID)
	r.order = slices.Insert(r.order, i, n)
	if s := r.sayers[id]; s != nil {
		r.forget(s) // it speaks for itself from now on
	}
}

// Left: the link is gone. What came over it stays until it ends by itself.
func (r *Relay) Left(id fetch.PeerID) {
	n := r.nbs[id]
	if n == nil {
		return
	}
	delete(r.nbs, id)
	r.order = slices.DeleteFunc(r.order, func(o *neighbour) bool { return o == n })
}

func byID(a, b *neighbour) int { return cmp.Compare(a.id, b.id) }

// Linked: a neighbour has said whom it is linked to (since the last time), and to whom not any more. anew begins its list.
func (r *Relay) Linked(id fetch.PeerID, anew bool, linked, unlinked []Short) {
	n := r.nbs[id]
	if n == nil {
		return
	}
	if anew {
		n.known = true
		clear(n.linked)
	}
	for _, s := range unlinked {
		delete(n.linked, s)
	}
	for _, s := range linked {
		if len(n.linked) < MaxLinks {
			n.linked[s] = struct{}{}
		}
	}
}

// Links returns whom we are linked to, in the order of their ids, at most MaxLinks: what neighbours are to be told.
func (r *Relay) Links() []Short {
	out := make([]Short, 0, len(r.order))
	for _, n := range r.order[:min(len(r.order), MaxLinks)] {
		out = append(out, n.short)
	}
	return out
}

// Size estimates how many members there are when some have no link to us, this device included, and is 0 when there are
// none: those that neighbours are linked to, and those that were heard of.
func (r *Relay) Size() int {
	all := map[Short]struct{}{ShortOf(r.self): {}}
	for _, n := range r.order {
		all[n.short] = struct{}{}
	}
	near := len(all)
	for _, n := range r.order {
		for s := range n.linked {
			all[s] = struct{}{}
		}
	}
	for id := range r.sayers {
		all[ShortOf(id)] = struct{}{}
	}
	if len(all) == near {
		return 0
	}
	return len(all)
}

// Heard takes in a word that a neighbour sent, its own (from is the sayer) or another's. deliver says whether it is news to
// this device; what neighbours say themselves always is. forward lists the neighbours to whom w.Passed() is to be sent.
func (r *Relay) Heard(now time.Duration, from fetch.PeerID, w Word) (deliver bool, forward []fetch.PeerID) {
	r.sweep(now)
	n := r.nbs[from]
	if n == nil {
		return false, nil
	}
	if from == w.Sayer {
		fresh := w.Seq > 0 && r.sayer(now, n, w.Sayer).fresh(now, w.Seq)
		if fresh && w.passes() {
			forward = r.forward(now, n, w)
		}
		return true, forward
	}
	if !r.believes(now, n, w) {
		return false, nil
	}
	return true, r.forward(now, n, w)
}

// passes reports whether the word is of those that are passed on.
func (w Word) passes() bool {
	h, have := w.What.(fetch.SayHave)
	return w.Seq > 0 && (!have || h.Drawn)
}

// believes takes in a word in another's name and reports whether it is news. Nobody speaks for this device, nor for one
// that has a link to it.
func (r *Relay) believes(now time.Duration, n *neighbour, w Word) bool {
	if w.Sayer == r.self || r.nbs[w.Sayer] != nil || !w.passes() || n.broken >= maxBroken {
		return false
	}
	s := r.sayer(now, n, w.Sayer)
	return s != nil && s.fresh(now, w.Seq) && r.takes(now, n, s, w)
}

// forward chooses who is told: neighbours that get it neither from the sayer nor from whom we have it. That is why a full
// mesh passes on nothing, and why of a mesh behind one bridge only the bridge does.
func (r *Relay) forward(now time.Duration, from *neighbour, w Word) (to []fetch.PeerID) {
	if w.Hops < 1 {
		return nil
	}
	sayer := ShortOf(w.Sayer)
	for _, n := range r.order {
		if n == from || n.id == w.Sayer || !n.known || n.has(sayer) || n.has(from.short) || from.has(n.short) {
			continue
		}
		to = append(to, n.id)
	}
	if len(to) > 0 && !from.spend(now) {
		return nil
	}
	return to
}

func (n *neighbour) has(s Short) bool {
	_, ok := n.linked[s]
	return ok
}

// spend takes one of the neighbour's words for this second.
func (n *neighbour) spend(now time.Duration) bool {
	n.tokens = min(wordsAtOnce, n.tokens+wordsPerSecond*(now-n.filled).Seconds())
	n.filled = now
	if n.tokens < 1 {
		return false
	}
	n.tokens--
	return true
}
