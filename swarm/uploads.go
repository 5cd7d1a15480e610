package swarm

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// Bounds of what all links together may have sent and not yet got rid of. Without them control messages wait behind
// payload: on a 10 Mbit/s uplink that serves eleven, for longer than a lease lives.
const (
	minUnsent    = 256 << 10              // bytes
	unsentTime   = 250 * time.Millisecond // of the uplink's rate
	queueTime    = 2 * time.Second        // of the uplink's rate: pieces promised and not yet sent
	guessedRate  = 12.5e6                 // bytes per second, before anything was measured
	sampleTime   = 200 * time.Millisecond
	stalledAfter = 500 * time.Millisecond // a link that got rid of nothing for so long holds up only itself
	muxHeaders   = 2*12 + 24              // bytes around a slice's payload before encryption
)

// uploads is the one scheduler of payload in the process. Each requester asks for a turn for each slice; turns are given
// in the order they were asked for, so that requesters share by bytes, while too much is not yet sent nobody gets one.
type uploads struct {
	bucket  *rate.Limiter       // of payload; nil = no limit
	memory  *semaphore.Weighted // bytes of pieces read and not yet sent
	total   int64               // that memory has
	starved atomic.Int32        // how many wait for memory
	kick    chan struct{}       // cap 1: somebody waits
	pool    buffers

	mu       sync.Mutex // guards the rest, and the fields of flows that say so
	waiting  []*turn
	flows    map[*flow]struct{} // that are being served
	promised int64              // bytes of pieces that wait or are being sent
	granted  int64              // payload bytes for which a turn was given
	unsent   int64              // at the last look, without stalled flows
	looked   time.Time
	rate     float64 // bytes per second that the uplink takes, 0 unknown
	sampled  time.Time
	drained  int64 // granted-unsent when sampled
	idled    bool  // since then there was a moment with nothing unsent
}

// turn is somebody's wait for n bytes.
type turn struct {
	flow *flow
	n    int
	ok   chan struct{} // closed when granted
}

// flow is the upload side of a link.
type flow struct {
	up      *uploads
	written func() int64 // by the muxer since the connection began, in bytes
	kernel  func() int64 // bytes that the kernel still holds
	pieces  atomic.Bool  // the stream for pieces is there

	// Guarded by uploads.mu.
	users  int   // streams that are being served
	handed int64 // bytes given to the muxer, headers included; never behind what it has written
	unsent int64
	moved  time.Time // when unsent was last seen to fall, or to be nothing
}

func newUploads(bytesPerSecond, memory int64) *uploads {
	memory = max(memory, piecehash.MaxPieceLength)
	u := &uploads{
		memory: semaphore.NewWeighted(memory), total: memory, kick: make(chan struct{}, 1),
		flows: make(map[*flow]struct{}),
	}
	if bytesPerSecond > 0 {
		burst := max(2*wire.MaxSlice, int(bytesPerSecond/20)) // a late timer must not cost rate
		u.bucket = rate.NewLimiter(rate.Limit(bytesPerSecond), burst)
	}
	return u
}

func newFlow(l *link) *flow {
	return &flow{
		up:      l.node.uploads,
		written: l.meter.written.Load,
		kernel:  func() int64 { return kernelQueue(l.tcp) },
	}
}

// hold begins the serving of a stream; letGo ends it.
func (f *flow) hold() {
	f.up.mu.Lock()
	defer f.up.mu.Unlock()
	if f.users++; f.users == 1 {
		f.moved = time.Now()
		f.up.flows[f] = struct{}{}
	}
}

func (f *flow) letGo() {
	f.up.mu.Lock()
	defer f.up.mu.Unlock()
	if f.users--; f.users == 0 {
		delete(f.up.flows, f)
	}
}

// wait says how long a peer should stay away that has so many pieces waiting.
func (f *flow) wait(pending int, pieceLength int64) time.Duration {
	u := f.up
	u.mu.Lock()
	defer u.mu.Unlock()
	each := u.pace() / float64(max(len(u.flows), 1))
	d := time.Duration(float64(pending) * float64(pieceLength) / each / 2 * float64(time.Second))
	return min(max(d, busyShort), busyLong)
}

// promise reserves a place in the queue for size bytes. A peer that has none is always given one; more only while all
// that is promised leaves within queueTime.
func (u *uploads) promise(size int64, first bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !first && float64(u.promised+size) > u.pace()*queueTime.Seconds() {
		return false
	}
	u.promised += size
	return true
}

// kept takes size bytes of promises back: they were sent, or are not wanted any more.
func (u *uploads) kept(size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.promised -= size
}

// pace is the rate that payload leaves at, as far as we know. The caller holds mu.
func (u *uploads) pace() float64 {
	r := u.rate
	if r == 0 {
		r = guessedRate
	}
	if u.bucket != nil {
		r = min(r, float64(u.bucket.Limit()))
	}
	return r
}

