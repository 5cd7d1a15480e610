package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/dunlin-project/dunlin/swarm/wire"
)

// Bounds of serving one peer.
const (
	maxPending = 16 // requests that wait; more are answered busy
	maxRefused = 64 // answers without payload that wait; then we stop reading
	busyShort  = 50 * time.Millisecond
	busyLong   = 2 * time.Second // most that we ask a peer to stay away
	stall      = 250 * time.Millisecond
)

// server answers one peer's requests. read takes them, write answers them in order.
type server struct {
	link   *link
	stream network.MuxedStream

	mu      sync.Mutex // guards the rest
	pending []pendingRequest
	current *wire.Request // being answered
	dropped bool          // the peer has cancelled current
	refused []wire.Answer
	wake    chan struct{} // cap 1: write has something to do
	room    chan struct{} // cap 1: refused has been written
}

// pendingRequest is a request with the room that it was found to mean. Its piece is promised to uploads.
type pendingRequest struct {
	*wire.Request
	room *Room
}

func (p *pendingRequest) size() int64 { return p.room.m.PieceSize(p.Piece) }

// servePieces lives as long as the peer's stream. It returns an error when the peer broke the rules.
func (l *link) servePieces(ctx context.Context, s network.MuxedStream) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	v := &server{link: l, stream: s, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	if l.flow.pieces.Swap(true) {
		return fmt.Errorf("%w: a second stream for pieces", wire.ErrMalformed)
	}
	defer l.flow.pieces.Store(false)
	l.flow.hold()
	defer l.flow.letGo()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		if err := v.write(ctx); err != nil && ctx.Err() == nil {
			l.node.log.LogAttrs(ctx, slog.LevelDebug, "upload ended", slog.String("peer", string(l.id)),
				slog.String("err", quote(err)))
		}
	})
	err := v.read(ctx)
	cancel()
	wg.Wait()
	v.forget(func(pendingRequest) bool { return true })
	if errors.Is(err, wire.ErrMalformed) {
		return err
	}
	return nil
}

func (v *server) read(ctx context.Context) error {
	r := reader(v.stream)
	for {
		b, err := r.Next()
		if err != nil {
			return err
		}
		m, err := wire.DecodeAsk(b)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *wire.Request:
			err = v.request(ctx, m)
		case *wire.Cancel:
			v.cancel(m.ID)
		}
		if err != nil {
			return err
		}
	}
}

// request queues a request or refuses it. A peer that keeps asking without reading the refusals is not read any more.
func (v *server) request(ctx context.Context, m *wire.Request) error {
	r := v.link.roomOf(m.Room)
	v.mu.Lock()
	switch {
	case r == nil || m.Piece >= r.m.Pieces() || !r.has(m.Piece):
		v.refused = append(v.refused, &wire.NotHere{ID: m.ID})
	case len(v.pending) >= maxPending:
		v.refused = append(v.refused, v.busy(m, r))
	case !v.link.node.uploads.promise(r.m.PieceSize(m.Piece), len(v.pending) == 0 && v.current == nil):
		v.refused = append(v.refused, v.busy(m, r))
	default:
		v.pending = append(v.pending, pendingRequest{m, r})
	}
	crowded := len(v.refused) >= maxRefused
	v.mu.Unlock()
	v.wakeWriter()
	for crowded {
		select {
		case <-v.room:
		case <-ctx.Done():
			return ctx.Err()
		}
		v.mu.Lock()
		crowded = len(v.refused) >= maxRefused
		v.mu.Unlock()
	}
	return nil
}

func (v *server) cancel(id uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.current != nil && v.current.ID == id {
		v.dropped = true
	}
	v.forgetLocked(func(p pendingRequest) bool { return p.ID == id })
}

// forget drops the pending requests that match, with their promises.
func (v *server) forget(match func(pendingRequest) bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.forgetLocked(match)
}

func (v *server) forgetLocked(match func(pendingRequest) bool) {
	v.pending = slices.DeleteFunc(v.pending, func(p pendingRequest) bool {
		if match(p) {
			v.link.node.uploads.kept(p.size())
			return true
		}
		return false
	})
}

