package fetch

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
)

// Limits of the decision. Bytes where no unit is named.
const (
	maxSpan        = 16 << 20 // a span of the grid (rule 1)
	spansPerFile   = 256      // the grid aims at this many spans
	frontSpans     = 16       // free spans among which rank decides
	frontPieces    = 32       // pieces that come before others of the same rarity, in one block after the other
	meshMost       = 64       // devices of a site in which everybody has a link to everybody (rule 8)
	minStreams     = 2        // origin streams of a site at the start (rule 4)
	maxStreams     = 8        // and at most
	minSubRange    = 1 << 20  // one origin request beside others (rule 5)
	maxSubRange    = 8 << 20  // one origin request when alone
	minInFlight    = 256 << 10
	maxInFlight    = 8 << 20
	maxUnverified  = 16 << 20 // asked of peers and not yet checked, over all links
	minLease       = 3 * time.Second
	coldQuiet      = 150 * time.Millisecond  // rule 2: nobody has answered
	coldMost       = 400 * time.Millisecond  // rule 2: at most
	coldSettle     = 25 * time.Millisecond   // rule 2: after a bitmap, for those that arrive with it
	coldFew        = 3                       // rule 2: bitmaps that are waited for where so many more are still to come
	lonerAfter     = time.Second             // without a member for so long: there is none
	claimEvery     = 500 * time.Millisecond  // a claim is said again at least this often while it moves
	claimBytes     = 1 << 20                 // and after this many bytes
	maxClaims      = 16                      // live claims of one member that are heard
	mostBroken     = 3                       // claims in a row that came to nothing: then no other of the member is heard
	rateSlack      = 2                       // a claimer may say so many times the rate that its progress shows
	maxETA         = 3600                    // seconds
	slowLAN        = 5 * time.Second         // rule 11
	slowerLAN      = 1.3                     // rule 11: so many times
	thinShare      = 4                       // a device that draws so many times slower than another leaves the origin to it
	debtTime       = 250 * time.Millisecond  // of this device's origin rate: what it may have drawn and not passed on
	maxDebt        = 8 << 20                 // and at most
	thinAfter      = time.Second             // in debt for so long: this device's uplink is too thin to be an owner
	thinFor        = 30 * time.Second        // and so long that holds
	minUnstarted   = 60 * time.Millisecond   // a request without a byte for so long goes to an idle holder instead:
	maxUnstarted   = 150 * time.Millisecond  // some times what the best link needs for a piece, within these
	stealAge       = time.Second             // a younger claim is not stolen: the rate that it says comes of its first bytes
	stuckDraw      = time.Second             // an origin range without a byte for so long may be asked of members
	minAskPatience = 2 * time.Second         // a request without a byte
	unknownAsk     = 1250 * time.Millisecond // the same, of a member that has never answered: a live one does within a second
	minAsked       = 4                       // pieces that may be asked for over all links, however slow this device's line
	askedTime      = 2 * time.Second         // of what the line brings: what may be asked for over all links
	meshTime       = 5 * time.Second         // a first copy that is known by hearsay only may take so long to a neighbour
	fewLeft        = 8                       // pieces: with fewer missing none is risked on a member that has failed
	maxDistant     = 512                     // members without a link that are remembered
	noticedTime    = 3 * time.Second         // so long a device that was noticed counts as one that starts beside this one
)

// Config is what a Core is made from.
type Config struct {
	Self    PeerID
	Content piecehash.Content
	Have    piecehash.Bitmap // pieces that are stored already; the Core takes a copy
	Origin  bool             // whether this device may use the origin at all
	Warm    bool             // whether LAN links are up already: then nothing waits at the start (rule 2)
	// Delay keeps the origin closed for so long after the start (policy, rule 13). It ends early when nobody is
	// there to wait for: otherwise a device alone would stand still for nothing.
	Delay time.Duration
	// Seed makes the random choices repeatable.
	Seed uint64
}

// Action is what the decision asks for: one of Ask, Cancel, Draw, Cut and Tell.
type Action interface{ action() }

// Ask means: fetch Piece from Peer.
type Ask struct {
	Peer  PeerID
	Piece int
}

// Cancel means: the piece is no longer wanted from this peer.
type Cancel struct {
	Peer  PeerID
	Piece int
}

