package discover

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/dunlin-project/dunlin/swarm/conn"
)

// wire is a network in memory: what one says all hear, the sayer included.
type wire struct {
	mu      sync.Mutex
	plugs   []*plug
	packets int // that were multicast
	alone   int // that went to one
}

// plug is a socket on it.
type plug struct {
	w    *wire
	addr netip.AddrPort
	in   chan letter
	gone chan struct{}
}

type letter struct {
	b    []byte
	from netip.AddrPort
}

func (p *plug) receive(b []byte) (int, int, netip.AddrPort, error) {
	select {
	case l := <-p.in:
		return copy(b, l.b), 0, l.from, nil
	case <-p.gone:
		return 0, 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (p *plug) multicast(b []byte, _ int) error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.packets++
	for _, o := range p.w.plugs {
		o.in <- letter{b, p.addr}
	}
	return nil
}

func (p *plug) unicast(b []byte, to netip.AddrPort) error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.alone++
	for _, o := range p.w.plugs {
		if o.addr == to {
			o.in <- letter{b, p.addr}
			return nil
		}
	}
	return errors.New("nobody is there")
}

func (p *plug) Close() error { close(p.gone); return nil }

// start gives the wire one more device, 192.0.2.i, and returns how many others it has found so far.
func (w *wire) start(t *testing.T, ctx context.Context, wg *sync.WaitGroup, i int, listens bool, change func(*discovery)) (found func() int) {
	t.Helper()
	d, targets := testDiscovery(t)
	var mu sync.Mutex
	known := make(map[target]bool)
	offer := d.Found
	_, id, err := conn.Identity(seededKey(i))
	if err != nil {
		t.Fatal(err)
	}
	d.Self = id
	d.Found = func(id peer.ID, a netip.AddrPort) {
		mu.Lock()
		defer mu.Unlock()
		offer(id, a)
		known[target{id, a}] = true
		*targets = nil
	}
	ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
	if listens {
		d.Listen = []netip.AddrPort{netip.AddrPortFrom(ip, 7680)}
	}
	if change != nil {
		change(d)
	}
	p := &plug{w: w, addr: netip.AddrPortFrom(ip, mdnsPort), in: make(chan letter, 4096), gone: make(chan struct{})}
	w.mu.Lock()
	w.plugs = append(w.plugs, p)
	w.mu.Unlock()
	on := onLink{prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, own: []netip.Addr{ip}}
	s := &session{
		discovery: d, on: on, tags: d.tags(time.Now()), kick: make(chan struct{}, 1),
		heard: rate.NewLimiter(packetsPerSecond, packetsAtOnce), reply: rate.NewLimiter(repliesPerSecond, 4*repliesPerSecond),
		lines: []*line{{socket: p, iface: iface{net.Interface{Index: 2}, []netip.Addr{ip}}}},
	}
	s.says = d.announcements(time.Now())
	wg.Go(func() { s.listen(ctx, p) })
	wg.Go(func() { s.talk(ctx); p.Close() })
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(known)
	}
}

// TestDevicesThatStartTogether find each other in a moment, without a storm.
func TestDevicesThatStartTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 12
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var w wire
		var wg sync.WaitGroup
		var found []func() int
		for i := range n {
			found = append(found, w.start(t, ctx, &wg, i+1, true, nil))
			time.Sleep(10 * time.Millisecond) // processes do not start in one instant
		}
		time.Sleep(20 * time.Millisecond)
		for i, f := range found {
			if f() != n-1 {
				t.Errorf("device %d found %d of %d at once", i, f(), n-1)
			}
		}
		time.Sleep(2 * time.Second)
		w.mu.Lock()
		packets, alone := w.packets, w.alone
		w.mu.Unlock()
		// Each has announced itself two or three times and asked four times, and was answered thrice by each.
		if packets > 8*n || alone > 3*n*n {
			t.Errorf("%d packets to all and %d to one", packets, alone)
		}
		cancel()
		wg.Wait()
	})
}

// TestALateDeviceFindsAll, and one that does not listen too, and is not found.
func TestALateDeviceFindsAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var w wire
		var wg sync.WaitGroup
		a, b := w.start(t, ctx, &wg, 1, true, nil), w.start(t, ctx, &wg, 2, true, nil)
		time.Sleep(20 * time.Second)
		c, d := w.start(t, ctx, &wg, 3, true, nil), w.start(t, ctx, &wg, 4, false, nil)
		time.Sleep(50 * time.Millisecond)
		if a() != 2 || b() != 2 || c() != 2 || d() != 3 {
			t.Errorf("they found %d, %d, %d and %d", a(), b(), c(), d())
		}
		cancel()
		wg.Wait()
	})
}

// TestASettledSiteIsQuiet: one question a minute for all, and an answer of each.
func TestASettledSiteIsQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 20
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var w wire
		var wg sync.WaitGroup
		for i := range n {
			w.start(t, ctx, &wg, i+1, true, nil)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Minute)
		w.mu.Lock()
		before := w.packets
		w.mu.Unlock()
		time.Sleep(10 * time.Minute)
		w.mu.Lock()
		each := (w.packets - before) / 10
		w.mu.Unlock()
		if each < n || each > 2*n+2 {
			t.Errorf("%d packets a minute with %d devices", each, n)
		}
		cancel()
		wg.Wait()
	})
}

// TestNobodyElseIsAnswered: a forged question must not make us send to where nobody asked.
func TestNobodyElseIsAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var w wire
		var wg sync.WaitGroup
		w.start(t, ctx, &wg, 1, true, nil)
		time.Sleep(10 * time.Second)
		q, err := question(aPeer, true)
		if err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		before := w.alone
		for _, from := range []string{"203.0.113.9:5353", "192.0.2.9:5353", "192.0.2.255:5353"} {
			w.plugs[0].in <- letter{q, netip.MustParseAddrPort(from)}
		}
		w.mu.Unlock()
		time.Sleep(time.Second)
		w.mu.Lock()
		if sent := w.alone - before; sent != 1 {
			t.Errorf("%d answers for the one neighbour that asked", sent)
		}
		w.mu.Unlock()
		cancel()
		wg.Wait()
	})
}
