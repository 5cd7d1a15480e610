package swarm

import (
	"crypto/ed25519"
	"fmt"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/swarm/conn"
)

// PeerID returns the name that a device with this key has in the swarm, for those who must know it before it runs.
func PeerID(key ed25519.PrivateKey) (fetch.PeerID, error) {
	_, id, err := conn.Identity(key)
	if err != nil {
		return "", fmt.Errorf("name device: %w", err)
	}
	return fetch.PeerID(id.String()), nil
}
