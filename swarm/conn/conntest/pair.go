// Package conntest has connections for tests: both ends in one process, over TCP on the loopback. It trusts its callers.
// Start reading at Pair.
package conntest

import (
	"crypto/ed25519"
	"encoding/binary"
	"net"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/dunlin-project/dunlin/swarm/conn"
)

// Key is the i-th of many keys.
func Key(i int) ed25519.PrivateKey {
	var seed [ed25519.SeedSize]byte
	binary.BigEndian.PutUint64(seed[:], uint64(i))
	return ed25519.NewKeyFromSeed(seed[:])
}

// ID is the peer id of Key(i).
func ID(t testing.TB, i int) peer.ID {
	t.Helper()
	_, id, err := conn.Identity(Key(i))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Limits are enough for any test.
func Limits() conn.Limits {
	return conn.Limits{Conns: 100, PerAddress: 100, DialsPerSec: 1000, Memory: 64 << 20}
}

// Upgrader is that of Key(i), which takes everybody, until the test ends.
func Upgrader(t testing.TB, i int) *conn.Upgrader {
	t.Helper()
	up, err := conn.NewUpgrader(Key(i), Limits(), func(peer.ID) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Close() })
	return up
}

// Pair returns the ends of a connection that Key(1) dialled and Key(2) accepted.
func Pair(t testing.TB) (dialler, listener *conn.Conn) {
	t.Helper()
	a, b := TCP(t)
	accepted := make(chan *conn.Conn, 1)
	up := Upgrader(t, 2)
	go func() {
		c, _ := up.Upgrade(t.Context(), b, "")
		accepted <- c
	}()
	dialler, err := Upgrader(t, 1).Upgrade(t.Context(), a, ID(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	if listener = <-accepted; listener == nil {
		t.Fatal("the listener did not take the connection")
	}
	t.Cleanup(func() { dialler.Close(); listener.Close() })
	return dialler, listener
}

// TCP returns the ends of a TCP connection.
func TCP(t testing.TB) (dialled, accepted *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a.(*net.TCPConn), b.(*net.TCPConn)
}
