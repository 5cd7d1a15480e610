package swarm

import (
	"context"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/swarm/group"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

func TestSameGroupIsLinked(t *testing.T) {
	t.Parallel()
	n := startNode(t, func(c *Config) { c.Group = "ward 7" })
	r := dialRaw(t, n, "ward 7")
	if _, err := r.auth.Dial(t.Context(), r.conn); err != nil {
		t.Fatal(err)
	}
	await(t, "a link", func() bool { return len(n.Peers()) == 1 })
	if p := n.Peers()[0]; p.ID != fetch.PeerID(r.auth.Self.String()) || p.Dialled {
		t.Errorf("%+v", p)
	}
}

func TestOtherGroupIsClosed(t *testing.T) {
	t.Parallel()
	n := startNode(t, func(c *Config) { c.Group = "a" })
	r := dialRaw(t, n, "b")
	if _, err := r.auth.Dial(t.Context(), r.conn); err == nil {
		t.Error("it came in")
	}
	if !r.closedWithin(5*time.Second) || len(n.Peers()) != 0 {
		t.Error("the connection stays")
	}
}

// TestNothingIsServedBeforeAuthentication: a first stream of any other protocol ends the connection, with not a byte in
// answer but the negotiation's "na".
func TestNothingIsServedBeforeAuthentication(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 1<<20, 256<<10)
	n := startNode(t, nil)
	if _, err := n.Join(fetchtest.FullPart(m, data)); err != nil {
		t.Fatal(err)
	}
	for _, proto := range []string{wire.SiteProtocol, wire.PieceProtocol, wire.LayerProtocol, "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"} {
		r := dialRaw(t, n, DefaultGroup)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if _, err := r.conn.Open(ctx, proto); err == nil {
			t.Errorf("%s is spoken before the authentication", proto)
		}
		cancel()
		r.conn.Close()
	}
}

func TestSilentPeerIsClosed(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a timeout")
	}
	t.Parallel()
	n := startNode(t, nil)
	r := dialRaw(t, n, DefaultGroup)
	if !r.closedWithin(group.Timeout + 5*time.Second) {
		t.Error("a connection that says nothing stays")
	}
}
