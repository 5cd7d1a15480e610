package store

import (
	"crypto/sha256"
	"hash"
	"sync"

	"github.com/dunlin-project/dunlin/piecehash"
)

// catchUp bounds how many pieces one Put reads back for the whole-file hash. More than one, so that pieces which came out
// of order are caught up with; few, so that no Put takes long.
const catchUp = 4

// prefixHash is the SHA-256 of the file as far as it is contiguous from its start.
type prefixHash struct {
	mu   sync.Mutex // held while hashing; a Put that finds it held leaves the work to the holder
	hash hash.Hash
	next int    // the first piece that is not in the hash
	buf  []byte // for pieces that are read back
}

func newPrefixHash() *prefixHash { return &prefixHash{hash: sha256.New()} }

// advance takes piece i, whose bytes are b, and what was waiting for it.
func (h *prefixHash) advance(p *Partial, i int, b []byte) {
	if !h.mu.TryLock() {
		return
	}
	defer h.mu.Unlock()
	if h.next == i {
		h.hash.Write(b)
		h.next++
	}
	// A piece that cannot be read now is dropped by the reading, or met again by finish, which reports it.
	for n := 0; n < catchUp && p.Has(h.next); n++ {
		if h.take(p) != nil {
			return
		}
	}
}

// take reads the next piece back and hashes it.
func (h *prefixHash) take(p *Partial) error {
	b, err := p.ReadPiece(h.next, h.buf)
	if err != nil {
		return err
	}
	h.buf = b
	h.hash.Write(b)
	h.next++
	return nil
}

// finish hashes what is left of a complete file and returns the sum.
func (h *prefixHash) finish(p *Partial) (piecehash.Hash, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.next < p.manifest.Pieces() {
		if err := h.take(p); err != nil {
			return piecehash.Hash{}, err
		}
	}
	h.buf = nil
	return piecehash.Hash(h.hash.Sum(nil)), nil
}
