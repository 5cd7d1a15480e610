package fetch

import (
	"sync/atomic"
	"time"
)

// Stats says where the bytes of one fetch came from. It is the only source of every "saved" figure (design, section 10).
// All counts are payload bytes as they arrived, whole pieces or not.
type Stats struct {
	Content int64 // length of the content
	Resumed int64 // bytes that were there already when the fetch began
	From    From  // everything that arrived, waste included
	// OriginBy splits From.Origin by the reason why it was asked for, indexed by Reason.
	OriginBy [len(reasonWords)]int64
	// Waste is what arrived and was not needed: duplicates, bad pieces, pieces cut off in the middle.
	Waste int64
	// Uses says what became of From, kind by kind; all but what was useful is Waste.
	Uses    UsesBy
	Members int           // members of the site at this moment
	Elapsed time.Duration // since the fetch began
}

// From is bytes by kind of source.
type From struct {
	Origin int64 `json:"origin"`
	Cache  int64 `json:"cache"`
	Peers  int64 `json:"peers"`
}

// Total is all bytes that arrived.
func (f From) Total() int64 { return f.Origin + f.Cache + f.Peers }

// Useful is how many bytes of the content the fetch has stored.
func (s Stats) Useful() int64 { return s.From.Total() - s.Waste }

// Uses is what arrived from one kind of source, by what became of it.
type Uses struct {
	Useful    int64 // stored
	Duplicate int64 // right, and there already
	Corrupt   int64 // of pieces that do not match their hash
	Cut       int64 // of pieces that never became whole or could not be stored; while the fetch runs, also of those on their way
}

// UsesBy is Uses by kind of source.
type UsesBy struct{ Origin, Cache, Peers Uses }

// counters are written by the transfers and read by the loop.
type counters struct {
	cache, peers tally
	via          atomic.Int64 // of cache, what came by HTTP
	origin       [len(reasonWords)]tally
}

// tally is bytes of one kind of source, or of one reason to ask the origin.
type tally struct{ arrived, useful, duplicate, corrupt atomic.Int64 }

func (t *tally) uses() Uses {
	// What arrived is read last: a piece is judged after its bytes have come, so nothing ever looks negative.
	u := Uses{Useful: t.useful.Load(), Duplicate: t.duplicate.Load(), Corrupt: t.corrupt.Load()}
	u.Cut = t.arrived.Load() - u.Useful - u.Duplicate - u.Corrupt
	return u
}

func (u Uses) waste() int64 { return u.Duplicate + u.Corrupt + u.Cut }
func (u Uses) total() int64 { return u.Useful + u.waste() }

func (u Uses) plus(o Uses) Uses {
	return Uses{u.Useful + o.Useful, u.Duplicate + o.Duplicate, u.Corrupt + o.Corrupt, u.Cut + o.Cut}
}

func (c *counters) stats() Stats {
	s := Stats{Uses: UsesBy{Cache: c.cache.uses(), Peers: c.peers.uses()}}
	for i := range c.origin {
		u := c.origin[i].uses()
		s.OriginBy[i] = u.total()
		s.Uses.Origin = s.Uses.Origin.plus(u)
	}
	s.From = From{Origin: s.Uses.Origin.total(), Cache: s.Uses.Cache.total(), Peers: s.Uses.Peers.total()}
	s.Waste = s.Uses.Origin.waste() + s.Uses.Cache.waste() + s.Uses.Peers.waste()
	return s
}
