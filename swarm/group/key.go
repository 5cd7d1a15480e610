package group

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// Key is the secret of a group, or what stands for it. A group has a current key and, for a while, the one before; an
// open group has one for ever, of epoch 1.
type Key struct {
	epoch uint64
	key   [32]byte
}

// Open is the key of method open: made from the group's name, so it keeps out only who does not know it.
func Open(group string) Key {
	b, err := hkdf.Key(sha256.New, []byte(group), []byte("dunlin open 1"), "group key", 32)
	if err != nil {
		panic(fmt.Sprintf("group: derive group key: %v", err)) // only for lengths that are constant here
	}
	return Key{epoch: 1, key: [32]byte(b)}
}

func (k Key) mac(parts ...[]byte) [32]byte {
	h := hmac.New(sha256.New, k.key[:])
	for _, p := range parts {
		h.Write(p)
	}
	return [32]byte(h.Sum(nil))
}

// Ref is how content is named to members of the group: nobody else can tell what it is.
type Ref struct {
	Epoch uint64
	ID    wire.SwarmID
}

// Swarm names content.
func (k Key) Swarm(r piecehash.Root) Ref {
	return Ref{k.epoch, k.mac(r[:])}
}

// tag lets the listener find the key that a Hello means. Fresh for each nonce, so it cannot be recognised.
func (k Key) tag(nonce [32]byte) [32]byte {
	return k.mac([]byte("dunlin auth tag 1\x00"), nonce[:])
}

// proof shows knowledge of the key for one connection: it is bound to both ids, which TLS has proved, and both nonces.
func (k Key) proof(side string, dialer, listener peer.ID, dialerNonce, listenerNonce [32]byte) [32]byte {
	return k.mac(
		[]byte("dunlin auth proof 1\x00"+side+"\x00"),
		binary.AppendUvarint(nil, uint64(len(dialer))), []byte(dialer),
		binary.AppendUvarint(nil, uint64(len(listener))), []byte(listener),
		dialerNonce[:], listenerNonce[:],
	)
}

// DayTag is what announcements carry instead of a group: another one each day, the same for all members.
func (k Key) DayTag(day int64) string {
	m := k.mac([]byte("dunlin day 1\x00"), binary.BigEndian.AppendUint64(nil, uint64(day)))
	return hex.EncodeToString(m[:16])
}

// Day is the number of the day that t falls on, in UTC.
func Day(t time.Time) int64 { return t.Unix() / 86400 }
