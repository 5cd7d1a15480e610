package swarm

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	muxyamux "github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/x/rate"
	"github.com/libp2p/go-yamux/v5"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Bounds of one connection's muxer.
const (
	streamWindow   = 1 << 20 // bytes a stream may receive unread, at most
	maxStreams     = 8       // that a peer may have open to us; it needs three
	keepAlive      = 10 * time.Second
	muxMessage     = 64 << 10 // one frame of the muxer, so that nothing waits behind more
	perStreamSpare = 256 << 10
)

// upgrades turns a TCP connection into an authenticated, encrypted, multiplexed one. The TCP part is our own (dial.go):
// without libp2p's port reuse, under which simultaneous dials fail, and without its dial back-off.
type upgrades struct {
	up transport.Upgrader
	rc network.ResourceManager
}

func newUpgrades(key crypto.PrivKey, l Limits, allow func(peer.ID) bool) (*upgrades, error) {
	rc, err := newResources(l)
	if err != nil {
		return nil, fmt.Errorf("set up resource limits: %w", err)
	}
	mux := []upgrader.StreamMuxer{{ID: muxyamux.ID, Muxer: muxer{}}}
	tls, err := libp2ptls.New(libp2ptls.ID, key, mux)
	if err != nil {
		rc.Close()
		return nil, fmt.Errorf("set up tls: %w", err)
	}
	up, err := upgrader.New([]sec.SecureTransport{tls}, mux, nil, rc, gater{allow})
	if err != nil {
		rc.Close()
		return nil, fmt.Errorf("set up connections: %w", err)
	}
	return &upgrades{up, rc}, nil
}

func (u *upgrades) close() { u.rc.Close() }

// upgrade consumes c: on error it is closed. id is empty for a connection that came in.
func (u *upgrades) upgrade(ctx context.Context, c *net.TCPConn, id peer.ID) (transport.CapableConn, error) {
	dir := network.DirOutbound
	if id == "" {
		dir = network.DirInbound
	}
	mc, err := manet.WrapNetConn(c)
	if err != nil {
		c.Close()
		return nil, err
	}
	scope, err := u.rc.OpenConnection(dir, true, mc.RemoteMultiaddr())
	if err != nil {
		c.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	return u.up.Upgrade(ctx, nil, mc, dir, id, scope)
}

// newResources sets every limit by hand: the defaults stall a node whose peers share an address at eight connections,
// and let one stream buffer 16 MiB.
func newResources(l Limits) (network.ResourceManager, error) {
	all := rcmgr.ResourceLimits{
		Streams: rcmgr.Unlimited, StreamsInbound: rcmgr.Unlimited, StreamsOutbound: rcmgr.Unlimited,
		Conns: rcmgr.Unlimited, ConnsInbound: rcmgr.Unlimited, ConnsOutbound: rcmgr.Unlimited,
		FD: rcmgr.Unlimited, Memory: rcmgr.Unlimited64,
	}
	conns, perPeer, perConn := all, all, all
	n := rcmgr.LimitVal(l.Links + l.Handshakes)
	conns.Conns, conns.ConnsInbound, conns.ConnsOutbound, conns.FD = 2*n, n, n, 2*n
	conns.Memory = rcmgr.LimitVal64(l.Memory + int64(n)*perStreamSpare)
	perPeer.Conns, perPeer.ConnsInbound, perPeer.ConnsOutbound = 4, 4, 4
	perConn.Conns, perConn.ConnsInbound, perConn.ConnsOutbound, perConn.FD = 1, 1, 1, 1
	cfg := rcmgr.PartialLimitConfig{
		System: conns, Transient: conns, AllowlistedSystem: conns, AllowlistedTransient: conns,
		ServiceDefault: all, ServicePeerDefault: all, ProtocolDefault: all, ProtocolPeerDefault: all,
		PeerDefault: perPeer, Conn: perConn, Stream: all,
	}
	every := rate.Limit{RPS: float64(l.DialsPerSec), Burst: 2 * l.DialsPerSec}
	return rcmgr.NewResourceManager(
		rcmgr.NewFixedLimiter(cfg.Build(rcmgr.ConcreteLimitConfig{})),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithNetworkPrefixLimit([]rcmgr.NetworkPrefixLimit{}, []rcmgr.NetworkPrefixLimit{}),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: l.PerAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 64, ConnCount: l.PerAddress}}),
		rcmgr.WithConnRateLimiters(&rate.Limiter{
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: every}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 64, Limit: every}},
				GracePeriod:      time.Minute,
			},
		}),
	)
}

// muxer makes yamux sessions with our own bounds, over a connection that counts what was written.
type muxer struct{}

func (muxer) NewConn(c net.Conn, server bool, scope network.PeerScope) (network.MuxedConn, error) {
	m := &meter{Conn: c}
	t := (*muxyamux.Transport)(&yamux.Config{
		AcceptBacklog:           maxStreams,
		PingBacklog:             4,
		EnableKeepAlive:         true,
		KeepAliveInterval:       keepAlive,
		MeasureRTTInterval:      time.Minute,
		ConnectionWriteTimeout:  writeTimeout,
		MaxIncomingStreams:      maxStreams,
		InitialStreamWindowSize: 256 << 10,
		MaxStreamWindowSize:     streamWindow,
		LogOutput:               io.Discard,
		ReadBufSize:             0, // TLS buffers
		WriteCoalesceDelay:      0,
		MaxMessageSize:          muxMessage,
	})
	mc, err := t.NewConn(m, server, scope)
	if err != nil {
		return nil, err
	}
	return &metered{mc, m}, nil
}

// meter counts the bytes that the muxer has got rid of.
type meter struct {
	net.Conn
	written atomic.Int64
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.Conn.Write(b)
	m.written.Add(int64(n))
	return n, err
}

type metered struct {
	network.MuxedConn
	meter *meter
}

// As hands out the meter to who asks for it.
func (m *metered) As(target any) bool {
	if p, ok := target.(**meter); ok {
		*p = m.meter
		return true
	}
	return m.MuxedConn.As(target)
}

// gater refuses who is not allowed as soon as TLS has shown who it is.
type gater struct{ allow func(peer.ID) bool }

var _ connmgr.ConnectionGater = gater{}

func (g gater) InterceptPeerDial(p peer.ID) bool                 { return g.allow(p) }
func (g gater) InterceptAddrDial(p peer.ID, _ ma.Multiaddr) bool { return g.allow(p) }
func (g gater) InterceptAccept(network.ConnMultiaddrs) bool      { return true }
func (g gater) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return g.allow(p)
}

func (g gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// identity turns the device's key into what libp2p wants.
func identity(key ed25519.PrivateKey) (crypto.PrivKey, peer.ID, error) {
	k, _, err := crypto.KeyPairFromStdKey(&key)
	if err != nil {
		return nil, "", fmt.Errorf("use key: %w", err)
	}
	id, err := peer.IDFromPrivateKey(k)
	return k, id, err
}
