package piecehash

import (
	"fmt"
	"math/bits"
)

// Bitmap is a set of piece indices below a fixed number. The zero value is the empty set of no pieces. It is not safe for
// concurrent use; Clone it to hand it on.
type Bitmap struct {
	n     int
	count int
	words []uint64
}

// NewBitmap returns an empty set of pieces below n.
func NewBitmap(n int) Bitmap { return Bitmap{n: n, words: make([]uint64, (n+63)/64)} }

// ParseBitmap reads what Bytes wrote, for n pieces. It refuses a wrong length and bits set beyond n.
func ParseBitmap(n int, b []byte) (Bitmap, error) {
	if n < 0 || n > MaxPieces || len(b) != (n+7)/8 {
		return Bitmap{}, fmt.Errorf("parse bitmap: %d bytes for %d pieces", len(b), n)
	}
	if n%8 != 0 && b[len(b)-1]>>(n%8) != 0 {
		return Bitmap{}, fmt.Errorf("parse bitmap: bits beyond piece %d are set", n-1)
	}
	m := NewBitmap(n)
	for i, c := range b {
		m.words[i/8] |= uint64(c) << (i % 8 * 8)
		m.count += bits.OnesCount8(c)
	}
	return m, nil
}

// Bytes encodes the set: piece i is bit i%8 (least significant first) of byte i/8.
func (m Bitmap) Bytes() []byte {
	b := make([]byte, (m.n+7)/8)
	for i := range b {
		b[i] = byte(m.words[i/8] >> (i % 8 * 8))
	}
	return b
}

// Len returns the number of pieces there are; Count how many are in the set.
func (m Bitmap) Len() int { return m.n }

// Count returns how many pieces are in the set.
func (m Bitmap) Count() int { return m.count }

// Full reports whether every piece is in the set.
func (m Bitmap) Full() bool { return m.count == m.n }

// Has reports whether piece i is in the set; a piece out of range never is.
func (m Bitmap) Has(i int) bool {
	return i >= 0 && i < m.n && m.words[i/64]>>(i%64)&1 == 1
}

// Set adds piece i and reports whether it was new. It panics when i is out of range.
func (m *Bitmap) Set(i int) bool {
	if i < 0 || i >= m.n {
		panic(fmt.Sprintf("piecehash: no piece %d among %d", i, m.n))
	}
	if m.Has(i) {
		return false
	}
	m.words[i/64] |= 1 << (i % 64)
	m.count++
	return true
}

// Clear removes piece i and reports whether it was there.
func (m *Bitmap) Clear(i int) bool {
	if !m.Has(i) {
		return false
	}
	m.words[i/64] &^= 1 << (i % 64)
	m.count--
	return true
}

// NextMissing returns the first piece at or after from that is not in the set, or -1.
func (m Bitmap) NextMissing(from int) int {
	for i := max(from, 0); i < m.n; {
		w := ^m.words[i/64] >> (i % 64)
		if w == 0 {
			i += 64 - i%64
			continue
		}
		if i += bits.TrailingZeros64(w); i < m.n {
			return i
		}
		break
	}
	return -1
}

// Clone returns an independent copy.
func (m Bitmap) Clone() Bitmap {
	c := m
	c.words = append([]uint64(nil), m.words...)
	return c
}
