package conn

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	mss "github.com/multiformats/go-multistream"

	"github.com/dunlin-project/dunlin/swarm/wire"
)

// Stream is one stream of a connection.
type Stream = network.MuxedStream

// Open opens a stream and negotiates proto before ctx ends, or within NegotiateTimeout. The stream has that as its
// deadline until it gets another.
func (c *Conn) Open(ctx context.Context, proto string) (Stream, error) {
	s, err := c.OpenStream(ctx)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	if err := s.SetDeadline(deadline(ctx)); err != nil {
		s.Reset()
		return nil, err
	}
	if err := mss.SelectProtoOrFail(proto, s); err != nil {
		s.Reset()
		return nil, fmt.Errorf("negotiate %s: %w", proto, err)
	}
	return s, nil
}

func deadline(ctx context.Context) time.Time {
	if t, ok := ctx.Deadline(); ok {
		return t
	}
	return time.Now().Add(NegotiateTimeout)
}

// Negotiate answers the negotiation of a stream that the peer has opened, and returns which of the protocols it chose.
func Negotiate(s Stream, protos ...string) (string, error) {
	m := mss.NewMultistreamMuxer[string]()
	for _, p := range protos {
		m.AddHandler(p, nil)
	}
	p, _, err := m.Negotiate(s)
	return p, err
}

// Send writes one message, or several, within WriteTimeout.
func Send(s Stream, b []byte) error {
	if err := s.SetWriteDeadline(time.Now().Add(WriteTimeout)); err != nil {
		return err
	}
	_, err := s.Write(b)
	return err
}

// Reader reads messages from s: the first byte of one may take for ever, the rest must come within FrameTimeout. For a
// slice's data that is still running when NextAnswer returns.
func Reader(s Stream) *wire.Reader {
	r := wire.NewReader(s)
	r.Watch = func(begun bool) {
		var t time.Time
		if begun {
			t = time.Now().Add(FrameTimeout)
		}
		_ = s.SetReadDeadline(t) // an error shows in the read
	}
	return r
}
