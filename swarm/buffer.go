package swarm

import (
	"math/bits"
	"sync"

	"github.com/dunlin-project/dunlin/piecehash"
)

// buffers keeps the memory of pieces between two uses, by powers of two from one leaf to the largest piece.
type buffers [11]sync.Pool

// get returns n bytes of whatever was in them; n is at most piecehash.MaxPieceLength.
func (p *buffers) get(n int) []byte {
	class, size := bufferClass(n)
	if b, ok := p[class].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, size)
}

// put takes back what get has given.
func (p *buffers) put(b []byte) {
	class, size := bufferClass(cap(b))
	if cap(b) == size {
		b = b[:0]
		p[class].Put(&b)
	}
}

func bufferClass(n int) (class, size int) {
	class = bits.Len(uint(max(n-1, 0) / piecehash.LeafSize))
	return class, piecehash.LeafSize << class
}
