package swarm

import (
	"fmt"
	"maps"
	"slices"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm/group"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// This file is what is said on the control stream of a link: which contents both ends share, what each has and claims.

// share offers the room to the peer. It is called for each pair of link and room, perhaps twice.
func (l *link) share(r *Room) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.seats[r] != nil || len(l.seats) >= maxRooms {
		return
	}
	s := l.theirSeat(r)
	if s == nil {
		s = &seat{ref: r.refs[l.key]}
	}
	if !r.admit(l) {
		return
	}
	l.last++
	s.room, s.ours, s.told = r, l.last, false
	l.seats[r] = s
	l.queue = append(l.queue, &wire.Interest{Room: s.ours, Swarm: s.ref.ID, Epoch: s.ref.Epoch, Pieces: r.m.Pieces()})
	l.dirty[r] = struct{}{}
	l.wakeWriter()
}

// mark says that the room has news for the peer.
func (l *link) mark(r *Room) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seats[r] != nil {
		l.dirty[r] = struct{}{}
		l.wakeWriter()
	}
}

// theirSeat returns the seat of a peer that asked for the room's content before we had it.
func (l *link) theirSeat(r *Room) *seat {
	for _, s := range l.theirs {
		if s.room == nil && s.pieces == r.m.Pieces() && slices.Contains(r.refs, s.ref) {
			return s
		}
	}
	return nil
}

// unshare takes the offer back.
func (l *link) unshare(r *Room) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.seats[r]
	if s == nil {
		return
	}
	delete(l.seats, r)
	delete(l.dirty, r)
	s.room, s.told, s.incoming = nil, false, nil
	l.queue = append(l.queue, &wire.Leave{Room: s.ours})
	l.wakeWriter()
}

// collect returns what is to be said now, framed, or nothing.
func (l *link) collect() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b []byte
	for _, m := range l.queue {
		b = append(b, wire.EncodeSite(m)...)
	}
	l.queue = nil
	for r := range l.dirty {
		s := l.seats[r]
		if !s.wants {
			continue
		}
		for _, m := range r.news(l, s) {
			b = append(b, wire.EncodeSite(m)...)
		}
	}
	clear(l.dirty)
	return b
}

// news returns what the seat's peer has not been told yet. The caller holds the link's mutex.
func (r *Room) news(l *link, s *seat) []wire.Site {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []wire.Site
	if !s.told {
		out = bitmapParts(s.ours, r.have)
		s.told, s.cursor, s.claimNo, s.linkNo, s.links = true, len(r.log), 0, 0, nil
	}
	if s.cursor < len(r.log) {
		out = append(out, haves(s.ours, r.log[s.cursor:])...)
		s.cursor = len(r.log)
	}
	if s.claimNo < r.claimNo {
		out = append(out, r.claimNews(s)...)
		s.claimNo = r.claimNo
	}
	if m := r.members[l.id]; m != nil && m.link == l {
		if s.linkNo < r.linkNo {
			out = append(out, r.linkNews(s, m)...)
		}
		out = append(out, wordNews(s.ours, m.words)...)
		m.words = nil
	}
	return out
}

func (r *Room) claimNews(s *seat) []wire.Site {
	var out []wire.Site
	for _, first := range slices.Sorted(maps.Keys(r.claims)) {
		c := r.claims[first]
		run := wire.Run{First: first, Count: c.say.Count}
		switch {
		case c.no <= s.claimNo:
		case !c.released:
			out = append(out, &wire.Claim{
				Room: s.ours, Run: run,
				Rate: min(max(c.say.Rate, 0), wire.MaxRate), Done: min(max(c.say.Done, 0), wire.MaxDone),
				Word: wire.Word{Seq: c.seq},
			})
		case s.claimNo > 0: // who has heard nothing yet need not hear that it is over
			out = append(out, &wire.Release{Room: s.ours, Run: run, Word: wire.Word{Seq: c.seq}})
		}
	}
	return out
}

func bitmapParts(room uint32, have piecehash.Bitmap) []wire.Site {
	switch {
	case have.Full():
		return []wire.Site{&wire.Bitmap{Room: room, Full: true, Last: true}}
	case have.Count() == 0:
		return []wire.Site{&wire.Bitmap{Room: room, Last: true}}
	}
	var out []wire.Site
	b := have.Bytes()
	for first := 0; len(b) > 0; first += 8 * wire.MaxBitmapPart {
		n := min(len(b), wire.MaxBitmapPart)
		out = append(out, &wire.Bitmap{Room: room, First: first, Bits: b[:n], Last: n == len(b)})
		b = b[n:]
	}
	return out
}

// haves makes runs of what was logged. First copies have a message each, with its number.
func haves(room uint32, log []logged) (out []wire.Site) {
	var runs []wire.Run
	flush := func() {
		if len(runs) > 0 {
			out, runs = append(out, &wire.Have{Room: room, Runs: runs}), nil
		}
	}
	for _, p := range log {
		i := int(p.piece)
		if p.seq > 0 {
			out = append(out, &wire.Have{Room: room, Runs: []wire.Run{{First: i, Count: 1}}, Word: wire.Word{Seq: p.seq}})
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].First+runs[n-1].Count == i {
			runs[n-1].Count++
			continue
		}
		if len(runs) == wire.MaxRuns {
			flush()
		}
		runs = append(runs, wire.Run{First: i, Count: 1})
	}
	flush()
	return out
}

