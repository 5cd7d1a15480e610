package piece

import (
	"context"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/dunlin-project/dunlin/piecehash"
)

// Memory is where pieces stand on their way in and out, for all connections of the process. What is read to be sent is
// bounded; what comes in is bounded by who asks for it. It is safe for concurrent use.
type Memory struct {
	loans   *semaphore.Weighted // bytes of pieces read and not yet sent
	starved atomic.Int32        // how many wait for a loan
	pool    buffers
}

// NewMemory returns memory that holds at most limit bytes of pieces that are to be sent, and one of the largest at least.
func NewMemory(limit int64) *Memory {
	return &Memory{loans: semaphore.NewWeighted(max(limit, piecehash.MaxPieceLength))}
}

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

// loan is the memory of one piece that is being sent.
type loan struct {
	memory  *Memory
	content *Content
	piece   int
	size    int64
	buf     []byte // nil while there is none
	data    []byte
}

// bytes returns the piece, reading it again if its memory was given up.
func (p *loan) bytes(ctx context.Context) ([]byte, error) {
	if p.buf != nil {
		return p.data, nil
	}
	p.size = p.content.m.PieceSize(p.piece)
	p.memory.starved.Add(1)
	err := p.memory.loans.Acquire(ctx, p.size)
	p.memory.starved.Add(-1)
	if err != nil {
		return nil, err
	}
	p.buf = p.memory.pool.get(int(p.size))
	p.data, err = p.content.source.ReadPiece(p.piece, p.buf)
	if err == nil && int64(len(p.data)) != p.size {
		err = fmt.Errorf("piece %d has %d bytes, want %d", p.piece, len(p.data), p.size)
	}
	if err != nil {
		p.release()
		return nil, err
	}
	return p.data, nil
}

func (p *loan) release() {
	if p.buf == nil {
		return
	}
	p.memory.pool.put(p.buf)
	p.memory.loans.Release(p.size)
	p.buf, p.data = nil, nil
}

// yield releases the memory when others wait for it.
func (p *loan) yield() {
	if p.memory.starved.Load() > 0 {
		p.release()
	}
}
