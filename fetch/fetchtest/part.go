package fetchtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/dunlin-project/dunlin/piecehash"
)

var errGone = errors.New("the device has left")

// Part is a fetch.Part in memory.
type Part struct {
	m *piecehash.Manifest

	mu     sync.Mutex // guards the rest
	have   piecehash.Bitmap
	pieces map[int][]byte
}

// NewPart returns an empty part of the content.
func NewPart(m *piecehash.Manifest) *Part {
	return &Part{m: m, have: piecehash.NewBitmap(m.Pieces()), pieces: make(map[int][]byte)}
}

// FullPart returns a part that has all of b.
func FullPart(m *piecehash.Manifest, b []byte) *Part {
	p := NewPart(m)
	for i := range m.Pieces() {
		p.have.Set(i)
		p.pieces[i] = b[m.Offset(i) : m.Offset(i)+m.PieceSize(i)]
	}
	return p
}

// Manifest implements fetch.Part.
func (p *Part) Manifest() *piecehash.Manifest { return p.m }

// Bitmap implements fetch.Part.
func (p *Part) Bitmap() piecehash.Bitmap {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have.Clone()
}

// Put implements fetch.Part.
func (p *Part) Put(i int, b []byte) (bool, error) {
	if err := p.m.Check(i, b); err != nil {
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.have.Set(i) {
		return false, nil
	}
	p.pieces[i] = bytes.Clone(b)
	return true, nil
}

// Piece returns piece i, or nil.
func (p *Part) Piece(i int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pieces[i]
}

// ReadPiece returns piece i in buf if that is large enough, as package store does.
func (p *Part) ReadPiece(i int, buf []byte) ([]byte, error) {
	b := p.Piece(i)
	if b == nil {
		return nil, errors.New("piece is not there")
	}
	return append(buf[:0], b...), nil
}

// Content returns n bytes that look random and are the same for the same seed, with their manifest.
func Content(seed uint64, n int64, pieceLength int64) ([]byte, *piecehash.Manifest) {
	b := make([]byte, 0, n+sha256.Size)
	var block [16]byte
	binary.BigEndian.PutUint64(block[:], seed)
	for i := uint64(0); int64(len(b)) < n; i++ {
		binary.BigEndian.PutUint64(block[8:], i)
		sum := sha256.Sum256(block[:])
		b = append(b, sum[:]...)
	}
	b = b[:n]
	m, _, err := piecehash.SumFile(context.Background(), bytes.NewReader(b), n, pieceLength, nil)
	if err != nil {
		panic(err)
	}
	return b, m
}
