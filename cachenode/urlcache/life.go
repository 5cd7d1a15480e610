package urlcache

import (
	"context"
	"sync"
)

// life is the time of Run, and what goes on in it: the end waits for that.
type life struct {
	mu  sync.Mutex
	ctx context.Context // guarded by mu; nil outside
	wg  sync.WaitGroup  // added to under mu while ctx is not nil
}

func (l *life) begin(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ctx = ctx
}

// enter returns the context of the life, or nil outside of it. With a context, leave must be called.
func (l *life) enter() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx != nil {
		l.wg.Add(1)
	}
	return l.ctx
}

func (l *life) leave() { l.wg.Done() }

// end lets nothing enter any more and waits for what has.
func (l *life) end() {
	l.mu.Lock()
	l.ctx = nil
	l.mu.Unlock()
	l.wg.Wait()
}
