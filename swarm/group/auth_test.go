package group

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/conn/conntest"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// meet authenticates both ends of a connection, each with its own idea of the group.
func meet(t *testing.T, dials, listens string) (d, l Member, derr, lerr error) {
	t.Helper()
	a, b := conntest.Pair(t)
	dialler := Authenticator{Self: a.LocalPeer(), Keys: []Key{Open(dials)}}
	listener := Authenticator{Self: b.LocalPeer(), Role: fetch.Cache, Keys: []Key{Open(listens)}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l, lerr = listener.Accept(t.Context(), b)
		if lerr != nil {
			b.Close()
		}
	}()
	d, derr = dialler.Dial(t.Context(), a)
	<-done
	return d, l, derr, lerr
}

func TestSameGroup(t *testing.T) {
	t.Parallel()
	d, l, err1, err2 := meet(t, "ward 7", "ward 7")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if d.Role != fetch.Cache || l.Role != fetch.Device || d.RTT <= 0 || l.RTT <= 0 {
		t.Errorf("%+v, %+v", d, l)
	}
}

func TestOtherGroup(t *testing.T) {
	t.Parallel()
	if _, _, err1, err2 := meet(t, "a", "b"); !errors.Is(err1, ErrDenied) || !errors.Is(err2, ErrDenied) {
		t.Errorf("%v, %v, want ErrDenied", err1, err2)
	}
}

// TestFormerKey: a member that has not heard of the new key yet is let in by the old one.
func TestFormerKey(t *testing.T) {
	t.Parallel()
	a, b := conntest.Pair(t)
	dialler := Authenticator{Self: a.LocalPeer(), Keys: []Key{Open("old")}}
	listener := Authenticator{Self: b.LocalPeer(), Keys: []Key{Open("new"), Open("old")}}
	go dialler.Dial(t.Context(), a)
	if _, err := listener.Accept(t.Context(), b); err != nil {
		t.Error(err)
	}
}

// byHand is a dialler that says what the test wants, to a listener of the group "g".
type byHand struct {
	t        *testing.T
	self, to peer.ID
	s        conn.Stream
	r        *wire.Reader
	end      chan error // the listener's
}

func newByHand(t *testing.T) *byHand {
	t.Helper()
	a, b := conntest.Pair(t)
	h := &byHand{t: t, self: a.LocalPeer(), to: b.LocalPeer(), end: make(chan error, 1)}
	listener := Authenticator{Self: b.LocalPeer(), Keys: []Key{Open("g")}}
	go func() {
		_, err := listener.Accept(t.Context(), b)
		h.end <- err
		b.Close()
	}()
	s, err := a.Open(t.Context(), wire.AuthProtocol)
	if err != nil {
		t.Fatal(err)
	}
	h.s, h.r = s, wire.NewReader(s)
	return h
}

