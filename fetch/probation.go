package fetch

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/dunlin-project/dunlin/piecehash"
)

// probation is what the pieces of one member have turned out to be so far. Until one has checked out they are checked one
// after the other, and after a wrong one none is looked at any more: a member is asked for several pieces at once, and on
// two processors both of a liar's first two would be checked, and found wrong, at the same moment.
type probation struct {
	over atomic.Bool // a piece has checked out
	mu   sync.Mutex
	liar bool // a piece was wrong; under mu
}

// errLiar is the end of a piece that came after a wrong one of the same member.
var errLiar = errors.New("the peer has sent a bad piece before")

// put stores a piece of the member by way of store, unless the member is known as a liar.
func (p *probation) put(store func() (bool, error)) (fresh bool, err error) {
	if p.over.Load() {
		return store()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.liar {
		return false, errLiar
	}
	fresh, err = store()
	switch {
	case err == nil:
		p.over.Store(true)
	case errors.As(err, new(*piecehash.Mismatch)):
		p.liar = true
	}
	return fresh, err
}

// probationOf returns what is known of a member. One that leaves and comes again begins anew: strangers without end must not
// fill the memory, and a liar is banned by then.
func (r *run) probationOf(p PeerID) *probation {
	if r.knows[p] == nil {
		r.knows[p] = &probation{}
	}
	return r.knows[p]
}
