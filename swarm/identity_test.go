package swarm_test

import (
	"crypto/ed25519"
	"testing"

	"github.com/dunlin-project/dunlin/swarm"
)

// TestPeerIDIsTheNodes: the name that is known before is the one that the node has.
func TestPeerIDIsTheNodes(t *testing.T) {
	t.Parallel()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := swarm.PeerID(key)
	if err != nil {
		t.Fatal(err)
	}
	n, err := swarm.New(swarm.Config{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if n.ID() != id {
		t.Errorf("got %s, the node is %s", id, n.ID())
	}
}
