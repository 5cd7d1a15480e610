package swarm

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/conn/conntest"
	"github.com/dunlin-project/dunlin/swarm/group"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// This file has what attacks need: a node to attack, and a peer that speaks the protocols by hand.

// startNode runs a node on a loopback port of its own until the test ends.
func startNode(t testing.TB, change func(*Config)) *Node {
	t.Helper()
	cfg := Config{Listen: freePort()}
	if change != nil {
		change(&cfg)
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return n
}

// freePort is a free port of the loopback.
func freePort() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")} }

// raw is a peer that does what the test says, and nothing by itself.
type raw struct {
	t    testing.TB
	auth group.Authenticator
	conn *conn.Conn
}

// rawPeers numbers the keys of raw peers.
var rawPeers atomic.Int64

// dialRaw connects to the node, with TLS and the muxer, and says nothing more.
func dialRaw(t testing.TB, n *Node, name string) *raw {
	t.Helper()
	i := int(rawPeers.Add(1))
	c, err := net.Dial("tcp", n.listen[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	up, err := conntest.Upgrader(t, i).Upgrade(t.Context(), c.(*net.TCPConn), n.self)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Close() })
	return &raw{t, group.Authenticator{Self: conntest.ID(t, i), Keys: []group.Key{group.Open(name)}}, up}
}

// newMember connects and authenticates.
func newMember(t testing.TB, n *Node) *raw {
	t.Helper()
	r := dialRaw(t, n, DefaultGroup)
	if _, err := r.auth.Dial(t.Context(), r.conn); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *raw) open(proto string) conn.Stream {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Second)
	defer cancel()
	s, err := r.conn.Open(ctx, proto)
	if err != nil {
		r.t.Fatal(err)
	}
	s.SetDeadline(time.Now().Add(20 * time.Second))
	return s
}

func (r *raw) write(s conn.Stream, frames ...[]byte) {
	r.t.Helper()
	for _, b := range frames {
		if _, err := s.Write(b); err != nil {
			r.t.Fatal(err)
		}
	}
}

// closedWithin reports whether the node closes the connection in time.
func (r *raw) closedWithin(d time.Duration) bool {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if r.conn.IsClosed() {
			return true
		}
	}
	return false
}

// site opens the control stream and answers what the node shares with a full bitmap, so that it becomes a member.
func (r *raw) site() (conn.Stream, *wire.Interest) {
	r.t.Helper()
	s := r.open(wire.SiteProtocol)
	rd := wire.NewReader(s)
	for {
		b, err := rd.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		m, err := wire.DecodeSite(b)
		if err != nil {
			r.t.Fatal(err)
		}
		if i, ok := m.(*wire.Interest); ok {
			go io.Copy(io.Discard, s)
			return s, i
		}
	}
}

// joinAs makes the raw peer a member of what the node shares, under its own number 1, with everything.
func (r *raw) joinAs() conn.Stream {
	r.t.Helper()
	s, i := r.site()
	r.write(s,
		wire.EncodeSite(&wire.Interest{Room: 1, Swarm: i.Swarm, Epoch: i.Epoch, Pieces: i.Pieces}),
		wire.EncodeSite(&wire.Bitmap{Room: 1, Full: true, Last: true}))
	return s
}

// await waits until cond holds.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// heard waits for the next event of a kind.
func heard[T fetch.Heard](t testing.TB, ch <-chan fetch.Heard) T {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case h, ok := <-ch:
			if !ok {
				t.Fatal("the room has ended")
			}
			if x, ok := h.(T); ok {
				return x
			}
		case <-timeout:
			var zero T
			t.Fatalf("no %T in time", zero)
		}
	}
}

// swarmGoroutines counts the goroutines of this project's packages and of what they start.
func swarmGoroutines() (n int, stacks string) {
	b := make([]byte, 4<<20)
	b = b[:runtime.Stack(b, true)]
	var all []string
	for g := range strings.SplitSeq(string(b), "\n\n") {
		if strings.Contains(g, "swarm.(*") || strings.Contains(g, "go-yamux") || strings.Contains(g, "discover.(*") {
			all = append(all, g)
		}
	}
	return len(all), strings.Join(all, "\n\n")
}

// anyID is some content that nobody shares.
func anyID() (id wire.SwarmID) {
	rand.Read(id[:])
	return id
}
