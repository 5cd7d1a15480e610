package swarm_test

import (
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/swarm"
	"github.com/dunlin-project/dunlin/swarm/swarmtest"
)

// TestSeveralGroups: members of either group have content and piece layers of one who is a member of both, whoever dials, and
// have no link to each other.
func TestSeveralGroups(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(3, 2<<20, 256<<10)
	names := []string{"a", "b", "a", "b", "a"}
	lan := swarmtest.Start(t, len(names), func(i int, c *swarm.Config) {
		c.Group = names[i]
		if i == 2 { // in the middle, so that it dials some and is dialled by others
			c.Groups = []string{"b"}
		}
	})
	both := lan.Nodes[2]
	join(t, both, fetchtest.FullPart(m, data))
	for i, n := range lan.Nodes {
		if n == both {
			continue
		}
		hear := join(t, n, fetchtest.NewPart(m)).Hear()
		for next[fetch.Joined](t, hear).ID != both.ID() { // it fails when nobody comes any more
		}
		if layer, err := n.Layer(t.Context(), m.Content); err != nil || layer.Root() != m.Root() {
			t.Errorf("node %d of %s has no layer: %v", i, names[i], err)
		}
	}
	for end := time.Now().Add(10 * time.Second); len(both.Peers()) < len(names)-1 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	for i, n := range lan.Nodes {
		of := make(map[fetch.PeerID]bool)
		for _, p := range n.Peers() {
			of[p.ID] = true
		}
		for j, other := range lan.Nodes {
			same := names[i] == names[j] || n == both || other == both
			if of[other.ID()] && !same {
				t.Errorf("node %d of %s is linked to node %d of %s", i, names[i], j, names[j])
			}
			if i != j && same && (n == both || other == both) && !of[other.ID()] {
				t.Errorf("node %d is not linked to node %d", i, j)
			}
		}
	}
}

func TestGroupsAreChecked(t *testing.T) {
	t.Parallel()
	for name, groups := range map[string][]string{"too many": {"1", "2", "3", "4", "5", "6", "7", "8"}, "empty": {""}, "long": {string(make([]byte, 256))}} {
		if _, err := swarm.New(swarm.Config{Groups: groups}); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