// Draw means: fetch Count pieces from First on from the origin with one range. Warn asks for a call of DrawProgress as
// soon as no more than Warn bytes are left, so that the next range is asked for in time and the line never idles.
type Draw struct {
	ID           int
	First, Count int
	Why          Reason
	Warn         int64
}

// Cut means: break off the range of the draw with this ID, nothing of it is wanted any more. The draw has ended with it.
type Cut struct{ ID int }

// Tell means: say this to the site.
type Tell struct{ What Saying }

func (Ask) action()    {}
func (Cancel) action() {}
func (Draw) action()   {}
func (Cut) action()    {}
func (Tell) action()   {}

// Core decides what to ask of whom: what this device has, what members have and claim, how fast each is, what policy
// allows and what time it is go in, actions come out. It does no I/O. Time is given as the duration since the fetch
// began. All state belongs to the one goroutine that calls it; File is that in production.
//
// The rules it follows are those of the design, section 6; each is named where it is carried out.
type Core struct {
	cfg   Config
	c     piecehash.Content
	rng   *rand.Rand
	grid  grid
	have  piecehash.Bitmap
	piece []pieceState

	key            uint64 // of this device, see peerKey
	members        map[PeerID]*member
	order          []*member          // sorted by key: the ranking that all devices share
	ranks          []uint16           // per span: how many members rank above this device (incremental owner map)
	askable        []int              // pieces to look at when a link is free; may hold stale entries
	inAsk          int64              // bytes asked of peers and not arrived
	distant        []*member          // members without a link (rule 8), sorted by key
	crowd          int                // members of the site in all, where there are more than this device has links to; else 0
	doubled        int64              // bytes asked of a second holder
	lateAsks       []lateAsk          // kept for its memory
	debt           debt               // what this device drew and no member has yet
	noticed, named bool               // somebody was; and by name
	coming         map[PeerID]noticed // who was noticed and has not joined
	othersMoved    time.Duration      // when a member's claim last showed progress
	past           map[PeerID]record  // who has left with broken claims
	everSeen       bool               // a member has joined at least once
	lastJoin       time.Duration
	fewJoined      time.Duration // when the newest of the first few joined

	now time.Duration // of the newest Decide
	due time.Duration // nothing of a member runs out before

	draws      []*draw // sorted by id
	streams    []*stream
	nextDraw   int
	originRate meter
	width      siteWidth
	origin     originState

	lan      meter
	link     float64 // the highest rate of a link that was seen, in bytes per second
	floor    floor
	givenUp  []givenUp
	hunger   hunger
	lastIdle time.Duration // since when nobody draws and little is missing, 0 = not so
	heldAt   time.Duration // when the limit of the whole download last held this device back, 0 = never
	out      []Action
}

// pieceState is what the decision knows about one piece.
type pieceState struct {
	avail   uint16 // reachable members that have it
	claimed uint16 // live claims of members that cover it
	asked   uint8  // requests to peers that are under way
	drawn   bool   // an origin range of this device covers it
	listed  bool   // it stands in askable
	overdue bool   // a claim on it died, or a holder failed to deliver it
	owed    bool   // this device drew it and no member has it yet

	rumour time.Duration // a member without a link has it: until then it may come over neighbours; 0 = no word of it
}

// NewCore returns the decision for one content. It panics when cfg.Have does not fit the content.
func NewCore(cfg Config) *Core {
	n := cfg.Content.Pieces()
	if cfg.Have.Len() != n {
		panic("fetch: bitmap does not fit the content")
	}
	d := &Core{
		cfg:     cfg,
		c:       cfg.Content,
		rng:     rand.New(rand.NewPCG(cfg.Seed, 0x64756e6c696e)),
		grid:    newGrid(cfg.Content),
		have:    cfg.Have.Clone(),
		piece:   make([]pieceState, n),
		key:     peerKey(cfg.Content.Root(), cfg.Self),
		members: make(map[PeerID]*member),
		coming:  make(map[PeerID]noticed),
		past:    make(map[PeerID]record),
	}
	d.ranks = make([]uint16, d.grid.spans)
	d.width.streams = minStreams
	return d
}

// Done reports whether every piece is stored.
func (d *Core) Done() bool { return d.have.Full() }

// OthersMoved returns when another member's claim last showed progress, 0 if none has. While one does, there is something to wait
// for, though nothing has come to this device.
func (d *Core) OthersMoved() time.Duration { return d.othersMoved }

