package discover

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TestCachesAreFound: by a device that shares nothing, which nobody finds, without a word of the devices that are no caching
// nodes; and by one that shares.
func TestCachesAreFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var w wire
		var wg sync.WaitGroup
		var mu sync.Mutex
		caches := make(map[int][]netip.AddrPort)
		take := func(i int) func(peer.ID, netip.AddrPort) {
			return func(_ peer.ID, a netip.AddrPort) {
				mu.Lock()
				defer mu.Unlock()
				if !slices.Contains(caches[i], a) {
					caches[i] = append(caches[i], a)
				}
			}
		}
		found := make(map[int]func() int)
		for i := 1; i <= 3; i++ { // plain devices
			found[i] = w.start(t, ctx, &wg, i, true, nil)
		}
		found[4] = w.start(t, ctx, &wg, 4, true, func(d *discovery) {
			d.Caches = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:7681"), netip.MustParseAddrPort("127.0.0.1:7682")}
		})
		time.Sleep(20 * time.Second)
		w.mu.Lock()
		before := w.packets + w.alone
		w.mu.Unlock()
		w.start(t, ctx, &wg, 5, false, func(d *discovery) { d.Found, d.FoundCache = nil, take(5) })
		time.Sleep(50 * time.Millisecond)
		mu.Lock()
		if got := caches[5]; len(got) != 1 || got[0] != netip.MustParseAddrPort("192.0.2.4:7681") {
			t.Errorf("the device that shares nothing has found %v", got)
		}
		mu.Unlock()
		w.mu.Lock()
		if n := w.packets + w.alone - before; n > 3 { // its farewell to an earlier life, its question, the node's answer
			t.Errorf("%d packets for one question", n)
		}
		w.mu.Unlock()
		found[6] = w.start(t, ctx, &wg, 6, true, func(d *discovery) { d.FoundCache = take(6) })
		time.Sleep(50 * time.Millisecond)
		mu.Lock()
		if got := caches[6]; len(got) != 1 || found[6]() != 4 || found[1]() != 4 {
			t.Errorf("the device that shares has found %v and %d devices, an old one %d", got, found[6](), found[1]())
		}
		mu.Unlock()
		cancel()
		wg.Wait()
	})
}
