package piecehash

import (
	"crypto/sha256"
	"encoding/binary"
)

// stream is n bytes of the content that all vectors are made of: SHA-256 of 0, 1, 2, ... as 8 bytes little-endian.
// e2e/vectors/make.py makes the same.
func stream(n int) []byte {
	out := make([]byte, 0, n+sha256.Size)
	var counter [8]byte
	for i := uint64(0); len(out) < n; i++ {
		binary.LittleEndian.PutUint64(counter[:], i)
		h := sha256.Sum256(counter[:])
		out = append(out, h[:]...)
	}
	return out[:n]
}
