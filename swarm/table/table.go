package table

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Times and bounds of the table.
const (
	// YieldDelay is what the higher peer id leaves to the lower one's dial.
	YieldDelay = 300 * time.Millisecond
	// StaticDelay is the same for a static peer that was never linked: it need not know of us.
	StaticDelay = 50 * time.Millisecond

	firstRetry    = 250 * time.Millisecond // after a first failed dial; doubles
	lastRetry     = 30 * time.Second       // at most between two dials
	settled       = 5 * time.Second        // a link that lasted so long was no accident of a simultaneous start
	forgetAfter   = 10 * time.Minute       // a discovered peer that nobody announces and nothing links
	maxCandidates = 1024                   // discovered peers that are remembered
	maxTargets    = 8                      // addresses of one peer
	maxDials      = 16                     // to discovered peers at one time
)

// Link is an authenticated connection. Links are compared by identity.
type Link interface {
	Peer() peer.ID
	Dialled() bool // by this device
	Idle() bool    // no content is shared over it
}

// Table is who there is, and what to do about them: events go in with the time, actions come out (Take). It is not safe
// for concurrent use.
//
// The rule of dialling: the lower peer id dials at once, the higher only when there is no connection YieldDelay later,
// or StaticDelay where the configuration names the peer: then the other side need not know of us. Of two connections the
// one that the lower id dialled stays. Which peers of a large site are dialled at all is in choice.go.
type Table struct {
	self  peer.ID
	peers map[peer.ID]*known
	bans  *Bans
	out   []Action
	choice
}

// known is one peer: where it may be, and how things stand with it.
type known struct {
	id       peer.ID
	rank     uint64 // of the pair, the same for both ends
	static   bool
	chosen   bool      // it is to be dialled, or was linked by choice
	closing  bool      // its link is given up
	given    time.Time // when it was
	targets  []string  // host:port, newest last
	seen     time.Time // when it was last announced or linked
	link     Link      // the one that stays; nil without
	linked   time.Time // since when
	dialing  bool
	due      time.Time // of the next dial; zero while there is a link or a dial, or nowhere to dial
	failures int       // in a row, of whatever kind
	misses   int       // in a row, without a connection
}

// Action is what the table wants done: a Dial or a Close.
type Action interface{ action() }

// Dial asks for one attempt to reach a peer at any of its targets, host:port each, the newest last. Its end is to be
// told by Linked or Failed.
type Dial struct {
	ID      peer.ID
	Targets []string
}

// Close asks for the end of a link.
type Close struct{ Link Link }

func (Dial) action()  {}
func (Close) action() {}

// New returns the table of the device with the id. Banned peers are neither dialled nor linked.
func New(self peer.ID, b *Bans) *Table {
	return &Table{self: self, peers: make(map[peer.ID]*known), bans: b}
}

// Take returns the actions since the last call.
func (t *Table) Take() []Action {
	out := t.out
	t.out = nil
	return out
}

// Found: the peer may be at the target. It returns whether the peer is new.
func (t *Table) Found(now time.Time, id peer.ID, target string, static bool) bool {
	if id == t.self || t.bans.Has(now, id) {
		return false
	}
	k := t.peers[id]
	fresh := k == nil
	if fresh {
		if !static && t.candidates() >= maxCandidates {
			return false
		}
		k = t.meet(id)
	}
	k.static = k.static || static
	k.seen = now
	k.addTarget(target)
	if k.link == nil && !k.dialing && k.due.IsZero() {
		k.due = now.Add(t.patience(k))
	}
	return fresh
}

func (t *Table) candidates() int {
	n := 0
	for _, k := range t.peers {
		if !k.static && k.link == nil {
			n++
		}
	}
	return n
}

// addTarget puts the newest target last and forgets the oldest when there are too many.
func (k *known) addTarget(target string) {
	for _, old := range k.targets {
		if old == target {
			return
		}
	}
	if len(k.targets) == maxTargets {
		k.targets = k.targets[1:]
	}
	k.targets = append(k.targets, target)
}

// patience is how long we leave the first dial to the other side. A static peer that has never been linked may not know of
// us: waiting long for its dial would cost every device with a higher id the start; not to wait at all would make two
// connections where both know each other.
func (t *Table) patience(k *known) time.Duration {
	switch {
	case t.self < k.id:
		return 0
	case k.static && k.linked.IsZero():
		return StaticDelay
	default:
		return YieldDelay
	}
}

