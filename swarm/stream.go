package swarm

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/transport"
	mss "github.com/multiformats/go-multistream"

	"github.com/dunlin-project/dunlin/swarm/wire"
)

// openStream opens a stream and negotiates proto before ctx ends. The stream's deadline is ctx's until it is changed.
func openStream(ctx context.Context, c transport.CapableConn, proto string) (network.MuxedStream, error) {
	s, err := c.OpenStream(ctx)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	if err := setDeadline(ctx, s); err != nil {
		s.Reset()
		return nil, err
	}
	if err := mss.SelectProtoOrFail(proto, s); err != nil {
		s.Reset()
		return nil, fmt.Errorf("negotiate %s: %w", proto, err)
	}
	return s, nil
}

// negotiate answers the negotiation of a stream that the peer has opened; proto is the only protocol it may choose.
func negotiate(s network.MuxedStream, proto string) error {
	_, err := negotiateOneOf(s, proto)
	return err
}

func negotiateOneOf(s network.MuxedStream, protos ...string) (string, error) {
	m := mss.NewMultistreamMuxer[string]()
	for _, p := range protos {
		m.AddHandler(p, nil)
	}
	p, _, err := m.Negotiate(s)
	return p, err
}

func setDeadline(ctx context.Context, s network.MuxedStream) error {
	t, ok := ctx.Deadline()
	if !ok {
		t = time.Now().Add(negotiateTimeout)
	}
	return s.SetDeadline(t)
}

// send writes one message, or several, within writeTimeout.
func send(s network.MuxedStream, b []byte) error {
	if err := s.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := s.Write(b)
	return err
}

// reader reads messages from s: the first byte of one may take for ever, the rest must come within frameTimeout.
func reader(s network.MuxedStream) *wire.Reader {
	r := wire.NewReader(s)
	r.Watch = func(begun bool) {
		var t time.Time
		if begun {
			t = time.Now().Add(frameTimeout)
		}
		_ = s.SetReadDeadline(t) // an error shows in the read
	}
	return r
}
