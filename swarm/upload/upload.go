package upload

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/dunlin-project/dunlin/swarm/wire"
)

// Bounds of turns.
const (
	queueTime    = 2 * time.Second        // of the uplink's rate: pieces promised and not yet sent
	guessedRate  = 12.5e6                 // bytes per second, before anything was measured
	muxHeaders   = 12                     // bytes around a message before encryption
	minCopyTime  = 100 * time.Millisecond // a piece is sent to one peer alone for so long
	maxCopyTime  = 750 * time.Millisecond // at most: who takes nothing must not hold up the others until they are told busy
	guessedCopy  = 250 * time.Millisecond // the same before the uplink's rate is known
	starvedAfter = 2 * time.Second        // a link that wanted its turn for so long comes first, whatever piece it wants
	staleCopy    = time.Minute            // a copy that was begun and never ended: its stream broke
	maxTurn      = wire.MaxMessage + 64   // bytes of the largest frame
	burstTime    = 100 * time.Millisecond // of a limit: what may leave at once, so that a late timer costs no rate

	ShortWait = 50 * time.Millisecond // least that a busy device asks a peer to stay away
	LongWait  = 2 * time.Second       // most
)

// Scheduler is the one of the process. Each requester asks for a turn for each slice (Flow.Turn); while too much is not
// yet sent nobody gets one, and those who wait are served in the order of Part, equals in the order they asked, none
// beyond its share of what is unsent. It is safe for concurrent use.
type Scheduler struct {
	bucket *rate.Limiter // of payload; nil = no limit
	kick   chan struct{} // cap 1: somebody waits

	mu       sync.Mutex // guards the rest, and the fields of flows that say so
	waiting  []*turn
	flows    map[*Flow]struct{} // that are being served
	going    map[*uint8]copying // by Part.Copies: the newest copy, until it ends
	promised int64              // bytes of pieces that wait or are being sent
	granted  int64              // payload bytes for which a turn was given
	unsent   int64              // at the last look, without stalled flows
	looked   time.Time
	rate     float64 // bytes per second that the uplink takes, 0 unknown
	sampled  time.Time
	drained  int64 // granted-unsent when sampled
	idled    bool  // since then there was a moment with nothing unsent
	filled   bool  // since then somebody had to wait for the uplink, and not for his own link
	inVain   int   // looks in a row that found it full
}

// Part says of which piece a turn's bytes are, for the order in which turns are given: what has begun is finished first,
// then the piece goes that was sent least often. First copies multiply, because whoever has got one serves it too; ten
// copies of one piece, all half sent, serve nobody.
//
// A further copy of a piece waits while the one before is on its way: four copies of one piece at the same time take four
// times as long, and for all that time no second device can pass it on. It waits twice as long as the uplink needs for a
// piece, not longer, because it may be the other peer that is slow.
type Part struct {
	Copies *uint8 // how often the piece was begun, at most 255; nil = not counted. It belongs to the scheduler.
	Size   int64  // of the piece, in bytes
	Begun  bool   // this copy was
	Last   bool   // these are its last bytes
}

// place orders waiting turns, the lowest first. The scheduler's mutex is held.
func (p Part) place() int {
	if p.Begun || p.Copies == nil {
		return 0
	}
	return 1 + int(*p.Copies)
}

// copying is a copy of a piece on its way to a peer. A link carries one copy of a piece at a time.
type copying struct {
	flow  *Flow
	since time.Time
}

// turn is somebody's wait for n bytes.
type turn struct {
	flow  *Flow
	n     int
	part  Part
	since time.Time     // flow.since before it was granted
	ok    chan struct{} // closed when granted
}

// Flow is the upload side of one connection. Turns are asked for between Hold and LetGo.
type Flow struct {
	up      *Scheduler
	written func() int64
	queued  func() int64

	// Guarded by the scheduler's mutex.
	users  int   // streams that are being served
	handed int64 // bytes given to the muxer, headers included; never behind what it has written
	unsent int64
	moved  time.Time // when unsent was last seen to fall, or to be nothing
	since  time.Time // since when a turn is wanted and none was given, also by requests that are over; zero: none is
}

// New returns a scheduler for an uplink of which at most bytesPerSecond may be used; 0 is all there is. Turns are given
// only while Run runs.
func New(bytesPerSecond int64) *Scheduler {
	u := &Scheduler{kick: make(chan struct{}, 1), flows: make(map[*Flow]struct{}), going: make(map[*uint8]copying)}
	if bytesPerSecond > 0 {
		burst := max(maxTurn, int(float64(bytesPerSecond)*burstTime.Seconds()))
		u.bucket = rate.NewLimiter(rate.Limit(bytesPerSecond), burst)
	}
	return u
}

// NewFlow returns the upload side of a connection. written is how many bytes its muxer has got rid of since it began,
// queued how many of these the kernel still holds.
func (u *Scheduler) NewFlow(written, queued func() int64) *Flow {
	return &Flow{up: u, written: written, queued: queued}
}

