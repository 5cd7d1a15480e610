package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/group"
	"github.com/dunlin-project/dunlin/swarm/piece"
	"github.com/dunlin-project/dunlin/swarm/relay"
	"github.com/dunlin-project/dunlin/swarm/upload"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// Bounds of what one peer may make us remember.
const (
	maxRooms   = 1024 // contents that one peer may name
	maxReplies = 2048 // control messages that wait to be written
)

// link is one authenticated connection: the one to its peer, once the table has said so. run lives as long as it does.
//
// Its goroutines: run itself waits; accept takes the peer's streams; readSite and writeSite carry the control stream;
// package piece has three for the piece streams, when there are any; one more for each layer asked of us.
type link struct {
	node    *Node
	conn    *conn.Conn
	peer    peer.ID
	id      fetch.PeerID
	dialled bool // by us
	role    fetch.Role
	key     int // of our keys, the one that the peer has: of the group that the link is in
	rtt     time.Duration
	addr    netip.Addr // of the other end, the zero value if it has none
	since   time.Time

	wake  chan struct{} // cap 1: writeSite has something to say
	asker *piece.Asker
	flow  *upload.Flow
	sent  atomic.Int64 // payload bytes
	sited atomic.Bool  // the peer has opened the control stream
	fed   atomic.Bool  // and the one that it asks for pieces on

	mu     sync.Mutex // guards the rest; a room's mutex may be taken while it is held
	closed bool
	wg     sync.WaitGroup // of goroutines that begin later than run
	last   uint32         // the newest of our numbers for contents
	seats  map[*Room]*seat
	theirs map[uint32]*seat
	dirty  map[*Room]struct{} // that have news
	queue  []wire.Site        // what writeSite says next, before haves and claims
}

// seat is one content on this connection: ours, theirs, or shared.
type seat struct {
	room   *Room  // nil while we do not share it
	ours   uint32 // our number for it
	ref    group.Ref
	wants  bool   // the peer has said Interest
	their  uint32 // its number for it
	pieces int    // that it says there are

	// What we have told, and what was told to us.
	told     bool // the bitmap
	cursor   int  // in room.log
	claimNo  uint64
	linkNo   uint64
	links    map[relay.Short]bool // of ours that it knows; nil: nothing said yet
	incoming *incoming
}

func newLink(n *Node, c *conn.Conn, dialled bool, m group.Member) *link {
	l := &link{
		node: n, conn: c, peer: c.RemotePeer(), id: fetch.PeerID(c.RemotePeer().String()),
		dialled: dialled, role: m.Role, key: m.Key, rtt: m.RTT, addr: addrOf(c), since: time.Now(),
		wake:  make(chan struct{}, 1),
		seats: make(map[*Room]*seat), theirs: make(map[uint32]*seat), dirty: make(map[*Room]struct{}),
	}
	l.flow = n.uploads.NewFlow(c.Written, c.Queued)
	l.asker = piece.NewAsker(piece.Line{
		Open:   func(ctx context.Context) (conn.Stream, error) { return c.Open(ctx, wire.PieceProtocol) },
		Begin:  l.begin,
		Fail:   l.close,
		Late:   func(n int) { l.node.metrics.late.Add(float64(n)) },
		Memory: n.memory,
	})
	return l
}

func addrOf(c *conn.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(c.RemoteAddr())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}

// Peer implements table.Link.
func (l *link) Peer() peer.ID { return l.peer }

// Dialled implements table.Link.
func (l *link) Dialled() bool { return l.dialled }

// Idle implements table.Link.
func (l *link) Idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.seats {
		if s.wants {
			return false
		}
	}
	return true
}

// run lives until the connection ends or ctx does, and returns why.
func (l *link) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { l.conn.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { cancel(l.accept(ctx, cancel)) })
	if l.dialled {
		wg.Go(func() { cancel(l.openSite(ctx)) })
	}
	<-ctx.Done()
	l.conn.Close()
	l.shut()
	wg.Wait()
	l.wg.Wait()
	return context.Cause(ctx)
}

// shut keeps late goroutines from starting and takes the peer out of every room.
func (l *link) shut() {
	l.mu.Lock()
	l.closed = true
	rooms := make([]*Room, 0, len(l.seats))
	for r := range l.seats {
		rooms = append(rooms, r)
	}
	l.mu.Unlock()
	for _, r := range rooms {
		r.drop(l)
	}
}

// begin starts a goroutine that run waits for. It reports false when the link is ending.
func (l *link) begin(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.wg.Go(f)
	return true
}

// close ends the link from outside. It does not wait, and may be called more than once.
func (l *link) close() { go l.conn.Close() }

// accept takes the peer's streams. Their number is bounded by the muxer.
func (l *link) accept(ctx context.Context, fail context.CancelCauseFunc) error {
	for {
		s, err := l.conn.AcceptStream()
		if err != nil {
			return err
		}
		ok := l.begin(func() {
			if err := l.serve(ctx, s); err != nil {
				fail(err)
			}
		})
		if !ok {
			s.Reset()
			return net.ErrClosed
		}
	}
}

// serve handles one stream of the peer's. An error ends the link; a stream that ends alone does not.
func (l *link) serve(ctx context.Context, s conn.Stream) error {
	defer s.Reset()
	if err := s.SetDeadline(time.Now().Add(conn.NegotiateTimeout)); err != nil {
		return err
	}
	proto, err := conn.Negotiate(s, wire.SiteProtocol, wire.PieceProtocol, wire.LayerProtocol)
	if err != nil {
		return nil // the peer may try something that we do not speak
	}
	if err := s.SetDeadline(time.Time{}); err != nil {
		return err
	}
	switch proto {
	case wire.SiteProtocol:
		if l.dialled || l.sited.Swap(true) {
			return fmt.Errorf("%w: a control stream that the listener, or a second that the dialer opened", wire.ErrMalformed)
		}
		return l.site(ctx, s)
	case wire.PieceProtocol:
		return l.servePieces(ctx, s)
	default:
		return l.serveLayer(ctx, s)
	}
}

// openSite opens the control stream: the dialer's part.
func (l *link) openSite(ctx context.Context) error {
	octx, cancel := context.WithTimeout(ctx, conn.NegotiateTimeout)
	defer cancel()
	s, err := l.conn.Open(octx, wire.SiteProtocol)
	if err != nil {
		return err
	}
	defer s.Reset()
	if err := s.SetDeadline(time.Time{}); err != nil {
		return err
	}
	return l.site(ctx, s)
}

// site carries the control stream until it ends, which ends the link.
func (l *link) site(ctx context.Context, s conn.Stream) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { cancel(l.writeSite(ctx, s)) })
	cancel(l.readSite(s))
	wg.Wait()
	return context.Cause(ctx)
}

func (l *link) readSite(s conn.Stream) error {
	r := conn.Reader(s)
	for {
		b, err := r.Next()
		if err == io.EOF {
			return errors.New("the peer has closed the control stream")
		}
		if err != nil {
			return err
		}
		m, err := wire.DecodeSite(b)
		if err != nil {
			return err
		}
		if err := l.hear(m); err != nil {
			return err
		}
	}
}

func (l *link) writeSite(ctx context.Context, s conn.Stream) error {
	for {
		for b := l.collect(); len(b) > 0; b = l.collect() {
			if err := conn.Send(s, b); err != nil {
				return err
			}
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *link) wakeWriter() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
