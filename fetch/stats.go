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
	Waste   int64
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

// counters are written by the transfers and read by the loop.
type counters struct {
	cache, peers atomic.Int64
	via          atomic.Int64 // of cache, what came by HTTP
	origin       [len(reasonWords)]atomic.Int64
	useful       atomic.Int64
}

func (c *counters) stats() Stats {
	var s Stats
	// useful is read first: a piece is counted as useful after its bytes, so waste never looks negative.
	useful := c.useful.Load()
	for i := range c.origin {
		s.OriginBy[i] = c.origin[i].Load()
		s.From.Origin += s.OriginBy[i]
	}
	s.From.Cache = c.cache.Load()
	s.From.Peers = c.peers.Load()
	s.Waste = s.From.Total() - useful
	return s
}
