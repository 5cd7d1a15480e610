package conn

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	muxyamux "github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Upgrader makes Conns of TCP connections. The TCP part is its caller's: without libp2p's port reuse, under which
// simultaneous dials fail, and without its dial back-off. It is safe for concurrent use.
type Upgrader struct {
	up transport.Upgrader
	rc network.ResourceManager
}

// Conn is a connection with one peer. Its methods are safe for concurrent use.
type Conn struct {
	transport.CapableConn
	tcp   *net.TCPConn
	meter *meter
}

// NewUpgrader returns an upgrader for the device with the key. allow is asked in each handshake, as soon as TLS has shown
// who the other end is. Close must be called when no Conn is used any more.
func NewUpgrader(key ed25519.PrivateKey, l Limits, allow func(peer.ID) bool) (*Upgrader, error) {
	k, _, err := Identity(key)
	if err != nil {
		return nil, err
	}
	rc, err := newResources(l)
	if err != nil {
		return nil, fmt.Errorf("set up resource limits: %w", err)
	}
	mux := []upgrader.StreamMuxer{{ID: muxyamux.ID, Muxer: muxer{}}}
	tls, err := libp2ptls.New(libp2ptls.ID, k, mux)
	if err != nil {
		rc.Close()
		return nil, fmt.Errorf("set up tls: %w", err)
	}
	up, err := upgrader.New([]sec.SecureTransport{tls}, mux, nil, rc, gater{allow})
	if err != nil {
		rc.Close()
		return nil, fmt.Errorf("set up connections: %w", err)
	}
	return &Upgrader{up, rc}, nil
}

// Close ends what NewUpgrader began.
func (u *Upgrader) Close() error { return u.rc.Close() }

// Upgrade brings a connection up within HandshakeTimeout. id is who must be at the other end of one that we dialled, and
// empty for one that came in. c is the Conn's from now on; on error it is closed.
func (u *Upgrader) Upgrade(ctx context.Context, c *net.TCPConn, id peer.ID) (*Conn, error) {
	dir := network.DirOutbound
	if id == "" {
		dir = network.DirInbound
	}
	tune(c)
	b := &batch{TCPConn: c}
	mc, err := manet.WrapNetConn(b)
	if err != nil {
		c.Close()
		return nil, err
	}
	scope, err := u.rc.OpenConnection(dir, true, mc.RemoteMultiaddr())
	if err != nil {
		c.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	cc, err := u.up.Upgrade(ctx, nil, mc, dir, id, scope)
	if err != nil {
		return nil, err
	}
	out := &Conn{CapableConn: cc, tcp: c}
	cc.As(&out.meter)
	out.meter.below.Store(b)
	return out, nil
}

// Written returns the bytes that the muxer has given to TLS since the connection began.
func (c *Conn) Written() int64 { return c.meter.written.Load() }

// Queued returns the bytes that the kernel holds and the other end has not acknowledged; 0 where it cannot be asked.
func (c *Conn) Queued() int64 { return kernelQueue(c.tcp) }

// RemoteAddr is the other end's host:port.
func (c *Conn) RemoteAddr() string { return c.tcp.RemoteAddr().String() }

// Identity returns what libp2p makes of a device's key.
func Identity(key ed25519.PrivateKey) (crypto.PrivKey, peer.ID, error) {
	k, _, err := crypto.KeyPairFromStdKey(&key)
	if err != nil {
		return nil, "", fmt.Errorf("use key: %w", err)
	}
	id, err := peer.IDFromPrivateKey(k)
	return k, id, err
}

// gater refuses who is not allowed.
type gater struct{ allow func(peer.ID) bool }

var _ connmgr.ConnectionGater = gater{}

func (g gater) InterceptPeerDial(p peer.ID) bool                 { return g.allow(p) }
func (g gater) InterceptAddrDial(p peer.ID, _ ma.Multiaddr) bool { return g.allow(p) }
func (g gater) InterceptAccept(network.ConnMultiaddrs) bool      { return true }
func (g gater) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return g.allow(p)
}

func (g gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
