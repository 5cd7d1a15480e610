package swarm

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// errDenied is the error of a peer that is not of our group, or thinks so of us.
var errDenied = errors.New("not of the same group")

// member is what the authentication has shown of a peer.
type member struct {
	role fetch.Role
	rtt  time.Duration
}

// denyLinger is how long a refused peer may take to read that it was.
const denyLinger = 500 * time.Millisecond

// authenticator proves that both ends of a connection belong to the group.
type authenticator struct {
	self peer.ID
	role fetch.Role
	keys []groupKey // the current one first
}

// dialer opens the first stream of c and authenticates both sides. It is over within authTimeout.
func (a *authenticator) dialer(ctx context.Context, c transport.CapableConn) (member, error) {
	ctx, cancel := context.WithTimeout(ctx, authTimeout)
	defer cancel()
	s, err := openStream(ctx, c, wire.AuthProtocol)
	if err != nil {
		return member{}, err
	}
	defer s.Reset()
	return a.ask(s, c.RemotePeer())
}

func (a *authenticator) ask(s network.MuxedStream, other peer.ID) (member, error) {
	key := &a.keys[0]
	hello := wire.Hello{Method: wire.MethodOpen, Nonce: nonce()}
	hello.Tag = key.tag(hello.Nonce)
	r := wire.NewReader(s)
	start := time.Now()
	m, err := exchange(s, r, &hello)
	if err != nil {
		return member{}, err
	}
	rtt := time.Since(start)
	c, ok := m.(*wire.Challenge)
	if !ok {
		return member{}, refusal(m)
	}
	want := key.proof("listener", a.self, other, hello.Nonce, c.Nonce)
	if !hmac.Equal(c.Proof[:], want[:]) {
		return member{}, fmt.Errorf("%w: the listener's proof is wrong", errDenied)
	}
	proof := wire.Proof{Proof: key.proof("dialer", a.self, other, hello.Nonce, c.Nonce), Role: uint8(a.role)}
	if m, err = exchange(s, r, &proof); err != nil {
		return member{}, err
	}
	w, ok := m.(*wire.Welcome)
	if !ok {
		return member{}, refusal(m)
	}
	return member{roleOf(w.Role), rtt}, nil
}

// listener takes the first stream of c, which must be the authentication, and answers it. It is over within
// authTimeout; the caller closes c then.
func (a *authenticator) listener(ctx context.Context, c transport.CapableConn) (member, error) {
	ctx, cancel := context.WithTimeout(ctx, authTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	s, err := c.AcceptStream()
	if err != nil {
		return member{}, fmt.Errorf("wait for authentication: %w", err)
	}
	defer s.CloseWrite()
	if err := setDeadline(ctx, s); err != nil {
		return member{}, err
	}
	if err := negotiate(s, wire.AuthProtocol); err != nil {
		return member{}, fmt.Errorf("begin authentication: %w", err)
	}
	return a.answer(s, c.RemotePeer())
}

func (a *authenticator) answer(s network.MuxedStream, other peer.ID) (member, error) {
	r := wire.NewReader(s)
	m, err := nextAuth(r)
	if err != nil {
		return member{}, err
	}
	hello, ok := m.(*wire.Hello)
	if !ok {
		return member{}, refusal(m)
	}
	if hello.Method != wire.MethodOpen {
		return member{}, deny(s, wire.DeniedMethod)
	}
	key := a.find(hello)
	if key == nil {
		return member{}, deny(s, wire.DeniedGroup)
	}
	ch := wire.Challenge{Nonce: nonce()}
	ch.Proof = key.proof("listener", other, a.self, hello.Nonce, ch.Nonce)
	start := time.Now()
	if m, err = exchange(s, r, &ch); err != nil {
		return member{}, err
	}
	rtt := time.Since(start)
	p, ok := m.(*wire.Proof)
	if !ok {
		return member{}, refusal(m)
	}
	want := key.proof("dialer", other, a.self, hello.Nonce, ch.Nonce)
	if !hmac.Equal(p.Proof[:], want[:]) {
		return member{}, deny(s, wire.DeniedProof)
	}
	_, err = s.Write(wire.EncodeAuth(&wire.Welcome{Role: uint8(a.role)}))
	return member{roleOf(p.Role), rtt}, err
}

func (a *authenticator) find(h *wire.Hello) *groupKey {
	for i := range a.keys {
		if want := a.keys[i].tag(h.Nonce); hmac.Equal(h.Tag[:], want[:]) {
			return &a.keys[i]
		}
	}
	return nil
}

func exchange(s network.MuxedStream, r *wire.Reader, m wire.Auth) (wire.Auth, error) {
	if _, err := s.Write(wire.EncodeAuth(m)); err != nil {
		return nil, fmt.Errorf("authenticate: %w", err)
	}
	return nextAuth(r)
}

func nextAuth(r *wire.Reader) (wire.Auth, error) {
	b, err := r.Next()
	if err != nil {
		return nil, fmt.Errorf("authenticate: %w", err)
	}
	m, err := wire.DecodeAuth(b)
	if err != nil {
		return nil, fmt.Errorf("authenticate: %w", err)
	}
	return m, nil
}

// refusal is the error of an answer that is not the one that was due.
func refusal(m wire.Auth) error {
	if d, ok := m.(*wire.Denied); ok {
		return fmt.Errorf("%w: the peer says so (reason %d)", errDenied, d.Reason)
	}
	return fmt.Errorf("authenticate: %w: another message was due", wire.ErrMalformed)
}

func deny(s network.MuxedStream, why wire.Denial) error {
	// The answer is a courtesy to the other end's log; whether it arrives changes nothing. The other end hangs up
	// when it has read it: closing first would throw it away.
	_, _ = s.Write(wire.EncodeAuth(&wire.Denied{Reason: why}))
	_ = s.SetReadDeadline(time.Now().Add(denyLinger))
	_, _ = s.Read(make([]byte, 1))
	return fmt.Errorf("%w (reason %d)", errDenied, why)
}

func roleOf(r uint8) fetch.Role {
	if fetch.Role(r) == fetch.Cache {
		return fetch.Cache
	}
	return fetch.Device
}

func nonce() (n [32]byte) {
	rand.Read(n[:]) // never fails
	return n
}
