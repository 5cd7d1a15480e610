package fetch

import "time"

// LiveClaim is a member's claim that the decision believes in: it fetches none of these pieces from the origin.
type LiveClaim struct {
	By           PeerID
	First, Count int           // in pieces
	Ends         time.Duration // when its lease ends unless it moves before
}

// LiveClaims yields the claims of all members, for who wants to see why nothing is drawn.
func (d *Core) LiveClaims(yield func(LiveClaim) bool) {
	for m := range d.everyone {
		for _, c := range m.claims {
			if !yield(LiveClaim{By: m.id, First: c.first, Count: c.end - c.first, Ends: c.ends()}) {
				return
			}
		}
	}
}
