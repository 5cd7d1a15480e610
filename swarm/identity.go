package swarm

import (
	"crypto/ed25519"
	"fmt"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/dunlin-project/dunlin/fetch"
)

// PeerID returns the name that a device with this key has in the swarm, for those who must know it before it runs.
func PeerID(key ed25519.PrivateKey) (fetch.PeerID, error) {
	k, _, err := crypto.KeyPairFromStdKey(&key)
	if err != nil {
		return "", fmt.Errorf("name device: %w", err)
	}
	id, err := peer.IDFromPrivateKey(k)
	if err != nil {
		return "", fmt.Errorf("name device: %w", err)
	}
	return fetch.PeerID(id.String()), nil
}
