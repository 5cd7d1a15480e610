package conn_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	mss "github.com/multiformats/go-multistream"

	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/conn/conntest"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

func TestBothEndsKnowEachOther(t *testing.T) {
	t.Parallel()
	a, b := conntest.Pair(t)
	if a.RemotePeer() != conntest.ID(t, 2) || b.RemotePeer() != conntest.ID(t, 1) {
		t.Errorf("%v and %v", a.RemotePeer(), b.RemotePeer())
	}
	if s := a.ConnState(); s.Security != "/tls/1.0.0" || s.StreamMultiplexer != "/yamux/1.0.0" {
		t.Errorf("%+v", s)
	}
	if host, _, err := net.SplitHostPort(a.RemoteAddr()); err != nil || host != "127.0.0.1" {
		t.Errorf("remote address %q", a.RemoteAddr())
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	a, b := conntest.Pair(t)
	go func() {
		s, err := b.AcceptStream()
		if err != nil {
			return
		}
		if p, err := conn.Negotiate(s, "/x/1", "/y/1"); err == nil {
			io.WriteString(s, p)
			s.CloseWrite()
		}
	}()
	s, err := a.Open(t.Context(), "/y/1")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(s)
	if err != nil || string(got) != "/y/1" {
		t.Errorf("%q, %v", got, err)
	}
	if a.Written() == 0 || a.Queued() < 0 {
		t.Errorf("%d bytes written, %d queued", a.Written(), a.Queued())
	}
}

func TestAnUnknownProtocolIsRefused(t *testing.T) {
	t.Parallel()
	a, b := conntest.Pair(t)
	go func() {
		if s, err := b.AcceptStream(); err == nil {
			conn.Negotiate(s, "/x/1")
			s.Reset()
		}
	}()
	if _, err := a.Open(t.Context(), "/z/1"); err == nil {
		t.Error("spoken")
	}
}

// TestSomebodyElse: a dialler takes nobody but whom it dialled.
func TestSomebodyElse(t *testing.T) {
	t.Parallel()
	a, b := conntest.TCP(t)
	go conntest.Upgrader(t, 2).Upgrade(t.Context(), b, "")
	if _, err := conntest.Upgrader(t, 1).Upgrade(t.Context(), a, conntest.ID(t, 3)); err == nil {
		t.Error("peer 2 passed for peer 3")
	}
}

// TestWhoIsNotAllowed is refused in the handshake, on either side.
func TestWhoIsNotAllowed(t *testing.T) {
	t.Parallel()
	strict, err := conn.NewUpgrader(conntest.Key(2), conntest.Limits(), func(id peer.ID) bool { return id != conntest.ID(t, 1) })
	if err != nil {
		t.Fatal(err)
	}
	defer strict.Close()
	for _, dials := range []bool{false, true} {
		a, b := conntest.TCP(t)
		other := conntest.Upgrader(t, 1)
		id := peer.ID("")
		if dials {
			id = conntest.ID(t, 1)
			go other.Upgrade(t.Context(), b, "")
		} else {
			go other.Upgrade(t.Context(), b, conntest.ID(t, 2))
		}
		if _, err := strict.Upgrade(t.Context(), a, id); err == nil {
			t.Errorf("a banned peer came in (dialled by us: %v)", dials)
		}
	}
}

// TestNoDowngrade: neither plain text nor older TLS is to be had.
func TestNoDowngrade(t *testing.T) {
	t.Parallel()
	for name, attack := range map[string]func(c net.Conn) error{
		"plain text": func(c net.Conn) error { return mss.SelectProtoOrFail("/plaintext/2.0.0", c) },
		"noise":      func(c net.Conn) error { return mss.SelectProtoOrFail("/noise", c) },
		"tls 1.2": func(c net.Conn) error {
			if err := mss.SelectProtoOrFail("/tls/1.0.0", c); err != nil {
				return err
			}
			return tls.Client(c, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}).Handshake()
		},
		"tls without a certificate": func(c net.Conn) error {
			if err := mss.SelectProtoOrFail("/tls/1.0.0", c); err != nil {
				return err
			}
			tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"libp2p"}})
			if err := tc.Handshake(); err != nil {
				return err
			}
			_, err := tc.Read(make([]byte, 1)) // the server's verdict comes after the client's last message
			return err
		},
	} {
		a, b := conntest.TCP(t)
		done := make(chan error, 1)
		up := conntest.Upgrader(t, 2)
		go func() {
			_, err := up.Upgrade(t.Context(), b, "")
			done <- err
		}()
		a.SetDeadline(time.Now().Add(10 * time.Second))
		if err := attack(a); err == nil {
			t.Errorf("%s: accepted", name)
		}
		a.Close()
		if err := <-done; err == nil {
			t.Errorf("%s: a connection came of it", name)
		}
	}
}

