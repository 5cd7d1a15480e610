package swarm

import "github.com/libp2p/go-libp2p/core/peer"

// Discovered does what discovery does when it has heard of a peer.
func (n *Node) Discovered(id, target string) error {
	p, err := peer.Decode(id)
	if err != nil {
		return err
	}
	n.post(evFound{p, target, false})
	return nil
}
