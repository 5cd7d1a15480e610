package swarm

import (
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm/group"
	"github.com/dunlin-project/dunlin/swarm/piece"
	"github.com/dunlin-project/dunlin/swarm/relay"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// Holding is content that is there, wholly or in part, to be served. store.Partial and store.File are. Its methods are
// safe for concurrent use.
type Holding interface {
	Manifest() *piecehash.Manifest
	Bitmap() piecehash.Bitmap // owned by the caller
	// ReadPiece returns piece i, in buf if that is large enough. Only checked pieces are returned.
	ReadPiece(i int, buf []byte) ([]byte, error)
}

// maxClaims bounds the claims that are remembered of one member: the grid has at most 512 spans of 16 MiB for all but
// the largest files, and a member fetches few at a time.
const maxClaims = 512

// keptReleases is how many later changes of claims a release outlives whose pieces are all there, so that every link has told
// it. On a link that is further behind the claim ends with its lease.
const keptReleases = 64

// Room is one content, shared with the members of the site. It implements fetch.Site. Make it with Node.Join. A room
// that nobody hears just seeds.
type Room struct {
	node    *Node
	holding Holding
	m       *piecehash.Manifest
	refs    []group.Ref // by the number of the key
	content *piece.Content

	mu      sync.Mutex // guards the rest; nothing else is locked while it is held
	have    piecehash.Bitmap
	drawn   piecehash.Bitmap   // of these, what was said to come from the origin
	log     []logged           // what was said to be had since Join, for links that are behind
	claims  map[int]*ownClaim  // by first piece
	claimNo uint64             // of the newest change of a claim
	links   map[*link]struct{} // that share the content: to be woken
	waiting map[*link]struct{} // that have not answered our interest yet
	members map[fetch.PeerID]*memberState
	relay   *relay.Relay
	linkNo  uint64      // of the newest list of our links
	later   *time.Timer // to make one; nil: nothing has changed
	crowd   int         // as was told to box
	marked  []*link     // that have words to pass on
	box     *mailbox    // nil while nobody hears
	closed  bool
}

// logged is one piece that was said to be had. Runs are made when the log is read. One that came from the origin has the
// number of that word.
type logged struct {
	seq   uint64
	piece int32
}

// ownClaim is what we said last about a span.
type ownClaim struct {
	no, seq  uint64
	say      fetch.SayClaim
	released bool
}

// memberState is what a member has said.
type memberState struct {
	link   *link
	have   piecehash.Bitmap
	claims map[int]fetch.SayClaim
	words  []relay.Word // of others, to be passed on to it
}

func newRoom(n *Node, h Holding) *Room {
	r := &Room{
		node: n, holding: h, m: h.Manifest(), have: h.Bitmap(), drawn: piecehash.NewBitmap(h.Manifest().Pieces()),
		claims: make(map[int]*ownClaim), links: make(map[*link]struct{}), waiting: make(map[*link]struct{}),
		members: make(map[fetch.PeerID]*memberState),
		relay:   relay.New(n.ID(), uint64(max(0, time.Now().UnixMilli()))),
	}
	r.content = piece.NewContent(r.m, r)
	for _, k := range n.auth.Keys {
		r.refs = append(r.refs, k.Swarm(r.m.Root()))
	}
	return r
}

// Say implements fetch.Site.
func (r *Room) Say(s fetch.Saying) {
	r.mu.Lock()
	r.say(s)
	links := make([]*link, 0, len(r.links))
	for l := range r.links {
		links = append(links, l)
	}
	r.mu.Unlock()
	for _, l := range links {
		l.mark(r)
	}
}

func (r *Room) say(s fetch.Saying) {
	switch s := s.(type) {
	case fetch.SayHave:
		r.sayHave(s)
	case fetch.SayClaim:
		if r.valid(s.First, s.Count) {
			r.claimNo++
			r.claims[s.First] = &ownClaim{no: r.claimNo, seq: r.relay.Say(s).Seq, say: s}
		}
	case fetch.SayRelease:
		if c := r.claims[s.First]; c != nil && !c.released {
			r.release(c)
		}
	}
}

func (r *Room) release(c *ownClaim) {
	r.claimNo++
	c.no, c.released = r.claimNo, true
	c.seq = r.relay.Say(fetch.SayRelease{First: c.say.First, Count: c.say.Count}).Seq
}

func (r *Room) valid(first, count int) bool {
	return first >= 0 && count > 0 && first < r.m.Pieces() && count <= r.m.Pieces()-first
}

func (r *Room) sayHave(s fetch.SayHave) {
	if !r.valid(s.First, s.Count) {
		return
	}
	for i := s.First; i < s.First+s.Count; i++ {
		if !r.have.Set(i) {
			continue
		}
		if s.Drawn {
			r.drawn.Set(i)
		}
		seq := r.relay.Say(fetch.SayHave{First: i, Count: 1, Drawn: s.Drawn}).Seq
		r.log = append(r.log, logged{seq, int32(i)})
	}
	r.endClaims()
}

// endClaims ends our claims of which nothing is missing. Members without a link to us hear of what we drew only: of a claim that
// others have filled in part they would wait for the rest until its lease ends, so it is taken back.
func (r *Room) endClaims() {
	for first, c := range r.claims {
		switch {
		case !covers(r.have, first, c.say.Count):
		case !c.released && !covers(r.drawn, first, c.say.Count):
			r.release(c)
		case !c.released || r.claimNo-c.no >= keptReleases:
			delete(r.claims, first)
		}
	}
}

// covers reports whether all of these pieces are in the set.
func covers(set piecehash.Bitmap, first, count int) bool {
	missing := set.NextMissing(first)
	return missing < 0 || missing >= first+count
}

// Hear implements fetch.Site.
func (r *Room) Hear() <-chan fetch.Heard {
	fresh := r.node.noticedNow(time.Now())
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.box != nil {
		panic("swarm: Hear is called twice")
	}
	r.box = newMailbox()
	if r.closed {
		close(r.box.out)
		return r.box.out
	}
	if len(r.members) == 0 && (len(r.waiting) > 0 || r.node.courted()) {
		r.box.put(fetch.Noticed{})
	}
	for id, m := range r.members {
		r.box.replay(id, m, r)
	}
	for _, id := range fresh {
		if r.members[id] == nil {
			r.box.put(fetch.Noticed{ID: id})
		}
	}
	if r.crowd > 0 {
		r.box.put(fetch.Crowd{Size: r.crowd})
	}
	r.node.wg.Go(func() { r.box.deliver(&r.mu, r) })
	return r.box.out
}

// Close leaves: members are told, nothing is served any more, and the channel of Hear is closed.
func (r *Room) Close() error {
	r.node.forget(r)
	r.shut()
	return nil
}

// shut ends what Hear began. It is also the end of every room when the node's Run ends.
func (r *Room) shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	if r.later != nil {
		r.later.Stop()
	}
	if r.box != nil {
		close(r.box.quit)
	}
}

