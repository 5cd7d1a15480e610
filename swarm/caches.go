package swarm

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/dunlin-project/dunlin/swarm/discover"
	"github.com/dunlin-project/dunlin/swarm/group"
)

// AnnounceHTTP has discovery announce the HTTP face of this caching node at an address; on loopback it is not announced. It is
// called before Run.
func (n *Node) AnnounceHTTP(addr netip.AddrPort) {
	n.faces = append(n.faces, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()))
}

// FindCaches looks for the HTTP faces of the group's caching nodes until ctx ends, for a device that shares nothing: it
// announces nothing and looks for nobody else. found is as Config.FoundCache. A Node looks by itself.
func FindCaches(ctx context.Context, groupName string, found func(id string, addr netip.AddrPort), log *slog.Logger) {
	if groupName == "" {
		groupName = DefaultGroup
	}
	key := group.Open(groupName)
	discover.Run(ctx, discover.Config{
		Tags:       func(day int64) []string { return []string{key.DayTag(day)} },
		FoundCache: func(id peer.ID, a netip.AddrPort) { found(id.String(), a) },
		Count:      func(string) {},
		Log:        log,
	})
}
