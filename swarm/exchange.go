package swarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/piece"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// servePieces lives as long as the stream that the peer asks for pieces on.
func (l *link) servePieces(ctx context.Context, s conn.Stream) error {
	if l.fed.Swap(true) {
		return fmt.Errorf("%w: a second stream for pieces", wire.ErrMalformed)
	}
	defer l.fed.Store(false)
	return piece.Serve(ctx, s, piece.Service{
		Scheduler: l.node.uploads, Flow: l.flow, Memory: l.node.memory,
		Sent: func(payload, onWire int) {
			l.sent.Add(int64(payload))
			l.node.metrics.sent(payload, onWire)
		},
		Lookup: func(number uint32) *piece.Content {
			if r := l.roomOf(number); r != nil {
				return r.content
			}
			return nil
		},
		Log: l.node.log.With(slog.String("peer", string(l.id))),
	})
}

// source is a member of a room as fetch sees it: the room's content over the member's link.
type source struct {
	room *Room
	link *link
}

var _ fetch.Peer = (*source)(nil)

// Fetch implements fetch.Peer. Who sent a piece that is provably wrong is banned.
func (s *source) Fetch(ctx context.Context, i int, sink fetch.Sink) error {
	number := s.link.numberOf(s.room)
	switch {
	case number == 0:
		return piece.ErrLinkGone
	case i < 0 || i >= s.room.m.Pieces():
		return fmt.Errorf("fetch piece %d of %d: %w", i, s.room.m.Pieces(), fetch.ErrAbsent)
	}
	err := s.link.asker.Fetch(ctx, number, i, int(s.room.m.PieceSize(i)), sink)
	if bad, ok := errors.AsType[*piecehash.Mismatch](err); ok {
		s.link.node.ban(s.link, bad)
	}
	return err
}
