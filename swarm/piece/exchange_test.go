package piece

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/conn/conntest"
	"github.com/dunlin-project/dunlin/swarm/upload"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// full is a source that has everything.
type full struct{ *fetchtest.Part }

func (f full) Has(i int) bool { return f.Bitmap().Has(i) }

// pair is an asker and what serves it, over a real connection.
type pair struct {
	*Asker
	a      *conn.Conn
	memory *Memory // the server's
	sent   atomic.Int64
	wire   atomic.Int64
	late   atomic.Int64
	wg     sync.WaitGroup
}

// connect serves the content, under the number 7, to an asker.
func connect(t *testing.T, c *Content) *pair {
	t.Helper()
	up := upload.New(0)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { up.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return connectTo(t, c, up)
}

// connectTo does so with a scheduler that others may use too.
func connectTo(t *testing.T, c *Content, up *upload.Scheduler) *pair {
	t.Helper()
	a, b := conntest.Pair(t)
	p := &pair{a: a, memory: NewMemory(0)}
	ctx, cancel := context.WithCancel(context.Background())
	p.wg.Go(func() {
		s, err := b.AcceptStream()
		if err != nil {
			return
		}
		if _, err := conn.Negotiate(s, wire.PieceProtocol); err != nil {
			return
		}
		err = Serve(ctx, s, Service{
			Scheduler: up, Flow: up.NewFlow(b.Written, b.Queued), Memory: p.memory,
			Lookup: func(room uint32) *Content {
				if room == 7 {
					return c
				}
				return nil
			},
			Sent: func(payload, wire int) { p.sent.Add(int64(payload)); p.wire.Add(int64(wire)) },
			Log:  slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	p.Asker = NewAsker(Line{
		Open:   func(ctx context.Context) (conn.Stream, error) { return a.Open(ctx, wire.PieceProtocol) },
		Begin:  func(f func()) bool { p.wg.Go(f); return true },
		Fail:   func() { go a.Close() },
		Late:   func(n int) { p.late.Add(int64(n)) },
		Memory: NewMemory(0),
	})
	t.Cleanup(func() {
		cancel()
		a.Close()
		b.Close()
		p.wg.Wait()
	})
	return p
}

// get fetches a piece of the content.
func (p *pair) get(ctx context.Context, m *piecehash.Manifest, i int) (*fetchtest.Collector, error) {
	c := &fetchtest.Collector{M: m}
	return c, p.Fetch(ctx, 7, i, int(m.PieceSize(i)), c)
}

// settle waits until the server has counted n bytes: it counts a slice when it is written, and that may be read before.
func (p *pair) settle(n int64) {
	for end := time.Now().Add(10 * time.Second); p.sent.Load() < n && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// TestSizes: pieces of all lengths arrive, and every byte is counted on both sides.
func TestSizes(t *testing.T) {
	t.Parallel()
	for _, n := range []int64{1, 16 << 10, wire.MaxSlice, wire.MaxSlice + 1, 256<<10 - 1, 256 << 10, 256<<10 + 1} {
		data, m := fetchtest.Content(uint64(n), n, 256<<10)
		p := connect(t, NewContent(m, full{fetchtest.FullPart(m, data)}))
		for i := range m.Pieces() {
			if c, err := p.get(t.Context(), m, i); err != nil || c.Bytes() != m.PieceSize(i) {
				t.Errorf("%d bytes, piece %d: %d bytes, %v", n, i, c.Bytes(), err)
			}
		}
		p.settle(n)
		if p.sent.Load() != n || p.Arrived() != n {
			t.Errorf("%d bytes: %d sent, %d arrived", n, p.sent.Load(), p.Arrived())
		}
	}
}

// TestCompressed: on a link that is known to be slow, what shrinks goes compressed, and counts in full.
func TestCompressed(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("the same again; "), 4<<20/16)
	m, _, err := piecehash.SumFile(t.Context(), bytes.NewReader(data), int64(len(data)), 1<<20, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := connect(t, NewContent(m, full{fetchtest.FullPart(m, data)}))
	for i := range m.Pieces() {
		p.pace.rate = zstdBelow / 2
		if c, err := p.get(t.Context(), m, i); err != nil || c.Bytes() != m.PieceSize(i) {
			t.Errorf("piece %d: %d bytes, %v", i, c.Bytes(), err)
		}
	}
	p.settle(int64(len(data)))
	if p.sent.Load() != int64(len(data)) || p.wire.Load() > int64(len(data))/4 {
		t.Errorf("%d bytes sent as %d", p.sent.Load(), p.wire.Load())
	}
}

// slow is a source that takes its time.
type slow struct {
	full
	entered chan struct{}
	open    chan struct{}
}

func (s slow) ReadPiece(i int, buf []byte) ([]byte, error) {
	s.entered <- struct{}{}
	<-s.open
	return s.full.ReadPiece(i, buf)
}

// TestCancelledPieceIsDropped: slices that cross with the cancel are counted as late, and the stream goes on.
func TestCancelledPieceIsDropped(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 4<<20, 1<<20)
	s := slow{full{fetchtest.FullPart(m, data)}, make(chan struct{}, 10), make(chan struct{})}
	p := connect(t, NewContent(m, s))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := p.get(ctx, m, 0)
		done <- err
	}()
	<-s.entered
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(s.open)
	if _, err := p.get(t.Context(), m, 1); err != nil {
		t.Error(err)
	}
	if p.Arrived() != 1<<20+p.late.Load() {
		t.Errorf("%d arrived, %d of them late", p.Arrived(), p.late.Load())
	}
}

// TestWhoWaitsForLongIsToldSo: behind a piece that takes its time the next is answered busy, and the first still comes.
func TestWhoWaitsForLongIsToldSo(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 4<<20, 1<<20)
	s := slow{full{fetchtest.FullPart(m, data)}, make(chan struct{}, 10), make(chan struct{})}
	p := connect(t, NewContent(m, s))
	first := make(chan error, 1)
	go func() {
		_, err := p.get(t.Context(), m, 0)
		first <- err
	}()
	<-s.entered
	for i := 1; i < 3; i++ { // and again: what waits is watched each time
		var busy *fetch.BusyError
		if _, err := p.get(t.Context(), m, i); !errors.As(err, &busy) || busy.RetryAfter < upload.ShortWait {
			t.Errorf("piece %d: %v, want busy", i, err)
		}
	}
	close(s.open)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if _, err := p.get(t.Context(), m, 1); err != nil {
		t.Error(err)
	}
}

// TestNobodyWaitsForEverForATurn: on an uplink that others have used up, who has not been begun with is told busy after a
// while, and a cancelled request does not keep the link from the next.
func TestNobodyWaitsForEverForATurn(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(3, 1<<20, 256<<10)
	c := NewContent(m, full{fetchtest.FullPart(m, data)})
	up := upload.New(1) // after the first slices a byte a second
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { up.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	first, second := connectTo(t, c, up), connectTo(t, c, up)
	wg.Go(func() { _, _ = first.get(ctx, m, 0) })
	for first.sent.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond) // what may be sent at once is gone

	var busy *fetch.BusyError
	start := time.Now()
	if _, err := second.get(t.Context(), m, 1); !errors.As(err, &busy) || time.Since(start) < tired/2 {
		t.Errorf("%v after %v, want busy after a while", err, time.Since(start))
	}
	short, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if _, err := second.get(short, m, 2); err == nil {
		t.Error("there was a turn after all")
	}
	if _, err := second.get(t.Context(), m, 3); !errors.As(err, &busy) {
		t.Errorf("after a cancelled request: %v", err)
	}
}

func TestLinkEnds(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 4<<20, 1<<20)
	s := slow{full{fetchtest.FullPart(m, data)}, make(chan struct{}, 10), make(chan struct{})}
	p := connect(t, NewContent(m, s))
	done := make(chan error, 2)
	for i := range 2 {
		go func() {
			_, err := p.get(t.Context(), m, i)
			done <- err
		}()
	}
	<-s.entered
	p.a.Close()
	for range 2 {
		if err := <-done; err == nil {
			t.Error("a piece came over a closed connection")
		}
	}
	close(s.open)
	if _, err := p.get(t.Context(), m, 2); !errors.Is(err, ErrLinkGone) {
		t.Errorf("got %v, want ErrLinkGone", err)
	}
}

// TestTooManyOutstanding requests are refused here, before the peer must.
func TestTooManyOutstanding(t *testing.T) {
	t.Parallel()
	a := NewAsker(Line{Memory: NewMemory(0)})
	for range maxOutstanding {
		if _, err := a.register(&request{}); err != nil {
			t.Fatal(err)
		}
	}
	var busy *fetch.BusyError
	if _, err := a.register(&request{}); !errors.As(err, &busy) {
		t.Errorf("got %v", err)
	}
}

func TestTooSlow(t *testing.T) {
	t.Parallel()
	const enough = minRate * int64(rateWindow/time.Second)
	for name, c := range map[string]struct {
		n, told int64
		since   time.Duration
		want    error
	}{
		"at full speed":                   {enough, enough, rateWindow, nil},
		"just too slow":                   {enough - 1, 5, rateWindow, errSlow},
		"others' pieces come, ours waits": {enough - 1, 0, rateWindow, nil},
		"nothing yet":                     {0, 0, rateWindow, nil},
		"nothing for long":                {0, 0, patience, errSilent},
		"it began and stopped":            {0, 5, patience, errSilent},
	} {
		if got := tooSlow(c.n, c.told, c.since); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestBuffers(t *testing.T) {
	t.Parallel()
	var p buffers
	for _, n := range []int{1, piecehash.LeafSize, piecehash.LeafSize + 1, 1 << 20, 1<<20 + 1, piecehash.MaxPieceLength} {
		b := p.get(n)
		if len(b) != n || cap(b) < n || cap(b) >= 2*max(n, piecehash.LeafSize) {
			t.Errorf("%d: length %d, capacity %d", n, len(b), cap(b))
		}
		p.put(b)
		p.put(b[: 0 : n/2]) // what is not ours is not kept
	}
}

// TestLoansAreBounded: pieces read and not yet sent never take more than the limit, and one that is given up is read
// again.
func TestLoansAreBounded(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 40<<20, 4<<20)
	c := NewContent(m, full{fetchtest.FullPart(m, data)})
	memory := NewMemory(1) // as little as there may be: one piece of 16 MiB, or four of these
	var held []*loan
	for i := range 4 {
		p := &loan{memory: memory, content: c, piece: i}
		if _, err := p.bytes(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.yield() // nobody waits
		held = append(held, p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	fifth := &loan{memory: memory, content: c, piece: 4}
	if _, err := fifth.bytes(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a fifth: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := fifth.bytes(t.Context())
		got <- err
	}()
	for memory.starved.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	held[0].yield()
	if err := <-got; err != nil {
		t.Error(err)
	}
	fifth.release()
	if b, err := held[0].bytes(t.Context()); err != nil || !bytes.Equal(b, data[:4<<20]) {
		t.Error("not the same after it was given up", err)
	}
	held[0].release()
	held[0].release() // harmless
}
