package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback/cachehost"
	"github.com/dunlin-project/dunlin/internal/page"
	"github.com/dunlin-project/dunlin/swarm"
)

// openSwarm returns how the agent becomes a member of a group: with its own key, and with metrics in the registry for as
// long as it is one.
func openSwarm(cfg agent.Config, caches *cachehost.Hosts, registry prometheus.Registerer, log *slog.Logger) func(group string) (agent.Swarm, error) {
	return func(group string) (agent.Swarm, error) {
		key, err := agent.DeviceKey(cfg.StateFolder())
		if err != nil {
			return nil, err
		}
		listen, err := cfg.ListenAddrs()
		if err != nil {
			return nil, err
		}
		conf := swarm.Config{
			Key: key, Listen: listen, Peers: cfg.Peers, Discover: cfg.Discovery != agent.SwitchOff,
			Group: group, Role: fetch.Device, UploadRate: int64(cfg.Limits.Upload), Log: log,
			Limits: swarmLimits(cfg.Limits.Connections, int64(cfg.Limits.Memory)),
		}
		if caches != nil {
			conf.FoundCache = caches.Found
		}
		node, err := swarm.New(conf)
		if errors.Is(err, syscall.EAFNOSUPPORT) { // a machine without IPv6
			conf.Listen = wildcardIPv4(listen)
			node, err = swarm.New(conf)
		}
		if err != nil {
			return nil, err
		}
		return agentSwarm{node, registry, log}, nil
	}
}

// swarmLimits are the limits of a node for a number of connections and for the bytes that its peers may fill; 0 of either is
// the default.
func swarmLimits(connections int, memory int64) swarm.Limits {
	return swarm.Limits{Links: connections, PerAddress: connections, Memory: memory / 5 * 4, Loaded: memory / 5}
}

// wildcardIPv4 has the IPv4 wildcard in place of the IPv6 one.
func wildcardIPv4(addrs []netip.AddrPort) []netip.AddrPort {
	out := slices.Clone(addrs)
	for i, a := range out {
		if a.Addr() == netip.IPv6Unspecified() {
			out[i] = netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port())
		}
	}
	return out
}

// agentSwarm is a swarm.Node as package agent knows it.
type agentSwarm struct {
	*swarm.Node
	registry prometheus.Registerer
	log      *slog.Logger
}

// Run implements agent.Swarm.
func (s agentSwarm) Run(ctx context.Context) error {
	for _, m := range s.Metrics() {
		if err := s.registry.Register(m); err == nil {
			defer s.registry.Unregister(m)
		}
	}
	s.log.InfoContext(ctx, "listening to other devices", slog.Any("addrs", s.Addrs()))
	return s.Node.Run(ctx)
}

// Join implements agent.Swarm.
func (s agentSwarm) Join(h agent.Holding) (agent.Room, error) {
	room, err := s.Node.Join(h)
	if err != nil {
		return nil, err
	}
	return agentRoom{room, s.ID()}, nil
}

// Peers returns who is connected, for the page.
func (s agentSwarm) Peers() []page.Peer { return pagePeers(s.Node) }

// pagePeers tells the peers of a node as a page knows them.
func pagePeers(n *swarm.Node) []page.Peer {
	var out []page.Peer
	for _, p := range n.Peers() {
		out = append(out, page.Peer(p))
	}
	return out
}

type agentRoom struct {
	*swarm.Room
	self fetch.PeerID
}

// Self implements agent.Room.
func (r agentRoom) Self() fetch.PeerID { return r.self }
