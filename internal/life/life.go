// Package life is what a part with New and Run needs for work that others begin while it runs: nothing of it outlives Run. It trusts
// nobody and does no I/O. Start reading at Life.
package life

import (
	"context"
	"sync"
)

// Life is the time between the begin and the end of Run, and what goes on in it: the end waits for that. New makes it.
type Life struct {
	begun chan struct{}

	mu  sync.Mutex
	ctx context.Context // guarded by mu; nil outside
	wg  sync.WaitGroup  // added to under mu while ctx is not nil
}

// New returns a life that has not begun.
func New() *Life { return &Life{begun: make(chan struct{})} }

// Await waits until the life begins. The error is ctx's.
func (l *Life) Await(ctx context.Context) error {
	select {
	case <-l.begun:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Begin begins the life, once. ctx is that of Run.
func (l *Life) Begin(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ctx = ctx
	close(l.begun)
}

// Enter returns the context of the life, or nil outside of it. With a context, Leave must be called.
func (l *Life) Enter() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx != nil {
		l.wg.Add(1)
	}
	return l.ctx
}

// Leave ends what Enter has begun.
func (l *Life) Leave() { l.wg.Done() }

// End lets nothing enter any more and waits for what has.
func (l *Life) End() {
	l.mu.Lock()
	l.ctx = nil
	l.mu.Unlock()
	l.wg.Wait()
}