// TestSilentHandshakeEnds with its context, long before HandshakeTimeout here.
func TestSilentHandshakeEnds(t *testing.T) {
	t.Parallel()
	_, b := conntest.TCP(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := conntest.Upgrader(t, 2).Upgrade(ctx, b, ""); err == nil {
		t.Error("a connection with nobody")
	}
}

// TestLimits: connections from one address are bounded, at a time and in a second.
func TestLimits(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]conn.Limits{
		"at a time":   {Conns: 100, PerAddress: 3, DialsPerSec: 1000, Memory: 64 << 20},
		"in a second": {Conns: 100, PerAddress: 100, DialsPerSec: 1, Memory: 64 << 20}, // twice as many at once
		"in all":      {Conns: 3, PerAddress: 100, DialsPerSec: 1000, Memory: 64 << 20},
	} {
		up, err := conn.NewUpgrader(conntest.Key(2), l, func(peer.ID) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		defer up.Close()
		took := 0
		for i := range 6 {
			a, b := conntest.TCP(t)
			go conntest.Upgrader(t, 10+i).Upgrade(t.Context(), a, conntest.ID(t, 2))
			if _, err := up.Upgrade(t.Context(), b, ""); err == nil {
				took++
			}
		}
		if took < 2 || took > 3 {
			t.Errorf("%s: %d connections of 6, want 2 or 3", name, took)
		}
	}
}

// TestStreamLimit: a peer cannot open streams without end.
func TestStreamLimit(t *testing.T) {
	t.Parallel()
	a, b := conntest.Pair(t)
	accepted := make(chan struct{}, 100)
	go func() {
		for {
			if _, err := b.AcceptStream(); err != nil {
				return
			}
			accepted <- struct{}{}
		}
	}()
	for range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if s, err := a.OpenStream(ctx); err == nil {
			s.Write([]byte{1})
		}
		cancel()
		if a.IsClosed() {
			break
		}
	}
	time.Sleep(50 * time.Millisecond)
	if n := len(accepted); n > 8 {
		t.Errorf("%d streams stand", n)
	}
}

// TestReaderDeadline: between messages a peer may be silent, within one it may not.
func TestReaderDeadline(t *testing.T) {
	t.Parallel()
	a, b := conntest.Pair(t)
	got := make(chan []byte, 1)
	go func() {
		s, err := b.AcceptStream()
		if err != nil {
			return
		}
		r := conn.Reader(s)
		for {
			m, err := r.Next()
			if err != nil {
				close(got)
				return
			}
			got <- bytes.Clone(m)
		}
	}()
	s, err := a.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Send(s, wire.Frame([]byte("hello"))); err != nil {
		t.Fatal(err)
	}
	if m := <-got; string(m) != "hello" {
		t.Errorf("%q", m)
	}
	if testing.Short() {
		return
	}
	s.Write([]byte{5, 'h'})
	select {
	case _, ok := <-got:
		if ok {
			t.Error("half a message")
		}
	case <-time.After(conn.FrameTimeout + 10*time.Second):
		t.Error("the reader waits for ever")
	}
}
