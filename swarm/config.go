package swarm

import (
	"crypto/ed25519"
	"log/slog"
	"net/netip"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/group"
)

// DefaultPort is the TCP port of the swarm.
const DefaultPort = 7680

// DefaultGroup is the group of devices that were told none.
const DefaultGroup = "lan"

// MaxGroups is how many groups a device may be a member of besides the first.
const MaxGroups = 7

// maxGroupName bounds a group's name in bytes.
const maxGroupName = 255

// Config is what a Node is made of.
type Config struct {
	// Key is the device's key; it is the peer id. Nil makes one for this run.
	Key ed25519.PrivateKey
	// Listen are the addresses to accept connections on; port 0 takes a free one. None means that this device does not
	// share: it listens nowhere and announces nothing.
	Listen []netip.AddrPort
	// Peers are static peers, as multiaddrs that end in /p2p/ID: /ip4/192.0.2.1/tcp/7680/p2p/12D3Koo... They are tried
	// for ever. Only here may a loopback address stand.
	Peers []string
	// Discover looks for peers on the networks this device is on, and announces it there if it listens on an address
	// of theirs. Addresses from discovery are dialled only when they are on-link.
	Discover bool
	// FoundCache, if set, is told of the HTTP faces of caching nodes of the group that discovery finds: the node's name and an
	// on-link address, again and again for as long as it is announced. It may be called from several goroutines.
	FoundCache func(id string, addr netip.AddrPort)
	// Group is the name whose knowledge makes a device a member (method open, which keeps no secret: docs/protocol.md).
	// Empty is DefaultGroup.
	Group string
	// Groups are further groups that the device is a member of, in the same way. What it shares it shares with all of them, and
	// what members of one say about content it passes on to those of the others. At most MaxGroups.
	Groups []string
	// Role is what this device tells its peers it is.
	Role fetch.Role
	// UploadRate bounds what is sent of pieces and layers, in bytes per second over all peers; 0 does not.
	UploadRate int64
	// Limits bound what peers can cost. The zero value takes DefaultLimits.
	Limits Limits
	// Log takes a record for each change of state. Nil discards them.
	Log *slog.Logger
}

// Limits bound what peers can cost. A zero field takes its value from DefaultLimits.
type Limits struct {
	Links       int   // connections that have authenticated
	Handshakes  int   // connections that have not, at one time
	FromOne     int   // of these from one address (one /64 of IPv6); zero is a quarter of Handshakes, 8 at least
	PerAddress  int   // connections from one address (one /64 of IPv6)
	DialsPerSec int   // new connections accepted from one address in a second; twice as many at once
	Memory      int64 // bytes of the receive buffers of all streams
	Loaded      int64 // bytes of pieces read from the store and not yet sent
}

// DefaultLimits are those of a device. A caching node sets Links and Memory by its size.
func DefaultLimits() Limits {
	return Limits{Links: 256, Handshakes: 64, PerAddress: 256, DialsPerSec: 64, Memory: 64 << 20, Loaded: 16 << 20}
}

// dialTimeout bounds the making of a TCP connection.
const dialTimeout = 3 * time.Second

func (c *Config) setDefaults() {
	if c.Group == "" {
		c.Group = DefaultGroup
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	d := DefaultLimits()
	l := &c.Limits
	orDefault(&l.Links, d.Links)
	orDefault(&l.Handshakes, d.Handshakes)
	orDefault(&l.FromOne, max(8, l.Handshakes/4))
	orDefault(&l.PerAddress, d.PerAddress)
	orDefault(&l.DialsPerSec, d.DialsPerSec)
	orDefault(&l.Memory, d.Memory)
	orDefault(&l.Loaded, d.Loaded)
}

func orDefault[T int | int64](p *T, d T) {
	if *p == 0 {
		*p = d
	}
}

func (c *Config) validate() error {
	l := c.Limits
	switch {
	case c.Key != nil && len(c.Key) != ed25519.PrivateKeySize:
		return fault.New(fault.Usage, "swarm: key of %d bytes, want %d", len(c.Key), ed25519.PrivateKeySize)
	case len(c.Groups) > MaxGroups:
		return fault.New(fault.Usage, "swarm: %d groups, at most %d are allowed", 1+len(c.Groups), 1+MaxGroups)
	case c.UploadRate < 0:
		return fault.New(fault.Usage, "swarm: upload rate %d is negative", c.UploadRate)
	case min(int64(l.Links), int64(l.Handshakes), int64(l.FromOne), int64(l.PerAddress), int64(l.DialsPerSec), l.Memory, l.Loaded) < 0:
		return fault.New(fault.Usage, "swarm: a limit is negative")
	}
	for _, name := range append([]string{c.Group}, c.Groups...) {
		if name == "" || len(name) > maxGroupName {
			return fault.New(fault.Usage, "swarm: group name of %d bytes, from 1 to %d are allowed", len(name), maxGroupName)
		}
	}
	return nil
}

// keys are those of the groups, the first one's first.
func (c *Config) keys() (keys []group.Key) {
	for _, name := range append([]string{c.Group}, c.Groups...) {
		keys = append(keys, group.Open(name))
	}
	return keys
}

// conns is what package conn is told of the limits.
func (l *Limits) conns() conn.Limits {
	return conn.Limits{Conns: l.Links + l.Handshakes, PerAddress: l.PerAddress, DialsPerSec: l.DialsPerSec, Memory: l.Memory}
}
