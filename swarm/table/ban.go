package table

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Bounds of bans.
const (
	BanTime = 24 * time.Hour
	maxBans = 4096 // the oldest is forgotten for a new one
)

// Bans are the peers that have proved that they lie. They last as long as the process. It guards itself, because it is
// asked in the middle of handshakes as well as by the table of peers.
type Bans struct {
	mu    sync.Mutex
	until map[peer.ID]time.Time
}

// NewBans returns no bans.
func NewBans() *Bans { return &Bans{until: make(map[peer.ID]time.Time)} }

// Add bans the peer for BanTime.
func (b *Bans) Add(now time.Time, id peer.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.until) >= maxBans {
		b.forgetOldest()
	}
	b.until[id] = now.Add(BanTime)
}

func (b *Bans) forgetOldest() {
	var oldest peer.ID
	var first time.Time
	for id, t := range b.until {
		if first.IsZero() || t.Before(first) {
			oldest, first = id, t
		}
	}
	delete(b.until, oldest)
}

// Has reports whether the peer is banned, and forgets a ban that is over.
func (b *Bans) Has(now time.Time, id peer.ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	until, ok := b.until[id]
	if ok && !now.Before(until) {
		delete(b.until, id)
		return false
	}
	return ok
}
