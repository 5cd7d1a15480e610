package group

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// ErrDenied is the error of a peer that is not of our group, or thinks so of us.
var ErrDenied = errors.New("not of the same group")

// Timeout bounds an authentication, negotiation included.
const Timeout = 5 * time.Second

// Member is what the authentication has shown of a peer.
type Member struct {
	Role fetch.Role
	Key  int           // which of our keys it has
	RTT  time.Duration // of one exchange
}

// denyLinger is how long a refused peer may take to read that it was.
const denyLinger = 500 * time.Millisecond

// Authenticator proves that both ends of a connection belong to the group. It is safe for concurrent use.
type Authenticator struct {
	Self peer.ID
	Role fetch.Role // that the peer is told
	Keys []Key      // the current one first
}

// Dial opens the first stream of c and authenticates both sides with the current key. It is over within Timeout.
func (a *Authenticator) Dial(ctx context.Context, c *conn.Conn) (Member, error) {
	return a.DialWith(ctx, c, 0)
}

// DialWith is Dial with one of the keys, by its number.
func (a *Authenticator) DialWith(ctx context.Context, c *conn.Conn, key int) (Member, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	s, err := c.Open(ctx, wire.AuthProtocol)
	if err != nil {
		return Member{}, err
	}
	defer s.Reset()
	return a.ask(s, c.RemotePeer(), key)
}

func (a *Authenticator) ask(s conn.Stream, other peer.ID, number int) (Member, error) {
	key := &a.Keys[number]
	hello := wire.Hello{Method: wire.MethodOpen, Nonce: nonce()}
	hello.Tag = key.tag(hello.Nonce)
	r := wire.NewReader(s)
	start := time.Now()
	m, err := exchange(s, r, &hello)
	if err != nil {
		return Member{}, err
	}
	rtt := time.Since(start)
	c, ok := m.(*wire.Challenge)
	if !ok {
		return Member{}, refusal(m)
	}
	want := key.proof("listener", a.Self, other, hello.Nonce, c.Nonce)
	if !hmac.Equal(c.Proof[:], want[:]) {
		return Member{}, fmt.Errorf("%w: the listener's proof is wrong", ErrDenied)
	}
	proof := wire.Proof{Proof: key.proof("dialer", a.Self, other, hello.Nonce, c.Nonce), Role: uint8(a.Role)}
	if m, err = exchange(s, r, &proof); err != nil {
		return Member{}, err
	}
	w, ok := m.(*wire.Welcome)
	if !ok {
		return Member{}, refusal(m)
	}
	return Member{roleOf(w.Role), number, rtt}, nil
}

// Accept takes the first stream of c, which must be the authentication, and answers it. It is over within
// Timeout; the caller closes c then.
func (a *Authenticator) Accept(ctx context.Context, c *conn.Conn) (Member, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	s, err := c.AcceptStream()
	if err != nil {
		return Member{}, fmt.Errorf("wait for authentication: %w", err)
	}
	defer s.CloseWrite()
	if err := s.SetDeadline(time.Now().Add(Timeout)); err != nil {
		return Member{}, err
	}
	if _, err := conn.Negotiate(s, wire.AuthProtocol); err != nil {
		return Member{}, fmt.Errorf("begin authentication: %w", err)
	}
	return a.answer(s, c.RemotePeer())
}

func (a *Authenticator) answer(s conn.Stream, other peer.ID) (Member, error) {
	r := wire.NewReader(s)
	m, err := nextAuth(r)
	if err != nil {
		return Member{}, err
	}
	hello, ok := m.(*wire.Hello)
	if !ok {
		return Member{}, refusal(m)
	}
	if hello.Method != wire.MethodOpen {
		return Member{}, deny(s, wire.DeniedMethod)
	}
	number := a.find(hello)
	if number < 0 {
		return Member{}, deny(s, wire.DeniedGroup)
	}
	key := &a.Keys[number]
	ch := wire.Challenge{Nonce: nonce()}
	ch.Proof = key.proof("listener", other, a.Self, hello.Nonce, ch.Nonce)
	start := time.Now()
	if m, err = exchange(s, r, &ch); err != nil {
		return Member{}, err
	}
	rtt := time.Since(start)
	p, ok := m.(*wire.Proof)
	if !ok {
		return Member{}, refusal(m)
	}
	want := key.proof("dialer", other, a.Self, hello.Nonce, ch.Nonce)
	if !hmac.Equal(p.Proof[:], want[:]) {
		return Member{}, deny(s, wire.DeniedProof)
	}
	_, err = s.Write(wire.EncodeAuth(&wire.Welcome{Role: uint8(a.Role)}))
	return Member{roleOf(p.Role), number, rtt}, err
}

// find returns the number of the key that a hello was made with, or -1.
func (a *Authenticator) find(h *wire.Hello) int {
	for i := range a.Keys {
		if want := a.Keys[i].tag(h.Nonce); hmac.Equal(h.Tag[:], want[:]) {
			return i
		}
	}
	return -1
}

func exchange(s conn.Stream, r *wire.Reader, m wire.Auth) (wire.Auth, error) {
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
		return fmt.Errorf("%w: the peer says so (reason %d)", ErrDenied, d.Reason)
	}
	return fmt.Errorf("authenticate: %w: another message was due", wire.ErrMalformed)
}

func deny(s conn.Stream, why wire.Denial) error {
	// The answer is a courtesy to the other end's log; whether it arrives changes nothing. The other end hangs up
	// when it has read it: closing first would throw it away.
	_, _ = s.Write(wire.EncodeAuth(&wire.Denied{Reason: why}))
	_ = s.SetReadDeadline(time.Now().Add(denyLinger))
	_, _ = s.Read(make([]byte, 1))
	return fmt.Errorf("%w (reason %d)", ErrDenied, why)
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

// DayTags are what members announce on a day, the current key's first.
func (a *Authenticator) DayTags(day int64) (tags []string) {
	for _, k := range a.Keys {
		tags = append(tags, k.DayTag(day))
	}
	return tags
}
