package swarm_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/swarm"
	"github.com/dunlin-project/dunlin/swarm/swarmtest"
	"github.com/dunlin-project/dunlin/swarm/table"
)

// TestALargeSite: with more devices than links each device has a bounded number of links, everybody hears what one claims
// and draws, and that is still so when some have gone.
func TestALargeSite(t *testing.T) { // alone: a thousand handshakes would hold up whatever runs beside them
	if os.Getenv("DUNLIN_E2E") == "" {
		t.Skip("many handshakes: make e2e runs it, without the race detector")
	}
	const n, gone = table.MeshMost + 16, 10
	_, m := fetchtest.Content(1, 200*256<<10, 256<<10)
	lan := swarmtest.Start(t, n, func(_ int, c *swarm.Config) { c.Peers = nil })
	rooms, ears := make([]*swarm.Room, n), make([]*ear, n)
	for i, node := range lan.Nodes {
		rooms[i] = join(t, node, fetchtest.NewPart(m))
		ears[i] = listenTo(rooms[i])
	}
	for _, a := range lan.Nodes {
		for _, b := range lan.Nodes {
			if a != b {
				addr := b.Addrs()[0] // /ip4/ADDRESS/tcp/PORT/p2p/ID
				var host, id string
				var port int
				if _, err := fmt.Sscanf(split(addr), "ip4 %s tcp %d p2p %s", &host, &port, &id); err != nil {
					t.Fatal(addr, err)
				}
				if err := a.Discovered(id, fmt.Sprintf("%s:%d", host, port)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	// said plays one word until all who are there have heard it.
	said := func(sayer, first, from int) {
		t.Helper()
		id := lan.Nodes[sayer].ID()
		round := 0
		eventually(t, "everybody hears it", func() bool {
			if round++; round%100 == 1 { // a claim lives by being said again, and so what was lost comes
				rooms[sayer].Say(fetch.SayClaim{First: first, Count: 1, Done: int64(round)})
			}
			for i := from; i < n; i++ {
				if i != sayer && ears[i].said(id, true, first)+ears[i].said(id, false, first) == 0 {
					return false
				}
			}
			return true
		})
	}
	said(n-1, 3, 0)
	said(n/2, 5, 0)
	links := 0
	eventually(t, "everybody has some links and nobody many", func() bool {
		fewest, most := n, 0
		links = 0
		for _, node := range lan.Nodes {
			k := len(node.Peers())
			fewest, most, links = min(fewest, k), max(most, k), links+k
		}
		return fewest >= 4 && most <= 40
	})
	t.Logf("%d devices with %.1f links each", n, float64(links)/n)
	for i := range gone {
		lan.Stop(i)
	}
	said(n-1, 7, gone)
	said(n/2, 9, gone)
}

// split puts spaces where a multiaddr has slashes.
func split(addr string) string {
	b := []byte(addr[1:])
	for i := range b {
		if b[i] == '/' {
			b[i] = ' '
		}
	}
	return string(b)
}
