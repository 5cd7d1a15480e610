package fetch

import "context"

// Via is what an Origin may be that asks LAN caching nodes by HTTP before the origins themselves.
type Via interface {
	Origin
	// Linked says how many caching nodes are members of the site now. What they have comes over their links, and what they
	// lack they fetch in their turn, as every member: asked by HTTP for the same, a node would wait for what this device
	// claims. File calls it at each change, from its own goroutine; it does not block.
	Linked(nodes int)
	// Wronged says that a member, which by its own word is a caching node, has sent a wrong piece: its disk may have lost it,
	// and only who got it can tell it. The member is banned all the same. File calls it at each such piece, from any
	// goroutine, before the member is taken for gone; it does not block.
	Wronged(by Joined, piece int)
}

// CacheSink is what a Sink may be that counts the bytes of caching nodes apart.
type CacheSink interface {
	Sink
	// CacheProgress is Progress for payload bytes that a caching node gave by HTTP.
	CacheProgress(ctx context.Context, n int)
}

// linked tells an origin that goes by way of caching nodes how many of them are members.
func (r *run) linked() {
	via, ok := r.opt.Origin.(Via)
	if !ok {
		return
	}
	n := 0
	for _, j := range r.peers {
		if j.Role == Cache {
			n++
		}
	}
	if n != r.nodes {
		r.nodes = n
		via.Linked(n)
	}
}

// complain has a caching node told that the piece it sent over its link is wrong. What comes by way of HTTP is the origin's own to
// complain of.
func (t *transfer) complain(piece int) {
	if via, ok := t.r.opt.Origin.(Via); ok && t.from.Role == Cache {
		via.Wronged(t.from, piece)
	}
}
