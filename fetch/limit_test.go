package fetch_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
)

// passed is how many bytes a few takers get through a limit in a time.
func passed(l *fetch.Limit, takers, each int, d time.Duration) []int64 {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	got := make([]int64, takers)
	var wg sync.WaitGroup
	for i := range takers {
		wg.Go(func() {
			for {
				if l.Pass(ctx, each); ctx.Err() != nil {
					return
				}
				got[i] += int64(each)
			}
		})
	}
	wg.Wait()
	return got
}

// TestLimit: the rate holds within 5 % whatever it is, however many share it and whatever they take at once; and all of them
// get their part.
func TestLimit(t *testing.T) {
	t.Parallel()
	const d = 10 * time.Second
	for _, c := range []struct {
		rate         int64
		takers, each int
	}{
		{64 << 10, 1, 16 << 10},
		{1 << 20, 1, 128 << 10},
		{1 << 20, 7, 10_000},
		{10 << 20, 3, 4 << 20},
		{1 << 30, 2, 1 << 20},
	} {
		synctest.Test(t, func(t *testing.T) {
			var sum int64
			got := passed(fetch.NewLimit(c.rate), c.takers, c.each, d)
			for _, n := range got {
				sum += n
			}
			part := float64(sum) / float64(c.takers)
			for i, n := range got {
				if f := float64(n); f < 0.8*part-float64(c.each) || f > 1.2*part+float64(c.each) {
					t.Errorf("%+v: taker %d got %d bytes of %d", c, i, n, sum)
				}
			}
			// What somebody still waited for at the end is not in the sum.
			least := 0.95*float64(c.rate)*d.Seconds() - float64(c.takers*c.each)
			if f := float64(sum); f < least || f > 1.05*float64(c.rate)*d.Seconds() {
				t.Errorf("%+v: %d bytes in %v", c, sum, d)
			}
		})
	}
}

// TestLimitIsChanged: a new rate holds from then on, also none.
func TestLimitIsChanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, ctx := fetch.NewLimit(1<<20), t.Context()
		took := func(n int) float64 {
			start := time.Now()
			l.Pass(ctx, n)
			return time.Since(start).Seconds()
		}
		took(1 << 20)
		for _, rate := range []int64{1 << 20, 4 << 20, 1 << 18, 2 << 20} {
			l.Set(rate)
			if s := took(int(5 * rate)); s < 4.75 || s > 5.25 {
				t.Errorf("5 s of %d bytes a second took %.2f s", rate, s)
			}
		}
		l.Set(0)
		if s := took(1 << 30); s > 0 {
			t.Errorf("without a limit it takes %.2f s", s)
		}
		var none *fetch.Limit
		none.Pass(ctx, 1<<30)
	})
}

// TestLimitEndsWithItsContext, and holds until then also under a deadline that lies before its turn.
func TestLimitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		fetch.NewLimit(1<<20).Pass(ctx, 1<<30)
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("it ended after %v", d)
		}
	})
}

// TestFilesShareALimit: the rate is that of the process, not of each file.
func TestFilesShareALimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limits := fetch.Limits{Total: fetch.NewLimit(2 * mib)}
		start := time.Now()
		var wg sync.WaitGroup
		for k := range 3 {
			wg.Go(func() {
				data, m := fetchtest.Content(uint64(k), 8*mib, 0)
				web := &fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(gbit)}
				if _, err := fetch.File(t.Context(), fetchtest.NewPart(m), fetch.Options{Origin: web, Limits: limits}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start).Seconds(); took < 12*0.95 || took > 12*1.05 {
			t.Errorf("3 times 8 MiB at 2 MiB/s together took %.2f s", took)
		}
	})
}

// eager is a member with everything that sends all it is asked for at once: what the other end holds back waits in the
// memory of that end. It is the other end's site, too.
type eager struct {
	role fetch.Role
	part *fetchtest.Part
	sent atomic.Int64
}

func (e *eager) Say(fetch.Saying) {}

func (e *eager) Hear() <-chan fetch.Heard {
	ch := make(chan fetch.Heard, 1)
	ch <- fetch.Joined{ID: "eager", Role: e.role, Have: e.part.Bitmap(), Peer: e, RTT: time.Millisecond}
	return ch
}

