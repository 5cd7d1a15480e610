package swarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/group"
	"github.com/dunlin-project/dunlin/swarm/table"
)

// dialler makes connections, and takes those that come in, up to the point where they are links.
type dialler struct {
	n     *Node
	up    *conn.Upgrader
	slots chan struct{} // one for each handshake of a connection that came in

	mu   sync.Mutex           // guards from
	from map[netip.Prefix]int // handshakes under way, by who began them
}

func newDialler(n *Node, up *conn.Upgrader) *dialler {
	return &dialler{n: n, up: up, slots: make(chan struct{}, n.cfg.Limits.Handshakes), from: make(map[netip.Prefix]int)}
}

// begin counts a handshake and reports false when its sender has too many: one address must not take all slots.
func (d *dialler) begin(from netip.Prefix) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.from[from] >= d.n.cfg.Limits.FromOne {
		return false
	}
	d.from[from]++
	return true
}

func (d *dialler) end(from netip.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.from[from]--; d.from[from] == 0 {
		delete(d.from, from)
	}
}

// senderOf is what a peer cannot choose freely: its IPv4 address, or its IPv6 network.
func senderOf(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.WithZone("").Prefix(bits)
	return p
}

// dial tries the targets one after the other, the newest first, and lives as long as the link that comes of it.
func (d *dialler) dial(ctx context.Context, o table.Dial) {
	if d.n.self > o.ID && d.awaited(ctx, o) {
		d.n.post(evFailed{o.ID}) // which it did not: there is a link
		return
	}
	for i := len(o.Targets) - 1; i >= 0; i-- {
		l, err := d.reach(ctx, o.ID, o.Targets[i])
		if err == nil {
			d.n.court(1)
			d.n.live(ctx, l)
			return
		}
		d.n.metrics.failed("dial", err)
		d.n.log.LogAttrs(ctx, slog.LevelDebug, "dial failed", slog.String("peer", o.ID.String()),
			slog.String("addr", o.Targets[i]), slog.String("err", quote(err)))
		if ctx.Err() != nil {
			break
		}
	}
	d.n.post(evFailed{o.ID})
}

// awaited waits while a handshake comes in from where the peer is, and reports whether it has become a link. The lower id
// has dialled, most likely, and a second handshake would only be thrown away: at a start of many devices they cost most.
func (d *dialler) awaited(ctx context.Context, o table.Dial) bool {
	const moment = 20 * time.Millisecond
	for end := time.Now().Add(2 * time.Second); d.comesFrom(o.Targets) && time.Now().Before(end) && ctx.Err() == nil; {
		pause(ctx, moment) // and a moment more, until it is a link
	}
	return d.n.linkedTo(o.ID)
}

// comesFrom reports whether a handshake is under way that one of the targets began.
func (d *dialler) comesFrom(targets []string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range targets {
		a, err := netip.ParseAddrPort(t)
		if err == nil && d.from[senderOf(a.Addr())] > 0 {
			return true
		}
	}
	return false
}

// reach makes a link to a peer. One that is not of our first group may be of another.
func (d *dialler) reach(ctx context.Context, id peer.ID, target string) (l *link, err error) {
	for key := range d.n.auth.Keys {
		if l, err = d.reachWith(ctx, id, target, key); !errors.Is(err, group.ErrDenied) {
			break
		}
	}
	return l, err
}

func (d *dialler) reachWith(ctx context.Context, id peer.ID, target string, key int) (*link, error) {
	nd := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	c, err := nd.DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, err
	}
	up, err := d.up.Upgrade(ctx, c.(*net.TCPConn), id)
	if err != nil {
		return nil, err
	}
	m, err := d.n.auth.DialWith(ctx, up, key)
	if err != nil {
		up.Close()
		return nil, err
	}
	return newLink(d.n, up, true, m), nil
}

// accept takes connections until the listener is closed. Each has a slot until it has authenticated; when there is none
// left the next waits in the kernel.
func (d *dialler) accept(ctx context.Context, l *net.TCPListener) {
	for {
		select {
		case d.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		c, err := l.AcceptTCP()
		if err != nil {
			<-d.slots
			if errors.Is(err, net.ErrClosed) {
				return
			}
			d.n.log.LogAttrs(ctx, slog.LevelWarn, "accept failed", slog.String("err", quote(err)))
			pause(ctx, 50*time.Millisecond) // out of descriptors, most likely
			continue
		}
		d.n.wg.Go(func() { d.welcome(ctx, c) })
	}
}

// welcome brings one connection that came in to a link, and lives as long as that.
func (d *dialler) welcome(ctx context.Context, c *net.TCPConn) {
	l, err := d.admit(ctx, c)
	<-d.slots // here and not deferred: the link lives on
	if err != nil {
		d.n.metrics.failed("accept", err)
		d.n.log.LogAttrs(ctx, slog.LevelDebug, "connection refused", slog.String("addr", c.RemoteAddr().String()),
			slog.String("err", quote(err)))
		return
	}
	d.n.live(ctx, l)
}

// admit returns a link that counts as courting.
func (d *dialler) admit(ctx context.Context, c *net.TCPConn) (*link, error) {
	from := senderOf(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
	if !d.begin(from) {
		c.Close()
		return nil, errors.New("too many handshakes from one address")
	}
	defer d.end(from)
	up, err := d.up.Upgrade(ctx, c, "")
	if err != nil {
		return nil, err
	}
	d.n.court(1)
	m, err := d.n.auth.Accept(ctx, up)
	if err == nil && d.n.full() {
		err = errors.New("as many peers as the limit allows")
	}
	if err != nil {
		d.n.court(-1)
		up.Close()
		return nil, err
	}
	return newLink(d.n, up, false, m), nil
}

// full reports whether there are as many links as the limit allows.
func (n *Node) full() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.links) >= n.cfg.Limits.Links
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// static is a peer from the configuration.
type static struct {
	id     peer.ID
	target string
}

func parseStatics(addrs []string) ([]static, error) {
	var out []static
	for _, a := range addrs {
		s, err := parseStatic(a)
		if err != nil {
			return nil, fault.WithHint(fault.New(fault.Usage, "static peer %q: %w", a, err),
				"write it as /ip4/192.0.2.1/tcp/%d/p2p/ID, as the other device prints it", DefaultPort)
		}
		out = append(out, s)
	}
	return out, nil
}

func parseStatic(s string) (static, error) {
	m, err := ma.NewMultiaddr(s)
	if err != nil {
		return static{}, err
	}
	info, err := peer.AddrInfoFromP2pAddr(m)
	if err != nil {
		return static{}, err
	}
	if len(info.Addrs) != 1 {
		return static{}, errors.New("there is no address before the id")
	}
	host, port, err := hostPort(info.Addrs[0])
	return static{info.ID, net.JoinHostPort(host, port)}, err
}

// hostPort takes /ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT and nothing else.
func hostPort(m ma.Multiaddr) (host, port string, err error) {
	if len(m) != 2 || m[1].Protocol().Code != ma.P_TCP {
		return "", "", errors.New("not of the form /ip4/ADDRESS/tcp/PORT")
	}
	switch m[0].Protocol().Code {
	case ma.P_IP4, ma.P_IP6, ma.P_DNS, ma.P_DNS4, ma.P_DNS6:
	default:
		return "", "", errors.New("not of the form /ip4/ADDRESS/tcp/PORT")
	}
	if p, err := strconv.ParseUint(m[1].Value(), 10, 16); err != nil || p == 0 {
		return "", "", fmt.Errorf("port %q", m[1].Value())
	}
	return m[0].Value(), m[1].Value(), nil
}