func (h *byHand) say(m wire.Auth) wire.Auth {
	h.t.Helper()
	m, err := exchange(h.s, h.r, m)
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

func TestUnknownMethodsAreDenied(t *testing.T) {
	t.Parallel()
	for _, method := range []wire.Method{wire.MethodCert, 0, 77} {
		h := newByHand(t)
		m := wire.Hello{Method: method, Nonce: nonce()}
		m.Tag = Open("g").tag(m.Nonce)
		if d, ok := h.say(&m).(*wire.Denied); !ok || d.Reason != wire.DeniedMethod {
			t.Errorf("method %d: %+v", method, d)
		}
		h.s.Reset()
		if err := <-h.end; !errors.Is(err, ErrDenied) {
			t.Errorf("method %d: %v", method, err)
		}
	}
}

// TestWrongProofs: each proof that was made for something else is refused.
func TestWrongProofs(t *testing.T) {
	t.Parallel()
	key := Open("g")
	for name, forge := range map[string]func(h *byHand, m *wire.Hello, c *wire.Challenge) [32]byte{
		"of another group": func(h *byHand, m *wire.Hello, c *wire.Challenge) [32]byte {
			return Open("other").proof("dialer", h.self, h.to, m.Nonce, c.Nonce)
		},
		"the listener's, sent back": func(_ *byHand, _ *wire.Hello, c *wire.Challenge) [32]byte { return c.Proof },
		"for another peer": func(h *byHand, m *wire.Hello, c *wire.Challenge) [32]byte {
			return key.proof("dialer", h.to, h.to, m.Nonce, c.Nonce)
		},
		"for another listener": func(h *byHand, m *wire.Hello, c *wire.Challenge) [32]byte {
			return key.proof("dialer", h.self, h.self, m.Nonce, c.Nonce)
		},
		"for an old challenge": func(h *byHand, m *wire.Hello, _ *wire.Challenge) [32]byte {
			return key.proof("dialer", h.self, h.to, m.Nonce, nonce())
		},
		"for an old hello": func(h *byHand, _ *wire.Hello, c *wire.Challenge) [32]byte {
			return key.proof("dialer", h.self, h.to, nonce(), c.Nonce)
		},
		"one bit off": func(h *byHand, m *wire.Hello, c *wire.Challenge) [32]byte {
			p := key.proof("dialer", h.self, h.to, m.Nonce, c.Nonce)
			p[31] ^= 1
			return p
		},
	} {
		h := newByHand(t)
		m := &wire.Hello{Method: wire.MethodOpen, Nonce: nonce()}
		m.Tag = key.tag(m.Nonce)
		c := h.say(m).(*wire.Challenge)
		if d, ok := h.say(&wire.Proof{Proof: forge(h, m, c)}).(*wire.Denied); !ok || d.Reason != wire.DeniedProof {
			t.Errorf("%s: %+v", name, d)
		}
		h.s.Reset()
		if err := <-h.end; !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMessagesOutOfTurn end the authentication.
func TestMessagesOutOfTurn(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"a proof first":  wire.EncodeAuth(&wire.Proof{}),
		"a welcome":      wire.EncodeAuth(&wire.Welcome{}),
		"an unknown one": wire.Frame([]byte{0xa2, 0x06, 0}),
		"garbage":        {4, 0xff, 0xff, 0xff, 0xff},
		"too long":       {0xff, 0xff, 0x7f},
	} {
		h := newByHand(t)
		if _, err := h.s.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := <-h.end; err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestListenerMustProveItself: who dials does not take a listener's word for the group either.
func TestListenerMustProveItself(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]wire.Auth{
		"a made-up proof": &wire.Challenge{Nonce: nonce(), Proof: nonce()},
		"a welcome":       &wire.Welcome{},
	} {
		a, b := conntest.Pair(t)
		go func() {
			s, err := b.AcceptStream()
			if err != nil {
				return
			}
			conn.Negotiate(s, wire.AuthProtocol)
			wire.NewReader(s).Next()
			s.Write(wire.EncodeAuth(answer))
			io.Copy(io.Discard, s)
		}()
		d := Authenticator{Self: a.LocalPeer(), Keys: []Key{Open("g")}}
		if _, err := d.Dial(t.Context(), a); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestSilence: neither side waits for ever.
func TestSilence(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a timeout")
	}
	t.Parallel()
	for _, dials := range []bool{true, false} {
		a, b := conntest.Pair(t)
		go func() { // negotiates and says nothing
			if s, err := b.AcceptStream(); err == nil {
				conn.Negotiate(s, wire.AuthProtocol)
			}
		}()
		x := Authenticator{Self: a.LocalPeer(), Keys: []Key{Open("g")}}
		start := time.Now()
		var err error
		if dials {
			_, err = x.Dial(t.Context(), a)
		} else {
			_, err = x.Accept(t.Context(), a)
		}
		if err == nil || time.Since(start) < Timeout/2 {
			t.Errorf("dials %v: %v after %v", dials, err, time.Since(start))
		}
	}
}

// TestKeyVectors: two builds must agree. docs/protocol.md says how the values are made.
func TestKeyVectors(t *testing.T) {
	t.Parallel()
	k := Open("lan")
	if k.epoch != 1 || k.key == Open("Lan").key {
		t.Error("the key does not depend on the name")
	}
	var root, n1, n2 [32]byte
	for i := range root {
		root[i], n1[i], n2[i] = byte(i), 1, 2
	}
	_, low, err := conn.Identity(ed25519.NewKeyFromSeed(n1[:]))
	if err != nil {
		t.Fatal(err)
	}
	_, high, err := conn.Identity(ed25519.NewKeyFromSeed(n2[:]))
	if err != nil {
		t.Fatal(err)
	}
	swarm := k.Swarm(root)
	tag := k.tag(n1)
	proof := k.proof("dialer", low, high, n1, n2)
	got := fmt.Sprintf("daytag %s\nkey %x\nproof %x\nswarm %x\ntag %x\n", k.DayTag(20_000), k.key, proof, swarm.ID, tag)
	want, err := os.ReadFile("testdata/keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	if vectors := string(want); got != vectors[strings.Index(vectors, "daytag"):] {
		t.Errorf("got:\n%s\nwant:\n%s", got, vectors)
	}
}
