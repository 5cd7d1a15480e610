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
)

// upQueue is the order in which a device serves. The zero value is ready.
type upQueue struct {
	mu      sync.Mutex // guards the rest
	active  int
	waiting []*upload
	started map[int]int // how often each piece was begun
}

type upload struct {
	piece int
	turn  chan struct{} // closed when it is served
}

// enter waits for the turn of a request for a piece that the uplink carries in so many seconds.
func (q *upQueue) enter(ctx context.Context, piece int, seconds float64) error {
	q.mu.Lock()
	if q.started == nil {
		q.started = make(map[int]int)
	}
	if q.active < uploadsAtOnce {
		q.active++
		q.started[piece]++
		q.mu.Unlock()
		return nil
	}
	if ahead := float64(len(q.waiting)+q.active) * seconds; ahead > longestQueue && len(q.waiting) >= fairShare {
		q.mu.Unlock()
		return &fetch.BusyError{RetryAfter: time.Duration(ahead / 2 * float64(time.Second))}
	}
	u := &upload{piece: piece, turn: make(chan struct{})}
	q.waiting = append(q.waiting, u)
	q.mu.Unlock()
	tired := time.NewTimer(longestWait)
	defer tired.Stop()
	var err error
	select {
	case <-u.turn:
		return nil
	case <-tired.C:
		err = &fetch.BusyError{RetryAfter: longestWait / 4}
	case <-ctx.Done():
		err = ctx.Err()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, o := range q.waiting {
		if o == u {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			return err
		}
	}
	q.next() // its turn had come
	return err
}

// leave ends a turn.
func (q *upQueue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next()
}

// next gives the turn that is free to the piece that was begun least often. The caller holds mu.
func (q *upQueue) next() {
	best := -1
	for i, u := range q.waiting {
		if best < 0 || q.started[u.piece] < q.started[q.waiting[best].piece] {
			best = i
		}
	}
	if best < 0 {
		q.active--
		return
	}
	u := q.waiting[best]
	q.waiting = append(q.waiting[:best], q.waiting[best+1:]...)
	q.started[u.piece]++
	close(u.turn)
}