func (e *eager) Fetch(ctx context.Context, i int, sink fetch.Sink) error {
	time.Sleep(time.Millisecond)
	b := e.part.Piece(i)
	e.sent.Add(int64(len(b)))
	sink.Progress(ctx, len(b))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return sink.Piece(i, b)
}

// one is a device that fetches from another one that has all, under limits.
type one struct {
	length, piece int64
	limits        fetch.Limits
	origin        bool
	role          fetch.Role
	watch         func(at time.Duration, sent int64) // each second: what the other one has sent
}

func (o one) run(t *testing.T) (s fetch.Stats, took time.Duration) {
	t.Helper()
	data, m := fetchtest.Content(7, o.length, o.piece)
	other := &eager{role: o.role, part: fetchtest.FullPart(m, data)}
	opt := fetch.Options{Self: "self", Site: other, Limits: o.limits}
	if o.origin {
		opt.Origin = &fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(mbit100)}
	}
	start := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil && o.watch != nil {
			o.watch(time.Since(start), other.sent.Load())
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	})
	s, err := fetch.File(t.Context(), fetchtest.NewPart(m), opt)
	took = time.Since(start)
	cancel()
	wg.Wait()
	if err != nil {
		t.Error(err)
	}
	return s, took
}

// TestScopes: each limit is of its kind of source alone.
func TestScopes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits fetch.Limits
		role   fetch.Role
		want   float64 // seconds for 16 MiB
	}{
		"device, limited":            {fetch.Limits{Devices: fetch.NewLimit(2 * mib)}, fetch.Device, 8},
		"device, caches limited":     {fetch.Limits{Caches: fetch.NewLimit(2 * mib)}, fetch.Device, 0},
		"cache, limited":             {fetch.Limits{Caches: fetch.NewLimit(2 * mib)}, fetch.Cache, 8},
		"cache, devices limited":     {fetch.Limits{Devices: fetch.NewLimit(2 * mib)}, fetch.Cache, 0},
		"device, the lower of two":   {fetch.Limits{Total: fetch.NewLimit(2 * mib), Devices: fetch.NewLimit(4 * mib)}, fetch.Device, 8},
		"device, the lower of these": {fetch.Limits{Total: fetch.NewLimit(4 * mib), Devices: fetch.NewLimit(2 * mib)}, fetch.Device, 8},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, took := one{length: 16 * mib, limits: c.limits, role: c.role}.run(t)
			if got := took.Seconds(); got < 0.95*c.want || got > 1.05*c.want+0.5 {
				t.Errorf("%s: took %.2f s, want %.1f", name, got, c.want)
			}
			if s.Waste != 0 {
				t.Errorf("%s: %d bytes wasted", name, s.Waste)
			}
		})
	}
}

// TestALimitHoldsTheSenderBack: what a limit does not let through waits at its sender and not in this device's memory.
func TestALimitHoldsTheSenderBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const window = 4 * mib // asked for and not yet let through: two pieces, and what the round trip moves
		one{
			length: 32 * mib, limits: fetch.Limits{Devices: fetch.NewLimit(2 * mib)},
			watch: func(at time.Duration, sent int64) {
				if most := int64(at.Seconds()*2*mib) + window; sent > most {
					t.Errorf("after %v %d bytes were sent, at most %d are let through or asked for", at, sent, most)
				}
			},
		}.run(t)
	})
}

// TestALowLimitIsNobodysFault: who is slow because we want it so is neither left alone nor asked twice, however low the limit.
func TestALowLimitIsNobodysFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, took := one{length: 4 * mib, piece: mib, limits: fetch.Limits{Total: fetch.NewLimit(16 << 10)}}.run(t)
		if s.Waste != 0 || took.Seconds() > 256*1.05 || took.Seconds() < 256*0.95 {
			t.Errorf("4 MiB at 16 KiB/s took %v, %d bytes wasted", took, s.Waste)
		}
	})
}

// TestOwnLimitDoesNotOpenTheOrigin: a device that is slow by its own limit goes on taking from the site what the site has.
func TestOwnLimitDoesNotOpenTheOrigin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := one{length: 40 * mib, origin: true, limits: fetch.Limits{Total: fetch.NewLimit(2 * mib)}}.run(t)
		if s.From.Origin != 0 {
			t.Errorf("%d bytes came from the origin", s.From.Origin)
		}
	})
}
