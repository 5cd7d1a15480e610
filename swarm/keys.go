package swarm

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

// groupKey is the secret of a group, or what stands for it. A group has a current key and, for a while, the one
// before; an open group has one for ever, of epoch 1.
type groupKey struct {
	epoch uint64
	key   [32]byte
}

// openKey is the key of method open: made from the group's name, so it keeps out only who does not know it.
func openKey(group string) groupKey {
	b, err := hkdf.Key(sha256.New, []byte(group), []byte("dunlin open 1"), "group key", 32)
	if err != nil {
		panic(fmt.Sprintf("swarm: derive group key: %v", err)) // only for lengths that are constant here
	}
	return groupKey{epoch: 1, key: [32]byte(b)}
}

func (k *groupKey) mac(parts ...[]byte) [32]byte {
	h := hmac.New(sha256.New, k.key[:])
	for _, p := range parts {
		h.Write(p)
	}
	return [32]byte(h.Sum(nil))
}

// swarmRef is how content is named to members of the group: nobody else can tell what it is.
type swarmRef struct {
	epoch uint64
	id    wire.SwarmID
}

func (k *groupKey) swarm(r piecehash.Root) swarmRef {
	return swarmRef{k.epoch, k.mac(r[:])}
}

// tag lets the listener find the key that a Hello means. Fresh for each nonce, so it cannot be recognised.
func (k *groupKey) tag(nonce [32]byte) [32]byte {
	return k.mac([]byte("dunlin auth tag 1\x00"), nonce[:])
}

// proof shows knowledge of the key for one connection: it is bound to both ids, which TLS has proved, and both nonces.
func (k *groupKey) proof(side string, dialer, listener peer.ID, dialerNonce, listenerNonce [32]byte) [32]byte {
	return k.mac(
		[]byte("dunlin auth proof 1\x00"+side+"\x00"),
		binary.AppendUvarint(nil, uint64(len(dialer))), []byte(dialer),
		binary.AppendUvarint(nil, uint64(len(listener))), []byte(listener),
		dialerNonce[:], listenerNonce[:],
	)
}

// dayTag is what announcements carry instead of a group: another one each day, the same for all members.
func (k *groupKey) dayTag(day int64) string {
	m := k.mac([]byte("dunlin day 1\x00"), binary.BigEndian.AppendUint64(nil, uint64(day)))
	return hex.EncodeToString(m[:16])
}

func dayOf(t time.Time) int64 { return t.Unix() / 86400 }
