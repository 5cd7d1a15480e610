package piecehash

import (
	"crypto/sha256"
	"math/bits"
)

// hashPiece returns the root of the subtree over b, width leaves wide. Leaves that b does not reach are zero hashes
// (BEP 52: zero hashes only at leaf level).
func hashPiece(b []byte, width int) Hash {
	var stack subtree
	for i := 0; i < width; i++ {
		var leaf Hash
		if len(b) > 0 {
			n := min(LeafSize, len(b))
			leaf = sha256.Sum256(b[:n])
			b = b[n:]
		}
		stack.push(leaf)
	}
	return stack.root()
}

// subtree folds equal-height nodes together as they come; it holds at most one node for each height.
type subtree struct {
	nodes [48]Hash
	n     int
	count uint64
}

func (s *subtree) push(h Hash) {
	for c := s.count; c&1 == 1; c >>= 1 {
		s.n--
		h = join(s.nodes[s.n], h)
	}
	s.nodes[s.n] = h
	s.n++
	s.count++
}

// root is defined only when the number of pushed nodes is a power of two.
func (s *subtree) root() Hash { return s.nodes[0] }

// rootOfLayer folds a piece layer into the root; missing pieces up to the next power of two count as the hash of a
// zero subtree of a piece's height.
func rootOfLayer(layer []Hash, pieceLength int64) Hash {
	pad := zeroSubtree(int(pieceLength / LeafSize))
	var s subtree
	for _, h := range layer {
		s.push(h)
	}
	for range nextPow2(len(layer)) - len(layer) {
		s.push(pad)
	}
	return s.root()
}

// zeroSubtree is the root of width zero hashes; width is a power of two.
func zeroSubtree(width int) Hash {
	var h Hash
	for ; width > 1; width >>= 1 {
		h = join(h, h)
	}
	return h
}

func join(l, r Hash) Hash {
	var b [64]byte
	copy(b[:32], l[:])
	copy(b[32:], r[:])
	return sha256.Sum256(b[:])
}

func nextPow2(n int) int {
	if n <= 1 {
		return 1
	}
	return 1 << bits.Len(uint(n-1))
}
