package signature

import (
	"crypto/sha256"
	"hash"

	"golang.org/x/crypto/blake2b"

	"github.com/dunlin-project/dunlin/piecehash"
)

// Digests are what the schemes need to know of a file.
type Digests struct {
	Length  int64 // bytes
	SHA256  piecehash.Hash
	BLAKE2b [blake2b.Size]byte // BLAKE2b-512, without a key
}

// Hasher makes Digests of what is written to it.
type Hasher struct {
	length  int64
	sha256  hash.Hash
	blake2b hash.Hash
}

// NewHasher begins with an empty file.
func NewHasher() *Hasher {
	b, err := blake2b.New512(nil)
	if err != nil {
		panic(err) // it fails only for a key that is too long, and there is none
	}
	return &Hasher{sha256: sha256.New(), blake2b: b}
}

// Write implements io.Writer. It never fails.
func (h *Hasher) Write(b []byte) (int, error) {
	h.length += int64(len(b))
	h.sha256.Write(b)
	h.blake2b.Write(b)
	return len(b), nil
}

// Digests returns the digests of what was written so far.
func (h *Hasher) Digests() Digests {
	d := Digests{Length: h.length}
	h.sha256.Sum(d.SHA256[:0])
	h.blake2b.Sum(d.BLAKE2b[:0])
	return d
}
