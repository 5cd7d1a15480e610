package fetchtest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// WebServer is an origin in memory behind a line that all who ask it share.
type WebServer struct {
	M    *piecehash.Manifest
	Data []byte
	Line *Pipe
	RTT  time.Duration
	Bad  func(piece int) bool // which pieces are served with a flipped bit; nil = none

	Down     atomic.Bool // answers nothing
	Requests atomic.Int64
	mu       sync.Mutex // guards served
	served   map[int]int
}

// Served returns how often each piece was served to its end.
func (w *WebServer) Served(piece int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.served[piece]
}

// Fetch implements fetch.Origin.
func (w *WebServer) Fetch(ctx context.Context, first, count int, _ fetch.Reason, sink fetch.Sink) error {
	w.Requests.Add(1)
	if err := sleep(ctx, w.RTT); err != nil {
		return err
	}
	for i := first; i < first+count; i++ {
		b := w.Data[w.M.Offset(i) : w.M.Offset(i)+w.M.PieceSize(i)]
		if w.Bad != nil && w.Bad(i) {
			b = append([]byte(nil), b...)
			b[len(b)/2] ^= 4
		}
		for off := 0; off < len(b); off += slice {
			if w.Down.Load() {
				return fault.New(fault.Unavailable, "origin is down")
			}
			n := min(slice, len(b)-off)
			if err := w.Line.Carry(ctx, n); err != nil {
				return err
			}
			sink.Progress(ctx, n)
		}
		w.mu.Lock()
		if w.served == nil {
			w.served = make(map[int]int)
		}
		w.served[i]++
		w.mu.Unlock()
		if err := sink.Piece(i, b); err != nil {
			return err
		}
	}
	return nil
}

var _ fetch.Origin = (*WebServer)(nil)