// Hold begins the serving of a stream; LetGo ends it.
func (f *Flow) Hold() {
	f.up.mu.Lock()
	defer f.up.mu.Unlock()
	if f.users++; f.users == 1 {
		f.moved = time.Now()
		f.up.flows[f] = struct{}{}
	}
}

// LetGo ends what Hold began.
func (f *Flow) LetGo() {
	f.up.mu.Lock()
	defer f.up.mu.Unlock()
	if f.users--; f.users == 0 {
		delete(f.up.flows, f)
	}
}

// Wait says how long a peer should stay away that has so many pieces waiting.
func (f *Flow) Wait(pending int, pieceLength int64) time.Duration {
	u := f.up
	u.mu.Lock()
	defer u.mu.Unlock()
	each := u.pace() / float64(max(len(u.flows), 1))
	d := time.Duration(float64(pending) * float64(pieceLength) / each / 2 * float64(time.Second))
	return min(max(d, ShortWait), LongWait)
}

// Promise reserves a place in the queue for size bytes. A peer that has none is always given one; more only while all
// that is promised leaves within queueTime.
func (u *Scheduler) Promise(size int64, first bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !first && float64(u.promised+size) > u.pace()*queueTime.Seconds() {
		return false
	}
	u.promised += size
	return true
}

// Kept takes size bytes of promises back: they were sent, or are not wanted any more.
func (u *Scheduler) Kept(size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.promised -= size
}

// pace is the rate that payload leaves at, as far as we know. The caller holds mu.
func (u *Scheduler) pace() float64 {
	r := u.rate
	if r == 0 {
		r = guessedRate
	}
	if u.bucket != nil {
		r = min(r, float64(u.bucket.Limit()))
	}
	return r
}

// Turn waits until n bytes, at most wire.MaxMessage and a little, may be given to the flow's connection: as they are
// sent, compressed if they are. Those that are not given after all must be returned. The error is ctx's, and then there is
// no turn.
func (f *Flow) Turn(ctx context.Context, n int, p Part) error {
	u := f.up
	t := &turn{flow: f, n: n, part: p, ok: make(chan struct{})}
	u.mu.Lock()
	if f.since.IsZero() {
		f.since = time.Now()
	}
	u.waiting = append(u.waiting, t)
	if len(u.waiting) == 1 {
		u.give(time.Now())
	}
	waits := len(u.waiting) > 0
	u.mu.Unlock()
	if waits {
		select {
		case u.kick <- struct{}{}:
		default:
		}
	}
	select {
	case <-t.ok:
		return nil
	case <-ctx.Done():
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	select {
	case <-t.ok: // at the same moment
		u.takeBack(t)
	default:
		u.waiting = slices.DeleteFunc(u.waiting, func(o *turn) bool { return o == t })
	}
	return ctx.Err()
}

// takeBack undoes a grant of which nobody will make use. Otherwise its bytes would count as unsent for as long as the
// connection lives, and a copy that nobody sends would hold up the next. The caller holds mu.
func (u *Scheduler) takeBack(t *turn) {
	f := t.flow
	f.giveBack(int64(t.n), muxHeaders)
	if f.since.IsZero() {
		f.since = t.since
	}
	if c := t.part.Copies; c != nil && !t.part.Begun {
		u.over(f, c)
		if *c < math.MaxUint8 { // at that it no longer counts
			*c--
		}
	}
}

// Return takes back the last n bytes of a turn of size bytes: they could not be given to the connection.
func (f *Flow) Return(n, size int) {
	f.up.mu.Lock()
	defer f.up.mu.Unlock()
	headers := int64(0)
	if n == size {
		headers = muxHeaders
	}
	f.giveBack(int64(n), headers)
}

// giveBack counts granted bytes as never handed to the muxer. Nor did the uplink carry them. The scheduler's mutex is held.
func (f *Flow) giveBack(n, headers int64) {
	f.handed -= n + headers
	f.up.granted -= n
	if f.unsent < n {
		n = f.unsent // it was looked at since
	}
	f.unsent -= n
	f.up.unsent = max(0, f.up.unsent-n)
}

// Run gives turns as the links get rid of what they have, until ctx ends.
func (u *Scheduler) Run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-u.kick:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		u.mu.Lock()
		next := u.give(time.Now())
		u.mu.Unlock()
		timer.Reset(next)
	}
}