func (v *server) busy(m *wire.Request, r *Room) *wire.Busy {
	return &wire.Busy{ID: m.ID, Retry: v.link.flow.wait(len(v.pending)+1, r.m.PieceLength())}
}

func (v *server) wakeWriter() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// write answers until the stream ends.
func (v *server) write(ctx context.Context) error {
	for {
		if err := v.refuse(); err != nil {
			return err
		}
		if p, ok := v.next(); ok {
			err := v.answer(ctx, p.Request, p.room)
			v.link.node.uploads.kept(p.size())
			if err != nil {
				return err
			}
			continue
		}
		select {
		case <-v.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// refuse writes the answers without payload; they do not wait behind pieces.
func (v *server) refuse() error {
	v.mu.Lock()
	var b []byte
	for _, m := range v.refused {
		b = append(b, wire.EncodeAnswer(m)...)
	}
	v.refused = v.refused[:0]
	v.mu.Unlock()
	if len(b) == 0 {
		return nil
	}
	select {
	case v.room <- struct{}{}:
	default:
	}
	return send(v.stream, b)
}

func (v *server) next() (p pendingRequest, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current, v.dropped = nil, false
	if len(v.pending) == 0 {
		return p, false
	}
	p = v.pending[0]
	v.pending = slices.Delete(v.pending, 0, 1)
	v.current = p.Request
	return p, true
}

func (v *server) wanted() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.dropped
}

// answer sends one piece, slice by slice, each in the process's turn (uploads). The piece is read from the store when
// its first slice is due; when others wait for the memory and this peer does not read, it is given up and read again.
func (v *server) answer(ctx context.Context, m *wire.Request, r *Room) error {
	if !r.has(m.Piece) { // left since
		return send(v.stream, wire.EncodeAnswer(&wire.NotHere{ID: m.ID}))
	}
	up := v.link.node.uploads
	p := &loan{up: up, room: r, piece: m.Piece}
	defer p.release()
	frame := up.pool.get(wire.MaxMessage + 3)
	defer up.pool.put(frame)
	size := int(r.m.PieceSize(m.Piece))
	for off := 0; off < size && v.wanted(); {
		data, err := p.bytes(ctx)
		if err != nil {
			return v.missing(ctx, m, off, err)
		}
		n := min(wire.MaxSlice, size-off)
		if err := up.turn(ctx, v.link.flow, n); err != nil {
			return err
		}
		s := r.squeeze.slice(m, off, data[off:off+n])
		b := wire.AppendSlice(frame[:0], s)
		if err := v.push(b, p); err != nil {
			return err
		}
		v.link.node.metrics.sent(n, len(b))
		off += n
		if err := v.refuse(); err != nil {
			return err
		}
	}
	return nil
}

// missing answers a request whose piece cannot be read. In the middle of a piece there is no way to say so.
func (v *server) missing(ctx context.Context, m *wire.Request, off int, err error) error {
	if ctx.Err() != nil || off > 0 {
		return err
	}
	v.link.node.log.LogAttrs(ctx, slog.LevelWarn, "piece cannot be served", slog.Int("piece", m.Piece),
		slog.String("err", quote(err)))
	return send(v.stream, wire.EncodeAnswer(&wire.NotHere{ID: m.ID}))
}

// push writes a frame. A peer that takes none of it for writeTimeout is given up; one that merely stalls loses the
// piece's memory to others that wait for it.
func (v *server) push(b []byte, p *loan) error {
	for deadline := time.Now().Add(writeTimeout); ; {
		if err := v.stream.SetWriteDeadline(time.Now().Add(stall)); err != nil {
			return err
		}
		n, err := v.stream.Write(b)
		b = b[n:]
		if len(b) == 0 {
			return nil
		}
		if !timedOut(err) || time.Now().After(deadline) {
			if err == nil {
				err = io.ErrShortWrite
			}
			return err
		}
		p.yield()
	}
}

func timedOut(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}
