package fetchtest

import (
	"context"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// Of the upload queue of a device, as package swarm has it: a few pieces at a time, first copies first, and "busy" to
// whoever would wait for long.
const (
	uploadsAtOnce = 4
	longestQueue  = 2.0 // seconds of the uplink
	fairShare     = 16  // requests that are queued whatever the uplink
	longestWait   = time.Second
	minCopyTime   = 100 * time.Millisecond
	maxCopyTime   = 750 * time.Millisecond
)

// upQueue is the order in which a device serves. The zero value is ready.
type upQueue struct {
	mu      sync.Mutex // guards the rest
	active  int
	waiting []*upload
	started map[int]int           // how often each piece was begun
	serving map[fetch.PeerID]bool // who is being served: one piece at a time each
	going   map[int]time.Time     // when the newest copy was begun that has not ended
}

type upload struct {
	to    fetch.PeerID
	piece int
	alone time.Duration // so long a copy of the piece keeps others waiting
	turn  chan struct{} // closed when it is served
}

// enter waits for the turn of a request for a piece that the uplink carries in so many seconds.
func (q *upQueue) enter(ctx context.Context, to fetch.PeerID, piece int, seconds float64) error {
	q.mu.Lock()
	if q.started == nil {
		q.started, q.going = make(map[int]int), make(map[int]time.Time)
		q.serving = make(map[fetch.PeerID]bool)
	}
	u := &upload{to: to, piece: piece, alone: min(max(minCopyTime, time.Duration(2*seconds*float64(time.Second))), maxCopyTime), turn: make(chan struct{})}
	if q.active < uploadsAtOnce && !q.held(u) {
		q.begin(u)
		q.mu.Unlock()
		return nil
	}
	if ahead := float64(len(q.waiting)+q.active) * seconds; ahead > longestQueue && len(q.waiting) >= fairShare {
		q.mu.Unlock()
		return &fetch.BusyError{RetryAfter: time.Duration(ahead / 2 * float64(time.Second))}
	}
	q.waiting = append(q.waiting, u)
	q.mu.Unlock()
	tired := time.NewTimer(longestWait)
	defer tired.Stop()
	again := time.NewTimer(u.alone) // a copy that takes unduly long holds up nobody
	defer again.Stop()
	var err error
	for err == nil {
		select {
		case <-u.turn:
			return nil
		case <-again.C:
			q.mu.Lock()
			q.fill()
			q.mu.Unlock()
		case <-tired.C:
			err = &fetch.BusyError{RetryAfter: longestWait / 4}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, o := range q.waiting {
		if o == u {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			return err
		}
	}
	q.end(u.to, piece) // its turn had come
	return err
}

// leave ends the turn of a piece.
func (q *upQueue) leave(to fetch.PeerID, piece int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.end(to, piece)
}

func (q *upQueue) end(to fetch.PeerID, piece int) {
	q.active--
	delete(q.going, piece)
	delete(q.serving, to)
	q.fill()
}

// held reports whether a copy of the piece is on its way, or another piece to the same device. The caller holds mu.
func (q *upQueue) held(u *upload) bool {
	if q.serving[u.to] {
		return true
	}
	since, ok := q.going[u.piece]
	return ok && time.Since(since) < u.alone
}

// begin is the start of an upload. The caller holds mu.
func (q *upQueue) begin(u *upload) {
	q.active++
	q.started[u.piece]++
	q.going[u.piece] = time.Now()
	q.serving[u.to] = true
	close(u.turn)
}

// fill gives turns that are free to the pieces that were begun least often. The caller holds mu.
func (q *upQueue) fill() {
	for q.active < uploadsAtOnce {
		best := -1
		for i, u := range q.waiting {
			if !q.held(u) && (best < 0 || q.started[u.piece] < q.started[q.waiting[best].piece]) {
				best = i
			}
		}
		if best < 0 {
			return
		}
		u := q.waiting[best]
		q.waiting = append(q.waiting[:best], q.waiting[best+1:]...)
		q.begin(u)
	}
}