// Members returns how many members there are.
func (d *Core) Members() int { return len(d.members) }

// Decide returns what to do now, and when to ask again if nothing happens before.
func (d *Core) Decide(now time.Duration) (actions []Action, wake time.Duration) {
	d.now = now
	d.expire(now)
	d.judgeDebt(now)
	if !d.Done() {
		d.askPeers(now)
		d.drawOrigin(now)
	}
	actions, d.out = d.out, nil
	return actions, d.nextWake(now)
}

// Stored says that piece i, which came from a member (or, with "", from the origin), is checked and stored. It tells the
// site and cancels what is under way elsewhere. All its bytes were reported with AskProgress or DrawProgress before.
func (d *Core) Stored(now time.Duration, i int, from PeerID) {
	if !d.have.Set(i) {
		return
	}
	d.say(SayHave{First: i, Count: 1, Drawn: d.piece[i].drawn})
	d.owe(i)
	d.fed(now, from)
	if d.piece[i].asked > 0 {
		for _, m := range d.order {
			switch a := m.ask(i); {
			case a == nil:
			case m.id == from:
				d.delivered(now, m, a)
			default:
				d.dropAsk(m, i)
				d.do(Cancel{Peer: m.id, Piece: i})
			}
		}
	}
}

func (d *Core) do(a Action)  { d.out = append(d.out, a) }
func (d *Core) say(s Saying) { d.do(Tell{What: s}) }

// missing reports whether piece i is neither stored nor on its way.
func (d *Core) missing(i int) bool {
	p := &d.piece[i]
	return !d.have.Has(i) && p.asked == 0 && !p.drawn
}

// expire ends what time has ended: leases, requests without progress, pauses. It looks at the members only when the time
// has come for one of them, because it is called for every event.
func (d *Core) expire(now time.Duration) {
	if now < d.due {
		return
	}
	d.due = now + time.Second
	d.forgetNoticed(now)
	for m := range d.everyone {
		d.expireClaims(now, m)
		d.expireAsks(now, m)
		if m.paused && now >= m.until {
			d.resume(now, m)
		}
		if m.busy && now >= m.until {
			m.busy = false
		}
		d.dueBy(m.next())
	}
}

// dueBy notes that something of a member runs out at t.
func (d *Core) dueBy(t time.Duration) { d.due = min(d.due, t) }

// everyone yields all members, those without a link last.
func (d *Core) everyone(yield func(*member) bool) {
	for _, list := range [...][]*member{d.order, d.distant} {
		for _, m := range list {
			if !yield(m) {
				return
			}
		}
	}
}

// nextWake is the earliest moment at which the passing of time alone changes a decision.
func (d *Core) nextWake(now time.Duration) time.Duration {
	wake := now + time.Second
	soon := func(t time.Duration) {
		if t > now {
			wake = min(wake, t)
		}
	}
	if !d.originOpen(now) {
		soon(coldQuiet)
		soon(coldMost)
		soon(d.fewJoined + coldSettle)
		soon(d.lastJoin + coldSettle)
		soon(d.cfg.Delay)
	}
	if d.origin.idle > 0 {
		soon(d.origin.idle + d.turn(now))
	}
	soon(d.origin.until)
	soon(d.due)
	if len(d.streams) > 0 || len(d.draws) > 0 || d.inAsk > 0 {
		wake = min(wake, now+100*time.Millisecond)
	}
	return wake
}

// grid is the fixed division into spans that all devices share (rule 1): without a common grid two devices would claim
// overlapping ranges and neither could tell.
type grid struct {
	per   int // pieces in a span, a power of two
	spans int
}

func newGrid(c piecehash.Content) grid {
	size := c.PieceLength()
	for size < maxSpan && size*spansPerFile < c.Length() {
		size *= 2
	}
	per := int(size / c.PieceLength())
	return grid{per: per, spans: (c.Pieces() + per - 1) / per}
}

func (g grid) of(piece int) int { return piece / g.per }

// span returns the first piece of span s and the piece after its last.
func (g grid) span(s, pieces int) (first, end int) {
	return s * g.per, min((s+1)*g.per, pieces)
}

// byKey orders members by the ranking that all devices share.
func byKey(a, b *member) int {
	return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.id, b.id))
}

func insert(list []*member, m *member) []*member {
	i, _ := slices.BinarySearchFunc(list, m, byKey)
	return slices.Insert(list, i, m)
}