// give grants what may be granted and returns when to look again. The caller holds mu.
func (u *Scheduler) give(now time.Time) time.Duration {
	if now.Sub(u.looked) > time.Millisecond {
		u.look(now)
	}
	limit := u.limit()
	share := max(limit/int64(max(len(u.flows), 1)), wire.MaxSlice)
	slices.SortStableFunc(u.waiting, func(a, b *turn) int { return cmp.Compare(u.place(now, a), u.place(now, b)) })
	rest := u.waiting[:0]
	for i, t := range u.waiting {
		if u.othersFirst(now, t, share) || u.held(now, t.part) {
			rest = append(rest, t)
			continue
		}
		full := u.unsent > 0 && u.unsent+int64(t.n) > limit
		u.filled = u.filled || full
		if full || u.bucket != nil && !u.bucket.AllowN(now, t.n) {
			u.waiting = append(rest, u.waiting[i:]...)
			return u.again(now, t)
		}
		u.grant(now, t)
	}
	clear(u.waiting[len(rest):])
	u.waiting = rest
	if len(rest) > 0 {
		return 2 * time.Millisecond
	}
	return time.Hour
}

// othersFirst reports whether a turn must wait for its own link: that has its share of what is unsent, or has stalled. Half a
// slice more does not count: the other end may acknowledge the last bytes of a slice 40 ms late (RFC 1122, 4.2.3.2), and a link
// that gets its next slice only then carries 1.6 MB/s.
func (u *Scheduler) othersFirst(now time.Time, t *turn, share int64) bool {
	f := t.flow
	return len(u.flows) > 1 && f.unsent > 0 && f.unsent+int64(t.n) > share+wire.MaxSlice/2 || now.Sub(f.moved) > stalledAfter
}

// place orders turns by their parts. A link that has wanted one for two rounds of a piece for everybody comes first: who is
// late to a site wants what was sent often, and would get nothing while there are first copies to send.
func (u *Scheduler) place(now time.Time, t *turn) int {
	rounds := time.Duration(2 * float64(len(u.waiting)) * float64(t.part.Size) / u.pace() * float64(time.Second))
	if now.Sub(t.flow.since) > max(starvedAfter, rounds) {
		return 0
	}
	return t.part.place()
}

// held reports whether a part must wait because a copy of its piece is on its way.
func (u *Scheduler) held(now time.Time, p Part) bool {
	if p.Copies == nil || p.Begun {
		return false
	}
	newest, ok := u.going[p.Copies]
	if !ok {
		return false
	}
	alone := guessedCopy
	if u.rate > 0 {
		alone = min(max(minCopyTime, time.Duration(2*float64(p.Size)/u.pace()*float64(time.Second))), maxCopyTime)
	}
	return now.Sub(newest.since) < alone
}

// Best returns which of the parts should be sent first, the earliest of equals; there must be one.
func (u *Scheduler) Best(parts []Part) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	now, best := time.Now(), 0
	order := func(p Part) int {
		if u.held(now, p) {
			return math.MaxInt
		}
		return p.place()
	}
	for i := range parts {
		if order(parts[i]) < order(parts[best]) {
			best = i
		}
	}
	return best
}

// again is when the first in the queue may be served: soon, and later each time that it could not be. What is known of the uplink
// may be far too little, and whoever then looks away for as long as a thin one needs, sends at the rate of a thin one.
func (u *Scheduler) again(now time.Time, t *turn) time.Duration {
	d := time.Duration(float64(u.limit()) / u.pace() / 16 * float64(time.Second))
	d = min(d, time.Millisecond<<min(u.inVain, 4))
	u.inVain++
	if u.bucket != nil {
		missing := float64(t.n) - u.bucket.TokensAt(now)
		d = max(d, time.Duration(missing/float64(u.bucket.Limit())*float64(time.Second)))
	}
	return min(max(d, time.Millisecond), 10*time.Millisecond)
}

func (u *Scheduler) grant(now time.Time, t *turn) {
	f := t.flow
	u.inVain = 0
	if f.unsent == 0 {
		f.moved = now // it had nothing to get rid of
		f.handed = max(f.handed, f.written())
	}
	t.since, f.since = f.since, time.Time{}
	u.note(now, f, t.part)
	n := int64(t.n)
	f.handed += n + muxHeaders
	f.unsent += n
	u.unsent += n
	u.granted += n
	close(t.ok)
}

// note keeps the books of copies.
func (u *Scheduler) note(now time.Time, f *Flow, p Part) {
	switch c := p.Copies; {
	case c == nil:
		return
	case !p.Begun:
		u.going[c] = copying{f, now}
		if *c < math.MaxUint8 {
			*c++
		}
	}
	if p.Last {
		u.over(f, p.Copies)
	}
}

// over: the flow's copy of a piece is not on its way any more. A newer one still is, if it was begun because this one took long.
func (u *Scheduler) over(f *Flow, copies *uint8) {
	if u.going[copies].flow == f {
		delete(u.going, copies)
	}
}

// GiveUp says that a copy of the part's piece that was begun is not sent to its end: nobody waits for it any more.
func (f *Flow) GiveUp(p Part) {
	f.up.mu.Lock()
	defer f.up.mu.Unlock()
	if p.Begun {
		f.up.over(f, p.Copies)
	}
}
