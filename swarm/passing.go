package swarm

import (
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/swarm/relay"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// This file is what members say of others: words that are passed on, and who is linked to whom. Package relay decides.

const (
	linksLater = 500 * time.Millisecond // from a change of links to telling of it: at a start there are many
	maxWords   = 512                    // that wait for a slow link; the oldest are dropped
)

// linksChanged sees to it that neighbours are told of our links, not at each change. The caller holds the room's mutex.
func (r *Room) linksChanged() {
	if r.later == nil && !r.closed {
		r.later = time.AfterFunc(linksLater, r.tellLinks)
	}
}

// tellLinks makes every link say what has changed, and tells the hearer how many members there are without one.
func (r *Room) tellLinks() {
	r.mu.Lock()
	r.later = nil
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.linkNo++
	if size := r.relay.Size(); size != r.crowd {
		r.crowd = size
		r.tell(fetch.Crowd{Size: size})
	}
	links := make([]*link, 0, len(r.links))
	for l := range r.links {
		links = append(links, l)
	}
	r.mu.Unlock()
	for _, l := range links {
		l.mark(r)
	}
}

// passOn lets relay decide on a word and puts it where it has to go. It returns whether the word is news here. The caller
// holds the room's mutex.
func (r *Room) passOn(from *link, w relay.Word) bool {
	deliver, forward := r.relay.Heard(time.Since(r.node.born), from.id, w)
	for _, id := range forward {
		m := r.members[id]
		if m == nil {
			continue
		}
		m.words = append(m.words, w.Passed())
		if n := len(m.words); n > maxWords {
			m.words = m.words[n-maxWords:]
		}
		r.marked = append(r.marked, m.link)
	}
	return deliver
}

// hearsOf applies what a member passes on.
func (r *Room) hearsOf(l *link, w relay.Word) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[l.id]; m == nil || m.link != l {
		return true
	}
	ok := false
	switch s := w.What.(type) {
	case fetch.SayHave:
		ok = r.valid(s.First, s.Count)
	case fetch.SayClaim:
		ok = r.valid(s.First, s.Count)
	case fetch.SayRelease:
		ok = r.valid(s.First, s.Count)
	}
	if ok && r.passOn(l, w) {
		r.tell(fetch.Said{ID: w.Sayer, Relayed: true, What: w.What})
	}
	return ok
}

// hearsLinks takes in whom a member is linked to.
func (r *Room) hearsLinks(l *link, m *wire.Links) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.members[l.id]; o != nil && o.link == l {
		r.relay.Linked(l.id, m.Anew, m.Linked, m.Unlinked)
		r.linksChanged() // the crowd may have
	}
}

// takeMarked returns the links that have words to pass on.
func (r *Room) takeMarked() []*link {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.marked
	r.marked = nil
	return out
}

// hearWord applies a word: the peer's own, or another's that it passes on.
func (l *link) hearWord(number uint32, runs []wire.Run, s fetch.Saying, w wire.Word) error {
	r := l.roomOf(number)
	if r == nil {
		return nil
	}
	ok := false
	if w.Sayer == "" {
		ok = r.hears(l, runs, s, w.Seq)
	} else {
		id, err := peer.IDFromBytes([]byte(w.Sayer))
		if err != nil {
			return fmt.Errorf("%w: a word of nobody", wire.ErrMalformed)
		}
		if s == nil {
			s = fetch.SayHave{First: runs[0].First, Count: runs[0].Count, Drawn: true}
		}
		ok = r.hearsOf(l, relay.Word{Sayer: fetch.PeerID(id.String()), Seq: w.Seq, Hops: w.Hops, What: s})
	}
	for _, o := range r.takeMarked() {
		o.mark(r)
	}
	if !ok {
		return fmt.Errorf("%w: pieces beyond the content", wire.ErrMalformed)
	}
	return nil
}

// linkNews returns what the peer does not know of our links. The caller holds the room's mutex.
func (r *Room) linkNews(s *seat, m *memberState) []wire.Site {
	out := &wire.Links{Room: s.ours, Anew: s.links == nil}
	now := make(map[relay.Short]bool)
	for _, x := range r.relay.Links() {
		if x == relay.ShortOf(m.link.id) {
			continue // it knows
		}
		now[x] = true
		if !s.links[x] {
			out.Linked = append(out.Linked, x)
		}
	}
	for x := range s.links {
		if !now[x] {
			out.Unlinked = append(out.Unlinked, x)
		}
	}
	s.links, s.linkNo = now, r.linkNo
	if !out.Anew && len(out.Linked) == 0 && len(out.Unlinked) == 0 {
		return nil
	}
	return []wire.Site{out}
}

// wordNews returns what is passed on to the peer.
func wordNews(room uint32, words []relay.Word) (out []wire.Site) {
	for _, w := range words {
		id, err := peer.Decode(string(w.Sayer))
		if err != nil {
			continue // it came in as one
		}
		by := wire.Word{Sayer: string(id), Seq: w.Seq, Hops: w.Hops}
		switch s := w.What.(type) {
		case fetch.SayHave:
			out = append(out, &wire.Have{Room: room, Runs: []wire.Run{{First: s.First, Count: s.Count}}, Word: by})
		case fetch.SayClaim:
			out = append(out, &wire.Claim{Room: room, Run: wire.Run{First: s.First, Count: s.Count}, Rate: s.Rate, Done: s.Done, Word: by})
		case fetch.SayRelease:
			out = append(out, &wire.Release{Room: room, Run: wire.Run{First: s.First, Count: s.Count}, Word: by})
		}
	}
	return out
}
