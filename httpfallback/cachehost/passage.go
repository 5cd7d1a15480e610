package cachehost

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
)

// quietFor is how long a node may send nothing before it is asked whether it is still there. One that is may take longer: it
// fetches what it does not have.
const quietFor = 3 * time.Second

// passage is a range on its way from a node. It is the sink of the source; next and fatal are the source's until its Fetch has
// returned.
type passage struct {
	fetch.Sink
	cancel context.CancelFunc
	isCut  atomic.Bool
	got    atomic.Int64 // bytes
	held   atomic.Int64 // nanoseconds that the sink took
	next   int          // the first piece that was not delivered
	wrong  int          // the piece that did not match its hash, if one did not
	fatal  error        // of the sink, and not about what the node sent
}

// cut ends the passage, and it is nobody's fault.
func (p *passage) cut() {
	p.isCut.Store(true)
	p.cancel()
}

func (p *passage) wasCut() bool { return p.isCut.Load() }

// Progress implements fetch.Sink: the bytes are a caching node's.
func (p *passage) Progress(ctx context.Context, n int) {
	p.got.Add(int64(n))
	began := time.Now()
	defer func() { p.held.Add(int64(time.Since(began))) }()
	if s, ok := p.Sink.(fetch.CacheSink); ok {
		s.CacheProgress(ctx, n)
		return
	}
	p.Sink.Progress(ctx, n)
}

// Piece implements fetch.Sink.
func (p *passage) Piece(i int, b []byte) error {
	err := p.Sink.Piece(i, b)
	switch {
	case err == nil && i >= p.next:
		p.next = i + 1
	case errors.As(err, new(*piecehash.Mismatch)):
		p.wrong = i
	case err != nil:
		p.fatal = err
	}
	return err
}

// watch ends a passage when its node is silent and turns out to be gone, or when it crawls. A connection to a machine that has
// lost its power just stays silent.
func (v *Via) watch(ctx context.Context, o *host, at *place, p *passage) {
	tick := time.NewTicker(quietFor)
	defer tick.Stop()
	began := time.Now()
	for last := p.got.Load(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n := p.got.Load()
		if v.crawls(at, n, time.Since(began)-time.Duration(p.held.Load())) {
			p.cancel()
			return
		}
		if n != last {
			last = n
			continue
		}
		if seen, err := v.hosts.look(ctx, o, v.content); err == nil && seen.dead {
			p.cancel()
			return
		}
	}
}