// hear applies one message of the peer's. An error is its fault and ends the link.
func (l *link) hear(m wire.Site) error {
	switch m := m.(type) {
	case *wire.Interest:
		return l.hearInterest(m)
	case *wire.Bitmap:
		return l.hearBitmap(m)
	case *wire.Have:
		return l.hearWord(m.Room, m.Runs, nil, m.Word)
	case *wire.Claim:
		return l.hearWord(m.Room, nil, fetch.SayClaim{First: m.Run.First, Count: m.Run.Count, Rate: m.Rate, Done: m.Done}, m.Word)
	case *wire.Release:
		return l.hearWord(m.Room, nil, fetch.SayRelease{First: m.Run.First, Count: m.Run.Count}, m.Word)
	case *wire.Links:
		if r := l.roomOf(m.Room); r != nil {
			r.hearsLinks(l, m)
		}
	case *wire.Absent:
		l.hearAbsent(m)
	case *wire.Leave:
		l.hearLeave(m)
	}
	return nil
}

func (l *link) hearInterest(m *wire.Interest) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.theirs[m.Room] != nil:
		return fmt.Errorf("%w: interest with a number that is in use", wire.ErrMalformed)
	case len(l.theirs) >= maxRooms, len(l.queue) >= maxReplies:
		return fmt.Errorf("%w: more than %d contents", wire.ErrMalformed, maxRooms)
	}
	ref := group.Ref{Epoch: m.Epoch, ID: m.Swarm}
	s := l.seatOf(ref, m.Pieces)
	if s == nil {
		s = &seat{ref: ref}
		l.queue = append(l.queue, &wire.Absent{Room: m.Room})
	}
	s.wants, s.their, s.pieces, s.told = true, m.Room, m.Pieces, false
	l.theirs[m.Room] = s
	if s.room != nil {
		l.dirty[s.room] = struct{}{}
	}
	l.wakeWriter()
	return nil
}

// seatOf returns our seat for the content, which the peer has not taken yet. A content that was just joined and whose
// share is still to come is found then.
func (l *link) seatOf(ref group.Ref, pieces int) *seat {
	for r, s := range l.seats {
		if !s.wants && r.m.Pieces() == pieces && slices.Contains(r.refs, ref) {
			return s
		}
	}
	return nil
}

// incoming is a bitmap whose parts are still coming.
type incoming struct{ bits []byte }

func (l *link) hearBitmap(m *wire.Bitmap) error {
	l.mu.Lock()
	s := l.theirs[m.Room]
	if s == nil || s.room == nil {
		l.mu.Unlock()
		return nil // we have left meanwhile
	}
	r := s.room
	have, done, err := s.assemble(m, r.m.Pieces())
	l.mu.Unlock()
	if err == nil && done {
		r.enter(l, have)
	}
	return err
}

func (s *seat) assemble(m *wire.Bitmap, pieces int) (have piecehash.Bitmap, done bool, err error) {
	if m.Full {
		return fullBitmap(pieces), true, nil
	}
	if s.incoming == nil {
		s.incoming = new(incoming)
	}
	in := s.incoming
	if m.First == 0 {
		in.bits = nil
	}
	if len(in.bits)+len(m.Bits) > (pieces+7)/8 {
		return have, false, fmt.Errorf("%w: bitmap of more pieces than there are", wire.ErrMalformed)
	}
	if m.First != 8*len(in.bits) {
		return have, false, nil // the rest of one that began before we left and came back
	}
	in.bits = append(in.bits, m.Bits...)
	if !m.Last {
		return have, false, nil
	}
	s.incoming = nil
	if len(in.bits) == 0 {
		return piecehash.NewBitmap(pieces), true, nil
	}
	have, err = piecehash.ParseBitmap(pieces, in.bits)
	if err != nil {
		err = fmt.Errorf("%w: %w", wire.ErrMalformed, err)
	}
	return have, true, err
}

func fullBitmap(n int) piecehash.Bitmap {
	b := piecehash.NewBitmap(n)
	for i := range n {
		b.Set(i)
	}
	return b
}

// roomOf returns the room that the peer means, or nil.
func (l *link) roomOf(number uint32) *Room {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.theirs[number]; s != nil {
		return s.room
	}
	return nil
}

// numberOf returns our number for the room, 0 when it is not shared on this link.
func (l *link) numberOf(r *Room) uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.seats[r]; s != nil {
		return s.ours
	}
	return 0
}

func (l *link) hearAbsent(m *wire.Absent) {
	l.mu.Lock()
	var r *Room
	for room, s := range l.seats {
		if s.ours == m.Room {
			r = room
		}
	}
	l.mu.Unlock()
	if r != nil {
		r.answered(l)
	}
}

func (l *link) hearLeave(m *wire.Leave) {
	l.mu.Lock()
	s := l.theirs[m.Room]
	delete(l.theirs, m.Room)
	var r *Room
	if s != nil {
		r = s.room
		s.wants, s.told, s.incoming = false, false, nil
	}
	l.mu.Unlock()
	if r != nil {
		r.leave(l)
	}
}
