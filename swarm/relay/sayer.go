package relay

import (
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// sayer is what is remembered of a device whose words were heard.
type sayer struct {
	id     fetch.PeerID
	first  *neighbour // who spoke for it first, or the device itself
	heard  time.Duration
	top    uint64 // the highest number
	window uint64 // bit i: number top-i was heard
	claims map[int]*standing
}

// standing is a claim in the name of a device that has no link to us.
type standing struct {
	via    *neighbour
	seq    uint64
	count  int
	over   bool // released, or the pieces are there; remembered so that an older word does not bring it back
	kept   bool // some of its pieces were said to be there
	said   time.Duration
	passed time.Duration
}

// fresh takes note of a number and reports whether it was not heard before. Words take several ways and overtake each
// other; what is more than 63 behind is dropped. Should somebody have used up the numbers in the device's name, it is
// forgotten after silentAfter and begins anew.
func (s *sayer) fresh(now time.Duration, seq uint64) bool {
	switch {
	case seq > s.top: // a shift by 64 and more leaves nothing
		s.window = s.window<<(seq-s.top) | 1
		s.top = seq
	case s.top-seq >= 64 || s.window>>(s.top-seq)&1 == 1:
		return false
	default:
		s.window |= 1 << (s.top - seq)
	}
	s.heard = now
	return true
}

// sayer returns the device's entry. It is nil when the neighbour speaks for too many, or all do.
func (r *Relay) sayer(now time.Duration, n *neighbour, id fetch.PeerID) *sayer {
	s := r.sayers[id]
	if s == nil {
		if n.id != id {
			if n.speaks >= maxSayers || len(r.sayers) >= maxAllSayers {
				return nil
			}
			n.speaks++
		}
		s = &sayer{id: id, first: n, heard: now, claims: make(map[int]*standing)}
		r.sayers[id] = s
	}
	return s
}

// forget drops all that is known of a sayer.
func (r *Relay) forget(s *sayer) {
	for first := range s.claims {
		s.drop(first)
	}
	if s.first.id != s.id {
		s.first.speaks--
	}
	delete(r.sayers, s.id)
}

// takes keeps the account of claims in others' names and reports whether the word is news.
func (r *Relay) takes(now time.Duration, n *neighbour, s *sayer, w Word) bool {
	switch what := w.What.(type) {
	case fetch.SayClaim:
		return s.claim(now, n, w.Seq, what)
	case fetch.SayRelease:
		return s.release(now, n, w.Seq, what)
	case fetch.SayHave:
		s.keep(w.Seq, what)
	}
	return true
}

// claim takes in a claim. One that only proceeds is news every progressEvery.
func (s *sayer) claim(now time.Duration, n *neighbour, seq uint64, what fetch.SayClaim) bool {
	c := s.claims[what.First]
	if c != nil && c.seq > seq {
		return false
	}
	proceeds := c != nil && !c.over && c.count == what.Count
	if !proceeds {
		if n.claims >= maxClaims || c == nil && !s.room() {
			return false
		}
		if c != nil {
			s.drop(what.First)
		}
		c = &standing{via: n, count: what.Count}
		s.claims[what.First] = c
		n.claims++
	}
	c.seq, c.said = seq, now
	if proceeds && now-c.passed < progressEvery {
		return false
	}
	c.passed = now
	return true
}

// release takes a claim back, even one that comes later by a longer way.
func (s *sayer) release(now time.Duration, n *neighbour, seq uint64, what fetch.SayRelease) bool {
	c := s.claims[what.First]
	switch {
	case c != nil && c.seq > seq:
		return false
	case c != nil:
		c.finish()
	case s.room():
		c = &standing{via: n, count: what.Count, over: true}
		s.claims[what.First] = c
	default:
		return true
	}
	c.seq, c.said = seq, now
	return true
}

// room makes room for one more claim, if there is one that is over: the oldest goes.
func (s *sayer) room() bool {
	if len(s.claims) < maxOfSayer {
		return true
	}
	oldest := -1
	for first, c := range s.claims {
		if c.over && (oldest < 0 || c.seq < s.claims[oldest].seq) {
			oldest = first
		}
	}
	if oldest < 0 {
		return false
	}
	s.drop(oldest)
	return true
}

// keep takes in that pieces are there. A claim whose first pieces came is no lie, and one whose last came is over: a word
// about it that was overtaken on the way does not bring it back.
func (s *sayer) keep(seq uint64, what fetch.SayHave) {
	for first, c := range s.claims {
		if what.First < first+c.count && first < what.First+what.Count {
			c.kept, c.seq = true, max(c.seq, seq)
			if what.First+what.Count >= first+c.count {
				c.finish()
			}
		}
	}
}

func (c *standing) finish() {
	if !c.over {
		c.over = true
		c.via.claims--
	}
}

func (s *sayer) drop(first int) {
	s.claims[first].finish()
	delete(s.claims, first)
}

// sweep forgets what is over, once in a second. A claim that came to nothing counts against the neighbour it came from:
// devices that die are few, and a neighbour that makes them up is not believed when it has done so too often.
func (r *Relay) sweep(now time.Duration) {
	if now-r.swept < time.Second {
		return
	}
	r.swept = now
	if now-r.minute >= time.Minute {
		r.minute = now
		for _, n := range r.order {
			n.broken = 0
		}
	}
	for _, s := range r.sayers {
		for first, c := range s.claims {
			if now-c.said < idleClaim {
				continue
			}
			if !c.over && !c.kept {
				c.via.broken++
			}
			s.drop(first)
		}
		if now-s.heard >= silentAfter {
			r.forget(s)
		}
	}
}
