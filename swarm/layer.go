package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/group"
	"github.com/dunlin-project/dunlin/swarm/upload"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// layerTimeout bounds one exchange: the largest layer, 32 MiB, at 16 Mbit/s.
const layerTimeout = 20 * time.Second

// layerPatience is how long Layer waits at least for a peer to come up that has the layer.
const layerPatience = time.Second

// errNoLayer is a peer's answer that it does not have the layer.
var errNoLayer = errors.New("peer does not have the piece layer")

// Layer asks the peers for the piece layer of the content and proves it against the root; whose layer does not lead
// there is banned. It returns when the first good one came, when everybody has answered no (fault.Unavailable), or when
// ctx ends.
func (n *Node) Layer(ctx context.Context, c piecehash.Content) (*piecehash.Manifest, error) {
	if c.LayerSize() == 0 {
		return c.Prove(nil)
	}
	start := time.Now()
	asked := make(map[*link]bool)
	for {
		for _, l := range n.linksNow() {
			if asked[l] {
				continue
			}
			asked[l] = true
			if m, err := n.layerOf(ctx, l, c); err == nil {
				return m, nil
			}
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("ask peers for the piece layer: %w", ctx.Err())
		}
		if time.Since(start) > layerPatience && !n.courted() && !n.unasked(asked) {
			return nil, fault.New(fault.Unavailable, "ask %d peers for the piece layer of %v: %w", len(asked), c.Root(), errNoLayer)
		}
		pause(ctx, 20*time.Millisecond)
	}
}

func (n *Node) linksNow() []*link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.linksLocked()
}

func (n *Node) unasked(asked map[*link]bool) bool {
	return slices.ContainsFunc(n.linksNow(), func(l *link) bool { return !asked[l] })
}

func (n *Node) layerOf(ctx context.Context, l *link, c piecehash.Content) (*piecehash.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, layerTimeout)
	defer cancel()
	s, err := l.conn.Open(ctx, wire.LayerProtocol)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	ref := n.auth.Keys[l.key].Swarm(c.Root())
	ask := wire.LayerAsk{Swarm: ref.ID, Epoch: ref.Epoch, PieceLength: int(c.PieceLength()), Pieces: c.Pieces()}
	if _, err := s.Write(wire.EncodeLayer(&ask)); err != nil {
		return nil, err
	}
	b, err := readLayer(s, int(c.LayerSize()))
	if err != nil {
		return nil, err
	}
	m, err := c.Prove(b)
	var bad *piecehash.Mismatch
	if errors.As(err, &bad) {
		n.ban(l, bad)
	}
	return m, err
}

// readLayer reads exactly size bytes in parts. Memory grows with what has arrived, not with what was promised.
func readLayer(s conn.Stream, size int) ([]byte, error) {
	r := wire.NewReader(s)
	var out []byte
	for len(out) < size {
		b, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("read piece layer: %w", err)
		}
		m, err := wire.DecodeLayer(b)
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *wire.LayerPart:
			if len(m.Data) > size-len(out) {
				return nil, fmt.Errorf("%w: piece layer of more than %d bytes", wire.ErrMalformed, size)
			}
			out = append(out, m.Data...)
		case *wire.LayerAbsent:
			return nil, errNoLayer
		}
	}
	return out, nil
}

// serveLayer answers one request.
func (l *link) serveLayer(ctx context.Context, s conn.Stream) error {
	if err := s.SetDeadline(time.Now().Add(layerTimeout)); err != nil {
		return err
	}
	b, err := wire.NewReader(s).Next()
	if err != nil {
		return nil // a stream that ends alone
	}
	m, err := wire.DecodeLayer(b)
	if err != nil {
		return err
	}
	ask, ok := m.(*wire.LayerAsk)
	if !ok {
		return nil
	}
	r := l.node.roomFor(group.Ref{Epoch: ask.Epoch, ID: ask.Swarm}, ask.Pieces, int64(ask.PieceLength))
	if r == nil || r.m.LayerSize() == 0 {
		_, err = s.Write(wire.EncodeLayer(&wire.LayerAbsent{}))
	} else {
		err = l.writeLayer(ctx, s, r.m)
	}
	if err == nil {
		// The asker resets the stream when it has all; a reset from here could overtake the data.
		_, _ = s.Read(make([]byte, 1))
	}
	return nil
}

// hashesPerPart fill a part of the layer.
const hashesPerPart = wire.MaxLayerPart / 32

// writeLayer sends the layer in parts, each in the process's turn, without ever holding all of it.
func (l *link) writeLayer(ctx context.Context, s conn.Stream, m *piecehash.Manifest) error {
	l.flow.Hold()
	defer l.flow.LetGo()
	part := make([]byte, 0, wire.MaxLayerPart)
	for i := range m.Pieces() {
		h := m.PieceHash(i)
		part = append(part, h[:]...)
		if len(part) < hashesPerPart*32 && i < m.Pieces()-1 {
			continue
		}
		b := wire.EncodeLayer(&wire.LayerPart{Data: part})
		if err := l.flow.Turn(ctx, len(b), upload.Part{}); err != nil {
			return err
		}
		if n, err := s.Write(b); err != nil {
			l.flow.Return(len(b)-n, len(b))
			return err
		}
		part = part[:0]
	}
	return nil
}

func (n *Node) roomFor(ref group.Ref, pieces int, pieceLength int64) *Room {
	n.mu.Lock()
	defer n.mu.Unlock()
	for r := range n.rooms {
		if r.m.Pieces() == pieces && r.m.PieceLength() == pieceLength && slices.Contains(r.refs, ref) {
			return r
		}
	}
	return nil
}
