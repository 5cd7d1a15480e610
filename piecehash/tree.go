package piecehash

import (
	"crypto/sha256"
	"math/bits"
)

// hashPiece returns the root of the subtree over b, width leaves wide (a power of two). Leaves that b does not reach are
// zero hashes (BEP 52: zero hashes only at leaf level).
func hashPiece(b []byte, width int) Hash {
	var s subtree
	for len(b) > 0 {
		n := min(LeafSize, len(b))
		s.push(sha256.Sum256(b[:n]))
		b = b[n:]
	}
	return s.padTo(width, Hash{})
}

// subtree folds nodes of equal height together as they come; it holds at most one node for each height.
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

// padTo returns the root as if pad had been pushed until there were width nodes, width being a power of two that is not
// below the number pushed. It takes a step for each height, not for each node: at every height the last node either has
// its sibling on the stack, or gets a padded one. It must not be used again afterwards.
func (s *subtree) padTo(width int, pad Hash) Hash {
	if s.count == 0 {
		return zeroAbove(pad, width)
	}
	var last Hash
	open := false // whether last is an unfinished node at this height
	for c, w := s.count, width; w > 1; c, w, pad = c>>1, w>>1, join(pad, pad) {
		switch {
		case c&1 == 1 && open:
			last = join(s.pop(), last)
		case c&1 == 1:
			last, open = join(s.pop(), pad), true
		case open:
			last = join(last, pad)
		}
	}
	if !open {
		return s.nodes[0]
	}
	return last
}

func (s *subtree) pop() Hash {
	s.n--
	return s.nodes[s.n]
}

// rootOfLayer folds a piece layer into the root; missing pieces up to the next power of two count as the hash of a
// zero subtree of a piece's height.
func rootOfLayer(layer []Hash, pieceLength int64) Hash {
	var s subtree
	for _, h := range layer {
		s.push(h)
	}
	return s.padTo(nextPow2(len(layer)), zeroSubtree(int(pieceLength/LeafSize)))
}

// zeroSubtree is the root of width zero hashes; width is a power of two.
func zeroSubtree(width int) Hash { return zeroAbove(Hash{}, width) }

// zeroAbove is the root of width nodes that all are h; width is a power of two.
func zeroAbove(h Hash, width int) Hash {
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
