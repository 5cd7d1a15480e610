package swarm

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

func TestSameGroupAuthenticates(t *testing.T) {
	t.Parallel()
	n := startNode(t, func(c *Config) { c.Group, c.Role = "ward 7", fetch.Cache })
	r := dialRaw(t, n, "ward 7")
	m, err := r.auth.dialer(t.Context(), r.conn)
	if err != nil || m.role != fetch.Cache || m.rtt <= 0 {
		t.Errorf("%+v, %v", m, err)
	}
	await(t, "a link", func() bool { return len(n.Peers()) == 1 })
	if p := n.Peers()[0]; p.ID != fetch.PeerID(r.id.String()) || p.Dialled {
		t.Errorf("%+v", p)
	}
}

func TestOtherGroupIsRefused(t *testing.T) {
	t.Parallel()
	n := startNode(t, func(c *Config) { c.Group = "a" })
	r := dialRaw(t, n, "b")
	if _, err := r.auth.dialer(t.Context(), r.conn); !errors.Is(err, errDenied) {
		t.Errorf("got %v, want errDenied", err)
	}
	if !r.closedWithin(5*time.Second) || len(n.Peers()) != 0 {
		t.Error("the connection stays")
	}
}

// hello opens the authentication by hand and returns the answer.
func (r *raw) hello(h *wire.Hello) wire.Auth {
	r.t.Helper()
	s := r.open(wire.AuthProtocol)
	m, err := exchange(s, wire.NewReader(s), h)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func TestUnknownMethodsAreDenied(t *testing.T) {
	t.Parallel()
	n := startNode(t, nil)
	for _, method := range []wire.Method{wire.MethodCert, 0, 77} {
		r := dialRaw(t, n, DefaultGroup)
		h := wire.Hello{Method: method, Nonce: nonce()}
		h.Tag = r.auth.keys[0].tag(h.Nonce)
		if d, ok := r.hello(&h).(*wire.Denied); !ok || d.Reason != wire.DeniedMethod {
			t.Errorf("method %d: %+v", method, d)
		}
		if !r.closedWithin(5 * time.Second) {
			t.Errorf("method %d: the connection stays", method)
		}
	}
}

// TestWrongProofs: each proof that was made for something else is refused.
func TestWrongProofs(t *testing.T) {
	t.Parallel()
	n := startNode(t, nil)
	for name, forge := range map[string]func(r *raw, h *wire.Hello, c *wire.Challenge) [32]byte{
		"of another group": func(r *raw, h *wire.Hello, c *wire.Challenge) [32]byte {
			k := openKey("other")
			return k.proof("dialer", r.id, n.self, h.Nonce, c.Nonce)
		},
		"the listener's, sent back": func(_ *raw, _ *wire.Hello, c *wire.Challenge) [32]byte { return c.Proof },
		"for another peer": func(r *raw, h *wire.Hello, c *wire.Challenge) [32]byte {
			return r.auth.keys[0].proof("dialer", n.self, n.self, h.Nonce, c.Nonce)
		},
		"for another listener": func(r *raw, h *wire.Hello, c *wire.Challenge) [32]byte {
			return r.auth.keys[0].proof("dialer", r.id, r.id, h.Nonce, c.Nonce)
		},
		"for an old challenge": func(r *raw, h *wire.Hello, _ *wire.Challenge) [32]byte {
			return r.auth.keys[0].proof("dialer", r.id, n.self, h.Nonce, nonce())
		},
		"one bit off": func(r *raw, h *wire.Hello, c *wire.Challenge) [32]byte {
			p := r.auth.keys[0].proof("dialer", r.id, n.self, h.Nonce, c.Nonce)
			p[31] ^= 1
			return p
		},
	} {
		r := dialRaw(t, n, DefaultGroup)
		s := r.open(wire.AuthProtocol)
		rd := wire.NewReader(s)
		h := &wire.Hello{Method: wire.MethodOpen, Nonce: nonce()}
		h.Tag = r.auth.keys[0].tag(h.Nonce)
		m, err := exchange(s, rd, h)
		if err != nil {
			t.Fatal(err)
		}
		m, err = exchange(s, rd, &wire.Proof{Proof: forge(r, h, m.(*wire.Challenge))})
		if d, ok := m.(*wire.Denied); err != nil || !ok || d.Reason != wire.DeniedProof {
			t.Errorf("%s: %#v, %v", name, m, err)
		}
	}
	if len(n.Peers()) != 0 {
		t.Error("somebody came in")
	}
}

// TestListenerMustProveItself: who dials does not take a listener's word for the group either.
func TestListenerMustProveItself(t *testing.T) {
	t.Parallel()
	client, server := pipeConns(t)
	go func() {
		s, err := server.AcceptStream()
		if err != nil {
			return
		}
		negotiate(s, wire.AuthProtocol)
		wire.NewReader(s).Next()
		s.Write(wire.EncodeAuth(&wire.Challenge{Nonce: nonce(), Proof: nonce()}))
		io.Copy(io.Discard, s)
	}()
	a := authenticator{self: client.LocalPeer(), keys: []groupKey{openKey("g")}}
	if _, err := a.dialer(t.Context(), client); !errors.Is(err, errDenied) {
		t.Errorf("got %v, want errDenied", err)
	}
}

// TestNothingIsServedBeforeAuthentication: a first stream of any other protocol ends the connection, with not a byte in
// answer but the negotiation's "na".
func TestNothingIsServedBeforeAuthentication(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 1<<20, 256<<10)
	n := startNode(t, nil)
	if _, err := n.Join(fetchtest.FullPart(m, data)); err != nil {
		t.Fatal(err)
	}
	for _, proto := range []string{wire.SiteProtocol, wire.PieceProtocol, wire.LayerProtocol, "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"} {
		r := dialRaw(t, n, DefaultGroup)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if _, err := openStream(ctx, r.conn, proto); err == nil {
			t.Errorf("%s is spoken before the authentication", proto)
		}
		cancel()
		r.conn.Close()
	}
}

func TestSilentPeerIsClosed(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a timeout")
	}
	t.Parallel()
	n := startNode(t, nil)
	r := dialRaw(t, n, DefaultGroup)
	if !r.closedWithin(authTimeout + 5*time.Second) {
		t.Error("a connection that says nothing stays")
	}
}

// TestOpenKeyDependsOnTheName, and on nothing else: two builds must agree. The values are in docs/protocol.md.
func TestKeyVectors(t *testing.T) {
	t.Parallel()
	k := openKey("lan")
	if k.epoch != 1 || k.key == openKey("Lan").key {
		t.Error("the key does not depend on the name")
	}
	var root, n1, n2 [32]byte
	for i := range root {
		root[i], n1[i], n2[i] = byte(i), 1, 2
	}
	_, low, err := identity(ed25519.NewKeyFromSeed(n1[:]))
	if err != nil {
		t.Fatal(err)
	}
	_, high, err := identity(ed25519.NewKeyFromSeed(n2[:]))
	if err != nil {
		t.Fatal(err)
	}
	swarm := k.swarm(root)
	tag := k.tag(n1)
	proof := k.proof("dialer", low, high, n1, n2)
	golden(t, "testdata/keys.txt", map[string][]byte{
		"key":    k.key[:],
		"swarm":  swarm.id[:],
		"tag":    tag[:],
		"proof":  proof[:],
		"daytag": []byte(k.dayTag(20_000)),
	})
}
