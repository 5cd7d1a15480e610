package swarm

import (
	"sync"

	"github.com/dunlin-project/dunlin/fetch"
)

// maxLetters is how many events wait for a slow hearer before they are thrown away for a fresh picture of all members.
const maxLetters = 4096

// mailbox keeps the events of a room until its hearer takes them. It is guarded by the room's mutex, except for out and
// quit. Its memory is bounded: when too much waits, what waits is dropped and the members as they stand are told anew,
// which says the same in fewer words.
type mailbox struct {
	letters []fetch.Heard
	stale   bool // letters were dropped
	told    map[fetch.PeerID]bool
	noticed bool
	anyJoin bool
	wake    chan struct{} // cap 1: letters came
	quit    chan struct{} // closed by the room
	out     chan fetch.Heard
}

func newMailbox() *mailbox {
	return &mailbox{
		told: make(map[fetch.PeerID]bool), wake: make(chan struct{}, 1), quit: make(chan struct{}),
		out: make(chan fetch.Heard),
	}
}

func (b *mailbox) put(h fetch.Heard) {
	if b.stale || b.superfluous(h) || b.merge(h) {
		return
	}
	b.letters = append(b.letters, h)
	if len(b.letters) > maxLetters {
		b.letters, b.stale = nil, true
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// superfluous: Noticed and Answered are for those who have nobody yet, and come in turns; but who was noticed is news
// always.
func (b *mailbox) superfluous(h fetch.Heard) bool {
	switch h := h.(type) {
	case fetch.Noticed:
		if h.ID == "" && (b.noticed || b.anyJoin) {
			return true
		}
		b.noticed = true
	case fetch.Answered:
		if !b.noticed || b.anyJoin {
			return true
		}
		b.noticed = false
	case fetch.Joined:
		b.anyJoin = true
	}
	return false
}

// merge adds to the last letter when it says more of the same.
func (b *mailbox) merge(h fetch.Heard) bool {
	n := len(b.letters)
	if n == 0 {
		return false
	}
	now, ok1 := h.(fetch.Said)
	last, ok2 := b.letters[n-1].(fetch.Said)
	if !ok1 || !ok2 || now.ID != last.ID || now.Relayed != last.Relayed {
		return false
	}
	switch w := now.What.(type) {
	case fetch.SayHave:
		if l, ok := last.What.(fetch.SayHave); ok && l.First+l.Count == w.First && l.Drawn == w.Drawn {
			b.letters[n-1] = fetch.Said{ID: now.ID, Relayed: now.Relayed, What: fetch.SayHave{First: l.First, Count: l.Count + w.Count, Drawn: w.Drawn}}
			return true
		}
	case fetch.SayClaim:
		if l, ok := last.What.(fetch.SayClaim); ok && l.First == w.First {
			b.letters[n-1] = h
			return true
		}
	}
	return false
}

// replay tells of a member that was there before.
func (b *mailbox) replay(id fetch.PeerID, m *memberState, r *Room) {
	b.put(r.joined(id, m))
	for _, c := range m.claims {
		b.put(fetch.Said{ID: id, What: c})
	}
}

// refresh replaces what was dropped: who has gone, and who is there with all that is known of them.
func (b *mailbox) refresh(r *Room) {
	b.stale = false
	for id := range b.told {
		if r.members[id] == nil {
			b.letters = append(b.letters, fetch.Left{ID: id})
		}
	}
	if r.crowd > 0 {
		b.letters = append(b.letters, fetch.Crowd{Size: r.crowd})
	}
	for id, m := range r.members {
		b.letters = append(b.letters, r.joined(id, m))
		for _, c := range m.claims {
			b.letters = append(b.letters, fetch.Said{ID: id, What: c})
		}
	}
}

// take returns the next letter.
func (b *mailbox) take(r *Room) (fetch.Heard, bool) {
	if b.stale {
		b.refresh(r)
	}
	if len(b.letters) == 0 {
		b.letters = nil
		return nil, false
	}
	h := b.letters[0]
	b.letters[0] = nil
	b.letters = b.letters[1:]
	switch h := h.(type) {
	case fetch.Joined:
		b.told[h.ID] = true
	case fetch.Left:
		delete(b.told, h.ID)
	}
	return h, true
}

// deliver hands letters to the hearer until the room ends, then closes the channel.
func (b *mailbox) deliver(mu *sync.Mutex, r *Room) {
	defer close(b.out)
	for {
		mu.Lock()
		h, ok := b.take(r)
		mu.Unlock()
		if !ok {
			select {
			case <-b.wake:
				continue
			case <-b.quit:
				return
			}
		}
		select {
		case b.out <- h:
		case <-b.quit:
			return
		}
	}
}