// Failed: an attempt has ended without a link. (One that made a link is reported by Linked.)
func (t *Table) Failed(now time.Time, id peer.ID) {
	k := t.peers[id]
	if k == nil {
		return
	}
	k.dialing = false
	if k.link == nil {
		k.misses++
		k.failed(now)
	}
}

func (k *known) failed(now time.Time) {
	k.failures++
	k.due = now.Add(backoff(k.failures))
}

func backoff(failures int) time.Duration {
	d := firstRetry
	for i := 1; i < failures && d < lastRetry; i++ {
		d *= 2
	}
	return min(d, lastRetry)
}

// Linked: a connection has authenticated. It returns whether it stays; the link that it replaces is closed.
func (t *Table) Linked(now time.Time, l Link) bool {
	id := l.Peer()
	if t.bans.Has(now, id) {
		return false
	}
	k := t.peers[id]
	if k == nil {
		k = t.meet(id)
	}
	if k.misses = 0; l.Dialled() {
		k.dialing = false
	}
	if k.link == nil && !k.static && t.crowded() {
		if k.failed(now); len(k.targets) == 0 {
			delete(t.peers, id)
		}
		return false
	}
	if k.link != nil {
		if !t.replaces(now, k, l) {
			return false
		}
		t.out = append(t.out, Close{k.link})
	}
	k.link, k.linked, k.seen, k.closing = l, now, now, false
	k.due = time.Time{}
	return true
}

// replaces reports whether a new link should take the place of the one there is. Both ends must come to the same
// answer: in a simultaneous start the lower id's dial stays; at any other time somebody who dials again has lost the
// old connection, even if we have not noticed yet.
func (t *Table) replaces(now time.Time, k *known, l Link) bool {
	oldPreferred, newPreferred := t.preferred(k.link), t.preferred(l)
	if oldPreferred && !newPreferred {
		return now.Sub(k.linked) > settled
	}
	return true
}

// preferred reports whether the lower id dialled.
func (t *Table) preferred(l Link) bool { return l.Dialled() == (t.self < l.Peer()) }

// Unlinked: a link has ended.
func (t *Table) Unlinked(now time.Time, l Link) {
	k := t.peers[l.Peer()]
	if k == nil || k.link != l {
		return
	}
	k.link, k.closing = nil, false
	if now.Sub(k.linked) > settled {
		k.failures = 0
	}
	k.seen = now
	if len(k.targets) == 0 {
		delete(t.peers, l.Peer()) // it came to us; we have nowhere to look for it
		return
	}
	if !k.dialing {
		// At once after a link that had held, and not both sides in the same instant.
		k.due = now.Add(t.patience(k))
		if k.failures > 0 {
			k.due = now.Add(backoff(k.failures))
		}
		k.failures++
	}
}

// Banned: the peer has proved that it lies. Its link ends; a static peer is tried again when the ban is over.
func (t *Table) Banned(id peer.ID) {
	k := t.peers[id]
	if k == nil {
		return
	}
	if k.link != nil {
		t.out = append(t.out, Close{k.link})
		k.link = nil
	}
	k.due, k.failures = time.Time{}, 0
	if !k.static {
		delete(t.peers, id)
	}
}

// Tick orders the dials that are due, forgets who is long gone, and returns when to come again.
func (t *Table) Tick(now time.Time) time.Time {
	next := earlier(now.Add(time.Minute), t.choose(now))
	dials := 0
	var due []*known
	for id, k := range t.peers {
		switch {
		case !k.static && k.link == nil && !k.dialing && now.Sub(k.seen) > forgetAfter:
			delete(t.peers, id)
		case k.dialing && !k.static:
			dials++
		case k.link != nil || k.dialing || !k.chosen && !k.static || t.bans.Has(now, id):
		case k.due.After(now):
			next = earlier(next, k.due)
		default:
			due = append(due, k)
		}
	}
	slices.SortFunc(due, byRank)
	for _, k := range due {
		if !k.static {
			if dials == maxDials {
				continue // when one of them has ended
			}
			dials++
		}
		k.due, k.dialing = time.Time{}, true
		t.out = append(t.out, Dial{k.id, append([]string(nil), k.targets...)})
	}
	return next
}

// Courting counts the peers that may become members any moment: found and not yet tried in vain.
func (t *Table) Courting() int {
	n := 0
	for _, k := range t.peers {
		if k.link == nil && k.failures == 0 && (k.dialing || !k.due.IsZero() && (k.chosen || k.static)) {
			n++
		}
	}
	return n
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
