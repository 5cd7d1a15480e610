package conn

import (
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/x/rate"
)

// Times of a connection's beginning.
const (
	HandshakeTimeout = 5 * time.Second // TLS and muxer
	NegotiateTimeout = 5 * time.Second // of a stream
)

// Times of a stream's messages.
const (
	WriteTimeout = 10 * time.Second // of one message
	FrameTimeout = 10 * time.Second // from the first to the last byte of a message
)

// Limits bound what connections cost, whoever makes them. All must be positive.
type Limits struct {
	Conns       int   // at one time
	PerAddress  int   // from one address (one /64 of IPv6)
	DialsPerSec int   // from one address in a second; twice as many at once
	Memory      int64 // bytes of the receive buffers of all streams
}

// spare is the first receive window of a connection's streams, which is not asked for.
const spare = 256 << 10

// newResources sets every limit by hand: the defaults stall a node whose peers share an address at eight connections,
// and let one stream buffer 16 MiB.
func newResources(l Limits) (network.ResourceManager, error) {
	all := rcmgr.ResourceLimits{
		Streams: rcmgr.Unlimited, StreamsInbound: rcmgr.Unlimited, StreamsOutbound: rcmgr.Unlimited,
		Conns: rcmgr.Unlimited, ConnsInbound: rcmgr.Unlimited, ConnsOutbound: rcmgr.Unlimited,
		FD: rcmgr.Unlimited, Memory: rcmgr.Unlimited64,
	}
	total, perPeer, perConn := all, all, all
	n := rcmgr.LimitVal(l.Conns)
	total.Conns, total.ConnsInbound, total.ConnsOutbound, total.FD = 2*n, n, n, 2*n
	total.Memory = rcmgr.LimitVal64(l.Memory + int64(n)*spare)
	perPeer.Conns, perPeer.ConnsInbound, perPeer.ConnsOutbound = 4, 4, 4 // two that cross, and two that replace them
	perConn.Conns, perConn.ConnsInbound, perConn.ConnsOutbound, perConn.FD = 1, 1, 1, 1
	cfg := rcmgr.PartialLimitConfig{
		System: total, Transient: total, AllowlistedSystem: total, AllowlistedTransient: total,
		ServiceDefault: all, ServicePeerDefault: all, ProtocolDefault: all, ProtocolPeerDefault: all,
		PeerDefault: perPeer, Conn: perConn, Stream: all,
	}
	return rcmgr.NewResourceManager(
		rcmgr.NewFixedLimiter(cfg.Build(rcmgr.ConcreteLimitConfig{})),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithNetworkPrefixLimit([]rcmgr.NetworkPrefixLimit{}, []rcmgr.NetworkPrefixLimit{}),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: l.PerAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 64, ConnCount: l.PerAddress}}),
		rcmgr.WithConnRateLimiters(newRates(l.DialsPerSec)),
	)
}

func newRates(perSec int) *rate.Limiter {
	every := rate.Limit{RPS: float64(perSec), Burst: 2 * perSec}
	return &rate.Limiter{SubnetRateLimiter: rate.SubnetLimiter{
		IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: every}},
		IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 64, Limit: every}},
		GracePeriod:      time.Minute,
	}}
}
