package fetch_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/piecehash"
)

// scripted is a site whose events are written down.
type scripted chan fetch.Heard

func (scripted) Say(fetch.Saying)           {}
func (s scripted) Hear() <-chan fetch.Heard { return s }

// nobody is a member that has nothing.
type nobody struct{}

func (nobody) Fetch(context.Context, int, fetch.Sink) error { return fetch.ErrAbsent }

// wayside is an origin by way of nodes: it gives what it has as a node's, once the nodes that were members have left.
type wayside struct {
	data []byte
	m    *piecehash.Manifest

	mu   sync.Mutex
	told []int
	bad  []string
	left chan struct{}
}

func (w *wayside) Wronged(by fetch.Joined, piece int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bad = append(w.bad, fmt.Sprint(by.ID, " ", by.Addr, " ", piece))
}

func (w *wayside) Linked(nodes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, nodes)
	if nodes == 0 {
		close(w.left)
	}
}

func (w *wayside) Fetch(ctx context.Context, first, count int, _ fetch.Reason, sink fetch.Sink) error {
	select {
	case <-w.left:
	case <-ctx.Done():
		return ctx.Err()
	}
	for i := first; i < first+count; i++ {
		b := w.data[w.m.Offset(i) : w.m.Offset(i)+w.m.PieceSize(i)]
		sink.(fetch.CacheSink).CacheProgress(ctx, len(b))
		if err := sink.Piece(i, b); err != nil {
			return err
		}
	}
	return nil
}

// TestNodesByTheWay: an origin that goes by way of caching nodes hears how many of them are members, and what it gives as theirs is
// counted so.
func TestNodesByTheWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, m := fetchtest.Content(5, 64<<10, 16<<10)
		w := &wayside{data: data, m: m, left: make(chan struct{})}
		site := make(scripted, 16)
		join := func(id fetch.PeerID, r fetch.Role) {
			site <- fetch.Joined{ID: id, Role: r, Have: piecehash.NewBitmap(m.Pieces()), Peer: nobody{}}
		}
		join("node", fetch.Cache)
		join("device", fetch.Device)
		join("another node", fetch.Cache)
		join("node", fetch.Cache) // again
		site <- fetch.Left{ID: "device"}
		site <- fetch.Left{ID: "node"}
		site <- fetch.Left{ID: "another node"}
		stats, err := fetch.File(t.Context(), fetchtest.NewPart(m), fetch.Options{Self: "me", Site: site, Origin: w})
		if err != nil {
			t.Fatal(err)
		}
		if want := []int{1, 2, 1, 0}; !slices.Equal(w.told, want) {
			t.Errorf("it was told of %v nodes, want %v", w.told, want)
		}
		if stats.From != (fetch.From{Cache: int64(len(data))}) || stats.Waste != 0 || stats.OriginBy != [4]int64{} {
			t.Errorf("%+v", stats)
		}
	})
}

// liar is a member whose piece 0 is wrong; it leaves with it, as whom the swarm bans.
type liar struct {
	site scripted
	id   fetch.PeerID
}

func (l liar) Fetch(ctx context.Context, i int, sink fetch.Sink) error {
	sink.Progress(ctx, 16<<10)
	err := sink.Piece(i, make([]byte, 16<<10))
	l.site <- fetch.Left{ID: l.id}
	return err
}

// TestAWrongPieceOfANode: of a wrong piece that came over a link its sender is told if it is a caching node, before it is taken for
// gone; another device is not.
func TestAWrongPieceOfANode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, m := fetchtest.Content(5, 64<<10, 16<<10)
		w := &wayside{data: data, m: m, left: make(chan struct{})}
		site := make(scripted, 16)
		one := piecehash.NewBitmap(m.Pieces())
		one.Set(0)
		site <- fetch.Joined{ID: "device", Have: one.Clone(), Peer: liar{site, "device"}}
		site <- fetch.Joined{ID: "node", Role: fetch.Cache, Have: one, Peer: liar{site, "node"}, Addr: netip.MustParseAddr("10.0.0.7")}
		stats, err := fetch.File(t.Context(), fetchtest.NewPart(m), fetch.Options{Self: "me", Site: site, Origin: w})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"node 10.0.0.7 0"}; !slices.Equal(w.bad, want) {
			t.Errorf("told %q, want %q: %+v", w.bad, want, stats)
		}
	})
}
