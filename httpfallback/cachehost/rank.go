package cachehost

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/dunlin-project/dunlin/piecehash"
)

// rank is the rendezvous hash of content and node: the first eight bytes, big-endian, of the SHA-256 of the root and the node's
// name. The node with the lowest is the one that the content falls to. All devices that know the same nodes agree without a
// word, so that one node of a site has the content, and not each of them a copy; when a node goes, only its contents move.
func rank(root piecehash.Root, name string) uint64 {
	h := sha256.New()
	h.Write(root[:])
	h.Write([]byte(name))
	var sum [sha256.Size]byte
	return binary.BigEndian.Uint64(h.Sum(sum[:0]))
}

// byRank orders nodes for a content: by whose word they are known, then by rank.
func byRank(root piecehash.Root, hosts []*host) {
	slices.SortFunc(hosts, func(a, b *host) int {
		return cmp.Or(cmp.Compare(a.tier, b.tier), cmp.Compare(rank(root, a.name), rank(root, b.name)), cmp.Compare(a.name, b.name))
	})
}