// turn waits until n bytes may be given to the flow's connection.
func (u *uploads) turn(ctx context.Context, f *flow, n int) error {
	t := &turn{flow: f, n: n, ok: make(chan struct{})}
	u.mu.Lock()
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
	u.waiting = slices.DeleteFunc(u.waiting, func(o *turn) bool { return o == t })
	return ctx.Err()
}

// run gives turns as the links get rid of what they have, until ctx ends.
func (u *uploads) run(ctx context.Context) {
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
func (u *uploads) give(now time.Time) time.Duration {
	if now.Sub(u.looked) > time.Millisecond {
		u.look(now)
	}
	limit := u.limit()
	share := max(limit/int64(max(len(u.flows), 1)), wire.MaxSlice)
	rest := u.waiting[:0]
	for i, t := range u.waiting {
		if u.othersFirst(now, t, share) {
			rest = append(rest, t)
			continue
		}
		if u.unsent > 0 && u.unsent+int64(t.n) > limit || u.bucket != nil && !u.bucket.AllowN(now, t.n) {
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

// othersFirst reports whether a turn must wait for its own link: that has its share of what is unsent, or has stalled.
func (u *uploads) othersFirst(now time.Time, t *turn, share int64) bool {
	f := t.flow
	return len(u.flows) > 1 && f.unsent > 0 && f.unsent+int64(t.n) > share || now.Sub(f.moved) > stalledAfter
}

// again is when the first in the queue may be served.
func (u *uploads) again(now time.Time, t *turn) time.Duration {
	d := time.Duration(float64(u.limit()) / u.pace() / 16 * float64(time.Second))
	if u.bucket != nil {
		missing := float64(t.n) - u.bucket.TokensAt(now)
		d = max(d, time.Duration(missing/float64(u.bucket.Limit())*float64(time.Second)))
	}
	return min(max(d, time.Millisecond), 10*time.Millisecond)
}

func (u *uploads) grant(now time.Time, t *turn) {
	f := t.flow
	if f.unsent == 0 {
		f.moved = now // it had nothing to get rid of
	}
	n := int64(t.n)
	f.handed += n + muxHeaders
	f.unsent += n
	u.unsent += n
	u.granted += n
	close(t.ok)
}

func (u *uploads) limit() int64 {
	return max(minUnsent, int64(u.rate*unsentTime.Seconds()))
}

// look asks every connection what it has not got rid of, and learns the uplink's rate from how that falls.
func (u *uploads) look(now time.Time) {
	u.looked = now
	var all, counted int64
	for f := range u.flows {
		f.look(now)
		all += f.unsent
		if now.Sub(f.moved) <= stalledAfter {
			counted += f.unsent
		}
	}
	u.unsent = counted
	u.sample(now, all)
}

func (f *flow) look(now time.Time) {
	written := f.written()
	f.handed = max(f.handed, written)
	n := f.handed - written + f.kernel()
	if n < f.unsent || n == 0 {
		f.moved = now
	}
	f.unsent = n
}

// sample learns the rate: what the links got rid of in a window. While there was always something to get rid of, that is
// the uplink's rate; otherwise it is at least that. Too low an estimate is soon mended, since minUnsent every few
// milliseconds is more than most links carry; too high a one makes control messages wait.
func (u *uploads) sample(now time.Time, unsent int64) {
	if unsent == 0 {
		u.idled = true
	}
	d := now.Sub(u.sampled)
	if d < sampleTime {
		return
	}
	drained := max(u.granted-unsent, u.drained)
	r := float64(drained-u.drained) / d.Seconds()
	switch {
	case d > 2*sampleTime: // nobody looked meanwhile
	case u.rate == 0, u.idled && r > u.rate:
		u.rate = r
	case !u.idled:
		u.rate += (r - u.rate) / 2
	}
	u.sampled, u.drained, u.idled = now, drained, unsent == 0
}

// loan is the memory of one piece that is being sent.
type loan struct {
	up    *uploads
	room  *Room
	piece int
	size  int64
	buf   []byte // nil while there is none
	data  []byte
}

// bytes returns the piece, reading it again if its memory was given up.
func (p *loan) bytes(ctx context.Context) ([]byte, error) {
	if p.buf != nil {
		return p.data, nil
	}
	p.size = p.room.m.PieceSize(p.piece)
	p.up.starved.Add(1)
	err := p.up.memory.Acquire(ctx, p.size)
	p.up.starved.Add(-1)
	if err != nil {
		return nil, err
	}
	p.buf = p.up.pool.get(int(p.size))
	p.data, err = p.room.holding.ReadPiece(p.piece, p.buf)
	if err == nil && int64(len(p.data)) != p.size {
		err = fmt.Errorf("piece %d has %d bytes, want %d", p.piece, len(p.data), p.size)
	}
	if err != nil {
		p.release()
		return nil, err
	}
	return p.data, nil
}

func (p *loan) release() {
	if p.buf == nil {
		return
	}
	p.up.pool.put(p.buf)
	p.up.memory.Release(p.size)
	p.buf, p.data = nil, nil
}

// yield releases the memory when others wait for it.
func (p *loan) yield() {
	if p.up.starved.Load() > 0 {
		p.release()
	}
}
