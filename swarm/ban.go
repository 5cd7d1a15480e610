package swarm

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Bounds of bans.
const (
	banTime = 24 * time.Hour
	maxBans = 4096 // the oldest is forgotten for a new one
)

// bans are the peers that have proved that they lie. They last as long as the process. It guards itself, because it is
// asked in the middle of handshakes as well as by the table of peers.
type bans struct {
	mu    sync.Mutex
	until map[peer.ID]time.Time
}

func newBans() *bans { return &bans{until: make(map[peer.ID]time.Time)} }

func (b *bans) add(now time.Time, id peer.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.until) >= maxBans {
		b.forgetOldest()
	}
	b.until[id] = now.Add(banTime)
}

func (b *bans) forgetOldest() {
	var oldest peer.ID
	var first time.Time
	for id, t := range b.until {
		if first.IsZero() || t.Before(first) {
			oldest, first = id, t
		}
	}
	delete(b.until, oldest)
}

// has reports whether the peer is banned, and forgets a ban that is over.
func (b *bans) has(now time.Time, id peer.ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	until, ok := b.until[id]
	if ok && !now.Before(until) {
		delete(b.until, id)
		return false
	}
	return ok
}
