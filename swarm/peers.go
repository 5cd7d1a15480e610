package swarm

import (
	"slices"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// PeerInfo is how things stand with one peer.
type PeerInfo struct {
	ID       fetch.PeerID
	Role     fetch.Role
	Addr     string        // of the other end, as host:port
	Dialled  bool          // by this device
	RTT      time.Duration // of the authentication, 0 unknown
	Since    time.Time     // the connection stands
	Received int64         // payload bytes from it
	Sent     int64         // payload bytes to it, before compression
}

// Peers returns the peers that are connected now, by id.
func (n *Node) Peers() []PeerInfo {
	var out []PeerInfo
	for _, l := range n.linksNow() {
		out = append(out, PeerInfo{
			ID: l.id, Role: l.role, Addr: l.conn.RemoteAddr(), Dialled: l.dialled, RTT: l.rtt, Since: l.since,
			Received: l.asker.Arrived(), Sent: l.sent.Load(),
		})
	}
	slices.SortFunc(out, func(a, b PeerInfo) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out
}