// joined is the member as fetch sees it.
func (r *Room) joined(id fetch.PeerID, m *memberState) fetch.Joined {
	return fetch.Joined{
		ID: id, Role: m.link.role, Have: m.have.Clone(), RTT: m.link.rtt, Addr: m.link.addr,
		Peer: &source{room: r, link: m.link},
	}
}

// enter: the link's peer has said all it has.
func (r *Room) enter(l *link, have piecehash.Bitmap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	delete(r.waiting, l)
	m := &memberState{link: l, have: have, claims: make(map[int]fetch.SayClaim)}
	r.members[l.id] = m
	r.relay.Joined(l.id)
	r.linksChanged()
	if r.box != nil {
		r.box.put(r.joined(l.id, m))
	}
}

// thin: something is missing, and so few links share the content that there may be others who have it.
func (r *Room) thin() bool {
	const enough = 8 // as many as a device of a large site looks for
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.box != nil && len(r.members) < enough && !r.have.Full()
}

// admit adds a link that the content is offered on. It reports false when the room is closed.
func (r *Room) admit(l *link) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.links[l], r.waiting[l] = struct{}{}, struct{}{}
	return true
}

// drop: the link is gone.
func (r *Room) drop(l *link) {
	r.mu.Lock()
	delete(r.links, l)
	r.mu.Unlock()
	r.leave(l)
}

