package swarmtest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/dunlin-project/dunlin/swarm"
)

// LAN is some nodes that know each other.
type LAN struct {
	Nodes []*swarm.Node

	stop []context.CancelFunc
	done []chan struct{}
	once []sync.Once
}

// Start runs k nodes on loopback addresses of their own, each with all others as static peers, until the test ends.
// change, if not nil, adapts the configuration of node i before it is made.
func Start(t testing.TB, k int, change func(i int, c *swarm.Config)) *LAN {
	t.Helper()
	l := &LAN{once: make([]sync.Once, k)}
	cfgs := configs(t, k)
	for i := range cfgs {
		if change != nil {
			change(i, &cfgs[i])
		}
		n, err := swarm.New(cfgs[i])
		if err != nil {
			t.Fatal(err)
		}
		l.Nodes = append(l.Nodes, n)
	}
	for _, n := range l.Nodes {
		l.run(t, n)
	}
	t.Cleanup(func() {
		for i := range l.Nodes {
			l.Stop(i)
		}
	})
	return l
}

func (l *LAN) run(t testing.TB, n *swarm.Node) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	l.stop = append(l.stop, cancel)
	l.done = append(l.done, done)
	go func() {
		defer close(done)
		if err := n.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	}()
}

// Stop ends node i and waits until it has.
func (l *LAN) Stop(i int) {
	l.once[i].Do(func() {
		l.stop[i]()
		<-l.done[i]
	})
}

// configs makes the configurations of k nodes on addresses that no other test has, most likely.
func configs(t testing.TB, k int) []swarm.Config {
	net := [2]byte{byte(1 + rand.IntN(254)), byte(rand.IntN(256))}
	cfgs := make([]swarm.Config, k)
	addrs := make([]string, k)
	for i := range cfgs {
		pub, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		ip := netip.AddrFrom4([4]byte{127, net[0], net[1], byte(i + 1)})
		cfgs[i] = swarm.Config{Key: key, Listen: []netip.AddrPort{netip.AddrPortFrom(ip, swarm.DefaultPort)}}
		addrs[i] = Multiaddr(t, ip, swarm.DefaultPort, pub)
	}
	for i := range cfgs {
		for j, a := range addrs {
			if i != j {
				cfgs[i].Peers = append(cfgs[i].Peers, a)
			}
		}
	}
	return cfgs
}

// Multiaddr is how a static peer with that address and key is configured.
func Multiaddr(t testing.TB, ip netip.Addr, port uint16, pub ed25519.PublicKey) string {
	t.Helper()
	k, err := crypto.UnmarshalEd25519PublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPublicKey(k)
	if err != nil {
		t.Fatal(err)
	}
	family := "ip6"
	if ip.Is4() {
		family = "ip4"
	}
	return fmt.Sprintf("/%s/%s/tcp/%d/p2p/%s", family, ip, port, id)
}
