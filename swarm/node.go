package swarm

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/discover"
	"github.com/dunlin-project/dunlin/swarm/group"
	"github.com/dunlin-project/dunlin/swarm/piece"
	"github.com/dunlin-project/dunlin/swarm/table"
	"github.com/dunlin-project/dunlin/swarm/upload"
)

// Node is one device in the swarm. New makes it, Run gives it life.
type Node struct {
	cfg     Config
	log     *slog.Logger
	self    peer.ID
	born    time.Time
	auth    group.Authenticator
	statics []static
	listen  []*net.TCPListener // open from New to the end of Run
	faces   []netip.AddrPort   // see AnnounceHTTP
	events  chan event         // to loop
	uploads *upload.Scheduler
	memory  *piece.Memory
	metrics *metrics
	bans    *table.Bans

	wg       sync.WaitGroup // of goroutines that Run waits for
	running  atomic.Bool
	courting atomic.Int64 // peers that may become members any moment; written by loop and by handshakes
	ended    chan struct{}

	mu    sync.Mutex // guards the rest; nothing else is locked while it is held
	over  bool       // Run has ended
	rooms map[*Room]struct{}
	links map[*link]struct{}    // those that stay
	near  map[peer.ID]time.Time // whom discovery has found, and when first
}

// New checks the configuration and binds the listeners, so that Addrs is known and an address in use is an error here.
// It starts nothing. Call Run or Close.
func New(cfg Config) (*Node, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Key == nil {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make key: %w", err)
		}
		cfg.Key = k
	}
	_, id, err := conn.Identity(cfg.Key)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err)
	}
	statics, err := parseStatics(cfg.Peers)
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: cfg.Log, self: id, statics: statics, born: time.Now(),
		auth:    group.Authenticator{Self: id, Role: cfg.Role, Keys: cfg.keys()},
		uploads: upload.New(cfg.UploadRate), memory: piece.NewMemory(cfg.Limits.Loaded), metrics: newMetrics(),
		events: make(chan event, 64), ended: make(chan struct{}),
		rooms: make(map[*Room]struct{}), links: make(map[*link]struct{}), bans: table.NewBans(),
		near: make(map[peer.ID]time.Time),
	}
	if n.listen, err = bind(cfg.Listen); err != nil {
		return nil, err
	}
	return n, nil
}

// bind opens the listeners, all or none.
func bind(addrs []netip.AddrPort) ([]*net.TCPListener, error) {
	var out []*net.TCPListener
	for _, a := range addrs {
		network := "tcp" // [::] takes IPv4 too
		if a.Addr().Is4() {
			network = "tcp4"
		}
		l, err := net.ListenTCP(network, net.TCPAddrFromAddrPort(a))
		if err != nil {
			for _, l := range out {
				l.Close()
			}
			return nil, fault.WithHint(fault.New(fault.Unavailable, "listen on %v: %w", a, err),
				"another program may have the port: choose another address, or none to fetch without sharing")
		}
		out = append(out, l)
	}
	return out, nil
}

// ID returns the device's name in the swarm.
func (n *Node) ID() fetch.PeerID { return fetch.PeerID(n.self.String()) }

// Served returns the payload bytes sent to peers, before compression.
func (n *Node) Served() int64 { return n.metrics.served.Load() }

// Close releases the listeners and ends the rooms of a node that was never run. After Run it does nothing.
func (n *Node) Close() error {
	if !n.running.Swap(true) {
		n.finish()
	}
	return nil
}

// Run lives until ctx ends; its error is ctx's then. When it returns all its goroutines have ended, every connection is
// closed, and so is the channel of every room. It is called once.
func (n *Node) Run(ctx context.Context) error {
	if n.running.Swap(true) {
		panic("swarm: Run is called twice, or after Close")
	}
	defer n.finish()
	up, err := conn.NewUpgrader(n.cfg.Key, n.cfg.Limits.conns(), n.allowed)
	if err != nil {
		return err
	}
	defer up.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := newDialler(n, up)
	for _, l := range n.listen {
		n.wg.Go(func() { d.accept(ctx, l) })
	}
	n.wg.Go(func() { n.uploads.Run(ctx) })
	if n.cfg.Discover {
		n.wg.Go(func() { discover.Run(ctx, n.discovery(ctx)) })
	}
	n.loop(ctx, d)
	n.finish() // before up is closed
	return ctx.Err()
}

