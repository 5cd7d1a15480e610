package swarm

import (
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/conn/conntest"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// These tests hold what others can make a node spend to a bound. Each measures this process, the attackers' side of the
// connections included, and says in a comment what was measured. They do not run beside other tests.

// memory is heap and stacks in use, after what is not used any more was collected.
func memory() int64 {
	runtime.GC()
	runtime.GC() // pools give up what they held in the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// within fails when memory has grown by more than most. It waits a moment: what was dropped may still be in use.
func within(t *testing.T, before, most int64) {
	t.Helper()
	grown := memory() - before
	for end := time.Now().Add(3 * time.Second); grown > most && time.Now().Before(end); grown = memory() - before {
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%.1f MiB more, at most %d are allowed", float64(grown)/(1<<20), most>>20)
	if grown > most {
		t.Errorf("memory has grown by %d MiB, at most %d are allowed", grown>>20, most>>20)
	}
}

// TestMemoryOfSlowReaders: forty peers that ask for all they may, 16 pieces of 4 MiB each (2.5 GiB), and read nothing. What
// is read from the disk for them stays within Limits.Loaded.
func TestMemoryOfSlowReaders(t *testing.T) {
	const peers, piece = 40, 4 << 20
	data, m := fetchtest.Content(2, 4*piece, piece)
	n := startNode(t, nil)
	if _, err := n.Join(fetchtest.FullPart(m, data)); err != nil {
		t.Fatal(err)
	}
	before := memory()
	for range peers {
		r := newMember(t, n)
		r.joinAs()
		s := r.open(wire.PieceProtocol)
		for i := range 16 {
			r.write(s, wire.EncodeAsk(&wire.Request{ID: uint32(i), Room: 1, Piece: i % 4}))
		}
	}
	time.Sleep(300 * time.Millisecond)
	// Measured: 24 MiB. 16 are loaded, the rest waits unread at the forty ends and in buffers of TLS and the muxer.
	within(t, before, 48<<20)
	runtime.KeepAlive(data)
}

// TestMemoryOfAFlood: eight peers that send requests without end and read no answer.
func TestMemoryOfAFlood(t *testing.T) {
	n, _, _ := sharing(t, nil)
	before := memory()
	var b []byte
	for i := range 2000 {
		b = append(b, wire.EncodeAsk(&wire.Request{ID: uint32(i), Room: 1, Piece: i % 8})...)
	}
	sent := 0
	for range 8 {
		r := newMember(t, n)
		r.joinAs()
		s := r.open(wire.PieceProtocol)
		s.SetWriteDeadline(time.Now().Add(time.Second))
		for {
			k, err := s.Write(b)
			if sent += k; err != nil {
				break
			}
		}
	}
	t.Logf("%d MiB of requests were taken", sent>>20)
	within(t, before, 24<<20) // measured: 10 MiB, after 1 MiB of requests: then the node reads no more
}

// TestMemoryOfIdleConnections: a thousand connections that never authenticate, and peers that do up to the limit and then
// say nothing.
func TestMemoryOfIdleConnections(t *testing.T) {
	const links = 64
	n, _, _ := sharing(t, func(c *Config) {
		c.Limits.DialsPerSec = 10_000
		c.Limits.Links, c.Limits.PerAddress = links, 10_000
	})
	before := memory()
	for range links {
		newMember(t, n).joinAs()
	}
	for range 1000 {
		c, err := net.Dial("tcp", n.listen[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	within(t, before, 24<<20) // measured: 7 MiB
	if got := len(n.Peers()); got != links {
		t.Errorf("%d peers are linked, want %d", got, links)
	}
}

// TestMemoryOfGrownWindows: links that were read at full speed, so that their windows grew, and then are read no more. What
// waits unread stays within Limits.Memory, however large each window might become. A window grows only while half of it is
// read in four round trips, so the links are given a long way. Measured: 6 MiB wait, and 32 where nothing
// limits them: there all windows have grown.
func TestMemoryOfGrownWindows(t *testing.T) {
	const links, quick, first = 24, 9 << 20, 256 << 10
	l := DefaultLimits()
	l.Links, l.Handshakes, l.Memory = links, 1, 20<<20
	up, err := conn.NewUpgrader(conntest.Key(0), l.conns(), func(peer.ID) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Close() })
	before := memory()
	var unread atomic.Int64
	var wg sync.WaitGroup
	for range links {
		sender := conntest.Upgrader(t, int(rawPeers.Add(1)))
		a, b := farApart(t, 75*time.Millisecond)
		wg.Go(func() {
			c, err := up.Upgrade(t.Context(), b, "")
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { c.Close() })
			s, err := c.AcceptStream()
			if err == nil {
				_, err = io.CopyN(io.Discard, s, quick)
			}
			if err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			c, err := sender.Upgrade(t.Context(), a, conntest.ID(t, 0))
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { c.Close() })
			s, err := c.OpenStream(t.Context())
			sent := int64(0)
			for chunk := make([]byte, 64<<10); err == nil; {
				s.SetWriteDeadline(time.Now().Add(3 * time.Second))
				var n int
				n, err = s.Write(chunk)
				sent += int64(n)
			}
			unread.Add(sent - quick)
		})
	}
	wg.Wait()
	most := l.Memory + int64(l.Links+l.Handshakes)*first
	t.Logf("%.1f MiB wait unread", float64(unread.Load())/(1<<20))
	if n := unread.Load(); n > most {
		t.Errorf("%d MiB wait unread, at most %d are allowed", n>>20, most>>20)
	}
	within(t, before, most+16<<20)
}

// farApart returns the ends of a TCP connection on which everything takes so long, each way.
func farApart(t *testing.T, delay time.Duration) (a, b *net.TCPConn) {
	a, nearA := conntest.TCP(t)
	nearB, b := conntest.TCP(t)
	go carry(nearB, nearA, delay)
	go carry(nearA, nearB, delay)
	return a, b
}

// carry brings what comes from one end to the other, later.
func carry(to, from net.Conn, delay time.Duration) {
	type parcel struct {
		due  time.Time
		data []byte
	}
	way := make(chan parcel, 1024)
	defer close(way)
	go func() {
		for p := range way {
			time.Sleep(time.Until(p.due))
			to.Write(p.data) // an end that is closed takes nothing more
		}
	}()
	for {
		b := make([]byte, 64<<10)
		n, err := from.Read(b)
		if err != nil {
			return
		}
		way <- parcel{time.Now().Add(delay), b[:n]}
	}
}

// TestLinksAreLimited, those that a node makes itself too.
func TestLinksAreLimited(t *testing.T) {
	const most = 3
	var peers []string
	for range most + 3 {
		peers = append(peers, startNode(t, nil).Addrs()...)
	}
	n := startNode(t, func(c *Config) { c.Peers, c.Limits.Links = peers, most })
	await(t, "as many links as the limit allows", func() bool { return len(n.Peers()) >= most })
	for range 20 {
		time.Sleep(50 * time.Millisecond)
		if got := len(n.Peers()); got > most {
			t.Fatalf("%d links, at most %d are allowed", got, most)
		}
	}
}
