package store

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
)

// recoverMemory bounds the pieces that are hashed at once, in bytes; one piece always is.
const recoverMemory = 32 << 20

// believe takes over the pieces that the state of an earlier run marks, as far as the file reaches. They are hashed
// before they are served.
func (p *Partial) believe(old state, size int64) {
	m := p.manifest
	for i := range m.Pieces() {
		if old.have.Has(i) && m.Offset(i)+m.PieceSize(i) <= size {
			p.have.Set(i)
		}
	}
}

// recover looks for pieces that were written and not marked, because the process ended before the next sync: every
// unmarked piece with data in it is hashed. Holes cannot be pieces that we wrote, or cost nothing to fetch again.
func (p *Partial) recover(ctx context.Context) error {
	candidates := p.written()
	good, err := p.hashAll(ctx, candidates)
	if err != nil {
		return err
	}
	p.opt.log().Info("resume", slog.String("file", p.place.final), slog.Int("pieces", p.manifest.Pieces()),
		slog.Int("marked", p.have.Count()-good), slog.Int("hashed", len(candidates)), slog.Int("found", good))
	if good == 0 {
		return nil
	}
	return p.sync()
}

// written lists the pieces that are not marked and hold data.
func (p *Partial) written() []int {
	m, f := p.manifest, p.data.Load()
	var out []int
	start, end := int64(0), int64(0)
	for i := range m.Pieces() {
		from, to := m.Offset(i), m.Offset(i)+m.PieceSize(i)
		if end <= from && start < m.Length() {
			start, end = nextData(f, from, m.Length())
		}
		if start < to && !p.have.Has(i) {
			out = append(out, i)
		}
	}
	return out
}

// hashAll hashes pieces on all cores, notes the right ones, and returns how many those are. All its goroutines have
// ended when it returns.
func (p *Partial) hashAll(ctx context.Context, pieces []int) (good int, err error) {
	var mu sync.Mutex // guards next and good
	next := 0
	take := func(found bool) (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if found {
			good++
		}
		if next == len(pieces) || ctx.Err() != nil {
			return 0, false
		}
		next++
		return pieces[next-1], true
	}
	var wg sync.WaitGroup
	for range p.hashers(len(pieces)) {
		wg.Go(func() {
			var buf []byte
			i, more := take(false)
			for more {
				var ok bool
				buf, ok = p.hashPiece(i, buf)
				i, more = take(ok)
			}
		})
	}
	wg.Wait()
	return good, ctx.Err()
}

// hashers is how many goroutines hash n pieces.
func (p *Partial) hashers(n int) int {
	return max(min(runtime.GOMAXPROCS(0), n, int(recoverMemory/p.manifest.PieceLength())), 1)
}

// hashPiece notes piece i if its bytes are right, on the disk: what a failed write has left in the kernel's memory looks right
// and is lost as soon as that is needed. It returns the buffer for the next one.
func (p *Partial) hashPiece(i int, buf []byte) ([]byte, bool) {
	f, m := p.data.Load(), p.manifest
	dropCache(f, m.Offset(i), m.PieceSize(i))
	b, err := readAt(f, m, i, buf)
	if err != nil {
		return buf, false // unreadable here means: fetch it again
	}
	if m.Check(i, b) != nil {
		return b, false
	}
	p.add(i)
	return b, true
}