// discovery is what package discover is told.
func (n *Node) discovery(ctx context.Context) discover.Config {
	c := discover.Config{
		Self: n.self,
		Tags: n.auth.DayTags,
		Found: func(id peer.ID, a netip.AddrPort) {
			n.noticed(time.Now(), id)
			select {
			case n.events <- evFound{id, a.String(), false}:
			case <-ctx.Done():
			}
		},
		Caches: n.faces,
		Count:  func(outcome string) { n.metrics.found.WithLabelValues(outcome).Inc() },
		Log:    n.log,
	}
	if n.cfg.FoundCache != nil {
		c.FoundCache = func(id peer.ID, a netip.AddrPort) { n.cfg.FoundCache(id.String(), a) }
	}
	for _, l := range n.listen {
		a := l.Addr().(*net.TCPAddr).AddrPort()
		c.Listen = append(c.Listen, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	}
	return c
}

// finish closes the rooms and waits for everybody. It may be called twice.
func (n *Node) finish() {
	n.mu.Lock()
	if !n.over {
		close(n.ended)
	}
	n.over = true
	rooms := make([]*Room, 0, len(n.rooms))
	for r := range n.rooms {
		rooms = append(rooms, r)
	}
	n.mu.Unlock()
	for _, l := range n.listen {
		l.Close()
	}
	for _, r := range rooms {
		r.shut()
	}
	n.wg.Wait()
}

// Join shares content: it is offered to every peer, and what they have and say is heard (Room.Hear). The same content
// can be joined once at a time.
func (n *Node) Join(h Holding) (*Room, error) {
	r := newRoom(n, h)
	n.mu.Lock()
	for other := range n.rooms {
		if other.m.Root() == r.m.Root() {
			n.mu.Unlock()
			return nil, fmt.Errorf("join content %v: it is joined already", r.m.Root())
		}
	}
	r.closed = n.over
	n.rooms[r] = struct{}{}
	links := n.linksLocked()
	n.mu.Unlock()
	for _, l := range links {
		l.share(r)
	}
	return r, nil
}

// forget takes the room away from every link.
func (n *Node) forget(r *Room) {
	n.mu.Lock()
	delete(n.rooms, r)
	links := n.linksLocked()
	n.mu.Unlock()
	for _, l := range links {
		l.unshare(r)
	}
}

func (n *Node) linksLocked() []*link {
	links := make([]*link, 0, len(n.links))
	for l := range n.links {
		links = append(links, l)
	}
	return links
}

func (n *Node) roomsNow() []*Room {
	n.mu.Lock()
	defer n.mu.Unlock()
	rooms := make([]*Room, 0, len(n.rooms))
	for r := range n.rooms {
		rooms = append(rooms, r)
	}
	return rooms
}

// thin reports whether some content has too few links that share it.
func (n *Node) thin() bool { return slices.ContainsFunc(n.roomsNow(), (*Room).thin) }

// linkedTo reports whether there is a link to the peer.
func (n *Node) linkedTo(id peer.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.links {
		if l.peer == id {
			return true
		}
	}
	return false
}

// courted reports whether somebody may become a member any moment.
func (n *Node) courted() bool { return n.courting.Load() > 0 }

// court changes the number of peers that may become members any moment.
func (n *Node) court(delta int64) {
	some := n.courting.Add(delta) > 0
	if some && delta < 0 {
		return // nothing that a room would say
	}
	for _, r := range n.roomsNow() {
		r.courted(some)
	}
}

// How long a device that discovery has found is news, and how many are remembered.
const (
	newsFor = time.Second
	maxNear = 1024
)

// noticed tells every room of a device that discovery has found for the first time: devices that start together then know
// their ranks before their links are up.
func (n *Node) noticed(now time.Time, id peer.ID) {
	n.mu.Lock()
	_, known := n.near[id]
	known = known || len(n.near) >= maxNear
	if !known {
		n.near[id] = now
	}
	n.mu.Unlock()
	if known {
		return
	}
	for _, r := range n.roomsNow() {
		r.noticed(fetch.PeerID(id.String()))
	}
}

// noticedNow returns who was noticed a moment ago.
func (n *Node) noticedNow(now time.Time) []fetch.PeerID {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []fetch.PeerID
	for id, at := range n.near {
		if now.Sub(at) < newsFor {
			out = append(out, fetch.PeerID(id.String()))
		}
	}
	return out
}

// allowed reports whether a peer may connect at all. It is asked by the gater in the middle of a handshake.
func (n *Node) allowed(id peer.ID) bool { return id != n.self && !n.bans.Has(time.Now(), id) }

// ban shuts out a peer that sent what is provably wrong.
func (n *Node) ban(l *link, m *piecehash.Mismatch) {
	n.metrics.bans.Inc()
	n.log.LogAttrs(context.Background(), slog.LevelWarn, "peer banned: it sent a piece that is not what it must be",
		slog.String("peer", string(l.id)), slog.Int("piece", m.Piece), slog.Duration("for", table.BanTime))
	n.bans.Add(time.Now(), l.peer)
	n.post(evBan{l.peer})
	l.close()
}

// post gives an event to loop, unless Run has ended or not begun.
func (n *Node) post(e event) {
	select {
	case n.events <- e:
	case <-n.ended:
	}
}
