package fetch

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/dunlin-project/dunlin/piecehash"
)

// peerKey places a device in the ranking of one content. Every device computes the same key: the first eight
// bytes, big-endian, of the SHA-256 of the root and the text form of the peer id.
func peerKey(root piecehash.Root, id PeerID) uint64 {
	h := sha256.New()
	h.Write(root[:])
	h.Write([]byte(id))
	var sum [sha256.Size]byte
	return binary.BigEndian.Uint64(h.Sum(sum[:0]))
}

// spanRank is the rendezvous hash of (content, span, peer): the lower, the earlier this device takes the span, and of
// two claims for one span the lower wins (rule 3). It is one step of SplitMix64 over the peer's key.
func spanRank(key uint64, span int) uint64 {
	z := key + uint64(span+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
