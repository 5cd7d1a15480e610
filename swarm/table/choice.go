package table

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Which links a device has. In a site of up to MeshMost devices it has one to each. In a larger one it dials the few to
// which it ranks best by a hash of the pair, and takes who comes to it, up to a bound. The hash is the same for both ends,
// so that most of the choices are mutual; it makes the graph a random one, which is in one piece when everybody chooses
// three or more. Who cannot be reached makes room for the next. Static peers are linked whatever the size. A device that keeps
// all (a cache node) dials everybody it finds and gives nobody up: others need not know what it is to have a link to it.
//
// A content that only some share may lie between devices that have no link to each other. While a device is short of links
// that share what it has joined (Thin), it dials ever more of the others; those that share nothing are given up first.
const (
	MeshMost = 64

	meshAgain  = 48 // below it a site that was larger is a mesh again
	picks      = 8  // with those that pick us that makes about 12 links
	most       = 24 // links; above them some are given up, the idle ones first
	mostAtOnce = 32 // links; above them nobody is taken
	probes     = 4  // more picks in each probeEvery while the links are thin
	maxProbes  = 256
	probeEvery = time.Second
	shedEvery  = 250 * time.Millisecond
	leftAlone  = time.Minute // who was given up is not dialled for so long
)

// choice is what the table knows of the size of the site.
type choice struct {
	all   bool // links are kept to everybody, however many
	large bool
	thin  bool
	extra int       // picks because of thin
	probe time.Time // when they change
	shed  time.Time // when the next link may be given up
}

// meet makes the entry of a peer.
func (t *Table) meet(id peer.ID) *known {
	k := &known{id: id, rank: pairRank(t.self, id), chosen: !t.large}
	t.peers[id] = k
	return k
}

func pairRank(a, b peer.ID) uint64 {
	h := sha256.Sum256([]byte(min(a, b) + max(a, b)))
	return binary.BigEndian.Uint64(h[:])
}

func byRank(a, b *known) int { return cmp.Compare(a.rank, b.rank) }

// Thin says whether some content has too few links that share it.
func (t *Table) Thin(yes bool) { t.thin = yes }

// KeepAll makes it the table of a device that has a link to everybody.
func (t *Table) KeepAll() { t.all = true }

// Large reports whether the site has more devices than links.
func (t *Table) Large() bool { return t.large }

// choose marks who is to be dialled, gives up links that are too many, and returns when to come again.
func (t *Table) choose(now time.Time) time.Time {
	alive := 0
	for _, k := range t.peers {
		if !k.static && k.misses == 0 {
			alive++
		}
	}
	if was := t.large; !t.all && (was && alive >= meshAgain || alive > MeshMost) {
		t.large = true
	} else {
		if t.large = false; was {
			t.chooseAll()
		}
		return now.Add(time.Minute)
	}
	t.probeMore(now)
	t.pick(now)
	return earlier(t.giveUp(now), t.probe)
}

func (t *Table) chooseAll() {
	for _, k := range t.peers {
		k.chosen = true
	}
}

// probeMore raises the number of picks while the links are thin.
func (t *Table) probeMore(now time.Time) {
	switch {
	case !t.thin:
		t.extra = 0
	case !now.Before(t.probe):
		t.extra = min(t.extra+probes, maxProbes)
	}
	if !now.Before(t.probe) {
		t.probe = now.Add(probeEvery)
	}
}

// pick chooses the best: those that can be reached before the others.
func (t *Table) pick(now time.Time) {
	var best []*known
	worse := func(a, b *known) int {
		return cmp.Or(cmp.Compare(a.tier(), b.tier()), byRank(a, b))
	}
	for _, k := range t.peers {
		k.chosen = false
		if k.static || k.link == nil && (len(k.targets) == 0 || now.Sub(k.given) < leftAlone) {
			continue
		}
		i, _ := slices.BinarySearchFunc(best, k, worse)
		if i == picks+t.extra {
			continue
		}
		best = slices.Insert(best, i, k)
		best = best[:min(len(best), picks+t.extra)]
	}
	for _, k := range best {
		k.chosen = true
	}
}

func (k *known) tier() int {
	if k.link == nil && k.failures > 0 {
		return 1
	}
	return 0
}

// crowded reports whether there are so many links that no more is taken.
func (t *Table) crowded() bool { return t.large && t.links() >= mostAtOnce }

// links counts the links with peers that are not static.
func (t *Table) links() (n int) {
	for _, k := range t.peers {
		if k.link != nil && !k.static && !k.closing {
			n++
		}
	}
	return n
}

// giveUp closes one link when there are too many, and returns when to look again.
func (t *Table) giveUp(now time.Time) time.Time {
	if t.links() <= most {
		return now.Add(time.Minute)
	}
	if now.Before(t.shed) {
		return t.shed
	}
	t.shed = now.Add(shedEvery)
	var worst *known
	for _, k := range t.peers {
		if k.link == nil || k.static || k.closing || now.Sub(k.linked) < settled {
			continue // the other end has not shown yet what it shares
		}
		if worst == nil || worst.worthMore(k) {
			worst = k
		}
	}
	if worst != nil {
		worst.closing, worst.given = true, now
		t.out = append(t.out, Close{worst.link})
	}
	return t.shed
}

// worthMore orders links by what they are worth: the idle ones are given up first, then those that were not chosen, then
// by rank.
func (k *known) worthMore(o *known) bool {
	if a, b := k.link.Idle(), o.link.Idle(); a != b {
		return b
	}
	if k.chosen != o.chosen {
		return k.chosen
	}
	return k.rank < o.rank
}