// answered: the peer does not share the content now.
func (r *Room) answered(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, l)
	r.settle()
}

// leave: the link is gone, or its peer does not share the content any more.
func (r *Room) leave(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, l)
	if m := r.members[l.id]; m != nil && m.link == l {
		delete(r.members, l.id)
		r.relay.Left(l.id)
		r.linksChanged()
		if r.box != nil {
			r.box.put(fetch.Left{ID: l.id})
		}
	}
	r.settle()
}

// hears applies what a member has said of itself, and lets others know. What lies outside the content is the peer's fault.
func (r *Room) hears(l *link, runs []wire.Run, s fetch.Saying, seq uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[l.id]
	if m == nil || m.link != l {
		return true
	}
	switch s := s.(type) {
	case nil:
		if !r.hearHaves(l.id, m, runs, seq > 0) {
			return false
		}
		if seq == 0 {
			return true
		}
		r.passOn(l, relay.Word{Sayer: l.id, Seq: seq, Hops: relay.MaxHops, What: fetch.SayHave{First: runs[0].First, Count: runs[0].Count, Drawn: true}})
		return true
	case fetch.SayClaim:
		if !r.valid(s.First, s.Count) {
			return false
		}
		if _, ok := m.claims[s.First]; !ok && len(m.claims) >= maxClaims {
			return true
		}
		m.claims[s.First] = s
	case fetch.SayRelease:
		if !r.valid(s.First, s.Count) {
			return false
		}
		delete(m.claims, s.First)
	}
	r.tell(fetch.Said{ID: l.id, What: s})
	r.passOn(l, relay.Word{Sayer: l.id, Seq: seq, Hops: relay.MaxHops, What: s})
	return true
}

func (r *Room) hearHaves(id fetch.PeerID, m *memberState, runs []wire.Run, drawn bool) bool {
	for _, run := range runs {
		if !r.valid(run.First, run.Count) {
			return false
		}
		fresh := false
		for i := run.First; i < run.First+run.Count; i++ {
			fresh = m.have.Set(i) || fresh
		}
		if fresh {
			r.tell(fetch.Said{ID: id, What: fetch.SayHave{First: run.First, Count: run.Count, Drawn: drawn}})
		}
	}
	for first, c := range m.claims {
		if covers(m.have, first, c.Count) {
			delete(m.claims, first)
		}
	}
	return true
}

func (r *Room) tell(h fetch.Heard) {
	if r.box != nil && !r.closed {
		r.box.put(h)
	}
}

// courted: somebody may become a member any moment, or (false) nobody may any more but who is asked already.
func (r *Room) courted(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if yes && len(r.members) == 0 {
		r.tell(fetch.Noticed{})
	}
	if !yes {
		r.settle()
	}
}

// noticed: discovery has found a device of the group, which may become a member.
func (r *Room) noticed(id fetch.PeerID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.members[id] == nil {
		r.tell(fetch.Noticed{ID: id})
	}
}

// settle says so when nobody is left to wait for. The caller holds the room's mutex.
func (r *Room) settle() {
	if len(r.members) == 0 && len(r.waiting) == 0 && !r.node.courted() {
		r.tell(fetch.Answered{})
	}
}

// Has implements piece.Source.
func (r *Room) Has(i int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.closed && r.have.Has(i)
}

// ReadPiece implements piece.Source.
func (r *Room) ReadPiece(i int, buf []byte) ([]byte, error) { return r.holding.ReadPiece(i, buf) }
