package upload

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/swarm/wire"
)

// uplink is a line that drains what flows give it, first come first served, at a rate.
type uplink struct {
	rate  float64
	start time.Time
	queue []*parcel
	done  float64 // bytes carried
}

type parcel struct {
	f *fakeFlow
	n int64
}

// fakeFlow is a flow over the uplink; a stuck one never drains.
type fakeFlow struct {
	*Flow
	line  *uplink
	stuck bool
	given int64
	gone  int64
	worst time.Duration // longest queue that a slice of it found, in time
}

func (l *uplink) flow(u *Scheduler) *fakeFlow {
	f := &fakeFlow{line: l}
	f.Flow = u.NewFlow(func() int64 { l.drain(); return f.gone }, func() int64 { return 0 })
	f.Hold()
	return f
}

// drain carries what time allows.
func (l *uplink) drain() {
	budget := l.rate*time.Since(l.start).Seconds() - l.done
	for len(l.queue) > 0 && float64(l.queue[0].n) <= budget {
		p := l.queue[0]
		l.queue = l.queue[1:]
		budget -= float64(p.n)
		l.done += float64(p.n)
		p.f.gone += p.n
	}
	if len(l.queue) == 0 {
		l.done = l.rate * time.Since(l.start).Seconds()
	}
}

// send gives n bytes to the line after a turn.
func (f *fakeFlow) send(ctx context.Context, n int) error { return f.sendPart(ctx, n, Part{}) }

func (f *fakeFlow) sendPart(ctx context.Context, n int, p Part) error {
	if err := f.Turn(ctx, n, p); err != nil {
		return err
	}
	f.up.mu.Lock()
	defer f.up.mu.Unlock()
	f.given += int64(n)
	if f.stuck {
		return nil
	}
	waiting := int64(0)
	for _, p := range f.line.queue {
		waiting += p.n
	}
	f.worst = max(f.worst, time.Duration(float64(waiting)/f.line.rate*float64(time.Second)))
	f.line.queue = append(f.line.queue, &parcel{f, int64(n) + muxHeaders})
	return nil
}

// uploading runs some flows over a line for a while, in virtual time.
func uploading(t *testing.T, bytesPerSecond float64, limit int64, d time.Duration, flows int, stuck int) (sent []*fakeFlow) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		u := New(limit)
		line := &uplink{rate: bytesPerSecond, start: time.Now()}
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		go u.Run(ctx)
		for i := range flows {
			f := line.flow(u)
			f.stuck = i < stuck
			sent = append(sent, f)
		}
		for _, f := range sent {
			go func() {
				for f.send(ctx, wire.MaxSlice) == nil {
				}
			}()
		}
		<-ctx.Done()
		synctest.Wait()
	})
	return sent
}

// TestUnsentIsBounded: on a slow uplink nobody's slice, and so no control message either, waits long behind others; and
// the line is used all the same, in equal parts.
func TestUnsentIsBounded(t *testing.T) {
	t.Parallel()
	const mbit10 = 1.25e6
	var total int64
	fs := uploading(t, mbit10, 0, 20*time.Second, 11, 0)
	for i, f := range fs {
		total += f.gone
		if f.worst > 400*time.Millisecond {
			t.Errorf("flow %d: a slice waits behind %v", i, f.worst)
		}
		if share := float64(f.given) / (20 * mbit10 / 11); share < 0.8 || share > 1.2 {
			t.Errorf("flow %d was given %d bytes of %.0f", i, f.given, 20*mbit10)
		}
	}
	if float64(total) < 0.9*20*mbit10 {
		t.Errorf("the line carried %d bytes of %.0f", total, 20*mbit10)
	}
}

// TestFastUplinkIsFilled: the bound grows with what the line takes.
func TestFastUplinkIsFilled(t *testing.T) {
	t.Parallel()
	fs := uploading(t, gbit, 0, 3*time.Second, 2, 0)
	if got := fs[0].gone + fs[1].gone; float64(got) < 0.9*3*gbit {
		t.Errorf("the line carried %d bytes of %.0f", got, 3*gbit)
	}
}

// TestStuckLinksHoldUpOnlyThemselves: peers that take nothing do not keep others from being served.
func TestStuckLinksHoldUpOnlyThemselves(t *testing.T) {
	t.Parallel()
	const mbit100 = 12.5e6
	fs := uploading(t, mbit100, 0, 10*time.Second, 10, 8)
	for _, f := range fs[:8] {
		if f.given > 4*minUnsent {
			t.Errorf("a stuck link was given %d bytes", f.given)
		}
	}
	if got := fs[8].gone + fs[9].gone; float64(got) < 0.8*10*mbit100 {
		t.Errorf("the others got %d bytes of %.0f", got, 10*mbit100)
	}
}

func TestBucketHolds(t *testing.T) {
	t.Parallel()
	fs := uploading(t, 125e6, 1<<20, 10*time.Second, 3, 0)
	var total int64
	for _, f := range fs {
		total += f.given
		if f.given < 10<<20/3*8/10 {
			t.Errorf("one of three was given %d bytes of 10 MiB", f.given)
		}
	}
	if total > 10<<20*105/100 || total < 10<<20*95/100 {
		t.Errorf("%d bytes in 10 s at 1 MiB/s", total)
	}
}

// TestPromises: everybody gets a place in the queue, more only while the queue is short.
func TestPromises(t *testing.T) {
	t.Parallel()
	u := New(1 << 20)
	for range 2 {
		if !u.Promise(16<<20, true) {
			t.Error("a first request was refused")
		}
	}
	if u.Promise(1, false) {
		t.Error("half a minute of promises and one more")
	}
	u.Kept(31 << 20)
	if !u.Promise(1<<20, false) {
		t.Error("two seconds of promises are too many")
	}
	if u.Promise(1<<20, false) {
		t.Error("three seconds of promises are not")
	}
}

// TestQuickLinkIsSoonKnown: a quick uplink is used to the full long before a whole sampleTime has passed.
func TestQuickLinkIsSoonKnown(t *testing.T) {
	t.Parallel()
	const rate = 400e6
	sent := uploading(t, rate, 0, 150*time.Millisecond, 1, 0)
	if share := float64(sent[0].gone) / (rate * 0.15); share < 0.8 {
		t.Errorf("%.2f of what the line could have carried", share)
	}
}

// TestReturnedTurns: what was granted and could not be sent does not count as unsent for ever.
func TestReturnedTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := New(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go u.Run(ctx)
		f := u.NewFlow(func() int64 { return 0 }, func() int64 { return 0 })
		f.Hold()
		defer f.LetGo()
		for i := range 100 {
			if err := f.Turn(ctx, wire.MaxSlice, Part{}); err != nil {
				t.Fatalf("turn %d: %v", i, err)
			}
			f.Return(wire.MaxSlice, wire.MaxSlice)
		}
		cancel()
	})
}

// TestNoTurnIsLost: whatever becomes of a turn, nothing of what was not sent counts as unsent or as sent afterwards, and no
// copy as on its way. A turn that is granted and cancelled at the same moment is either had or not there.
func TestNoTurnIsLost(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, of := range map[string]func(f *Flow, p Part) (sent int64){
		"cancelled as it is granted": func(f *Flow, p Part) int64 {
			if f.Turn(ended, wire.MaxSlice, p) == nil {
				return wire.MaxSlice
			}
			return 0
		},
		"returned": func(f *Flow, p Part) int64 {
			_ = f.Turn(context.Background(), wire.MaxSlice, p)
			f.Return(wire.MaxSlice, wire.MaxSlice)
			return 0
		},
		"returned in part": func(f *Flow, p Part) int64 {
			_ = f.Turn(context.Background(), wire.MaxSlice, p)
			f.Return(wire.MaxSlice/2, wire.MaxSlice)
			return wire.MaxSlice / 2
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := New(0)
			var sent, written int64
			f := u.NewFlow(func() int64 { return written }, func() int64 { return 0 })
			f.Hold()
			for i := range 64 {
				copies := uint8(0)
				p := Part{Copies: &copies, Size: wire.MaxSlice}
				if n := of(f, p); n > 0 || name != "cancelled as it is granted" {
					p.Begun = true
					f.GiveUp(p)
					if n > 0 {
						sent, written = sent+n, written+n+muxHeaders
					}
				} else if copies != 0 {
					t.Errorf("turn %d: a copy is counted that was never begun", i)
				}
				u.look(time.Now())
				if f.unsent != 0 || len(u.going) != 0 || u.granted != sent {
					t.Fatalf("turn %d: %d bytes are unsent, %d copies on their way, %d bytes granted of %d", i, f.unsent, len(u.going), u.granted, sent)
				}
			}
		})
	}
}

// TestFirstCopiesFirst: while the uplink is busy, what has begun is finished, then the piece goes that was sent least.
func TestFirstCopiesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := New(0)
		line := &uplink{rate: 1e6, start: time.Now()}
		full := line.flow(u)
		for range minUnsent / wire.MaxSlice {
			if err := full.send(t.Context(), wire.MaxSlice); err != nil {
				t.Fatal(err)
			}
		}
		often, once, never := uint8(9), uint8(1), uint8(0)
		order := make(chan string, 4)
		for _, w := range []struct {
			name string
			part Part
		}{
			{"often", Part{Copies: &often}},
			{"once", Part{Copies: &once}},
			{"never", Part{Copies: &never}},
			{"begun", Part{Copies: &often, Begun: true}},
		} {
			f := line.flow(u)
			go func() {
				if err := f.sendPart(t.Context(), wire.MaxSlice, w.part); err == nil {
					order <- w.name
				}
			}()
			synctest.Wait() // they ask in this order
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go u.Run(ctx)
		for _, want := range []string{"begun", "never", "once", "often"} {
			if got := <-order; got != want {
				t.Errorf("%s had its turn, want %s", got, want)
			}
		}
		if never != 1 || often != 10 {
			t.Errorf("copies are counted as %d and %d, want 1 and 10", never, often)
		}
	})
}

// TestOneCopyAtATime: a further copy of a piece waits for the end of the one before, but only for a while, and other pieces
// do not wait.
func TestOneCopyAtATime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after func(f *Flow, p Part) // what happens to the first copy
		most  time.Duration         // so long at most the second waits
		least time.Duration
	}{
		"it goes on":     {func(*Flow, Part) {}, maxCopyTime, minCopyTime},
		"it is given up": {func(f *Flow, p Part) { f.GiveUp(p) }, minCopyTime / 2, 0},
		"it ends": {func(f *Flow, p Part) {
			p.Last = true
			_ = f.Turn(context.Background(), wire.MaxSlice, p)
		}, minCopyTime / 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				u := New(0)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go u.Run(ctx)
				line := &uplink{rate: 1e8, start: time.Now()}
				one, two := line.flow(u), line.flow(u)
				piece, other := uint8(0), uint8(0)
				first := Part{Copies: &piece, Size: 1 << 20}
				if err := one.sendPart(ctx, wire.MaxSlice, first); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				if err := two.sendPart(ctx, wire.MaxSlice, Part{Copies: &other, Size: 1 << 20}); err != nil || time.Since(start) > minCopyTime/2 {
					t.Errorf("another piece waited %v, %v", time.Since(start), err)
				}
				first.Begun = true
				c.after(one.Flow, first)
				start = time.Now()
				err := two.sendPart(ctx, wire.MaxSlice, Part{Copies: &piece, Size: 1 << 20})
				if took := time.Since(start); err != nil || took < c.least || took > c.most {
					t.Errorf("the second copy waited %v (%v), want %v to %v", took, err, c.least, c.most)
				}
			})
		})
	}
}

// TestANewerCopyIsNotForgotten: a copy that took so long that another was begun does not, by its own end, make room for a third
// beside that.
func TestANewerCopyIsNotForgotten(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	for name, end := range map[string]func(f *Flow, copies *uint8){
		"given up": func(f *Flow, copies *uint8) { f.GiveUp(Part{Copies: copies, Size: size, Begun: true}) },
		"ended": func(f *Flow, copies *uint8) {
			_ = f.Turn(context.Background(), wire.MaxSlice, Part{Copies: copies, Size: size, Begun: true, Last: true})
		},
		"never sent": func(f *Flow, copies *uint8) {
			f.up.mu.Lock()
			defer f.up.mu.Unlock()
			f.up.takeBack(&turn{flow: f, n: wire.MaxSlice, part: Part{Copies: copies, Size: size}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				u := New(0)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go u.Run(ctx)
				line := &uplink{rate: 1e8, start: time.Now()}
				copies := uint8(0)
				slow, newer, third := line.flow(u), line.flow(u), line.flow(u)
				for _, f := range []*fakeFlow{slow, newer} { // the second waits until the first has taken too long
					if err := f.sendPart(ctx, wire.MaxSlice, Part{Copies: &copies, Size: size}); err != nil {
						t.Fatal(err)
					}
				}
				end(slow.Flow, &copies)
				start := time.Now()
				err := third.sendPart(ctx, wire.MaxSlice, Part{Copies: &copies, Size: size})
				if took := time.Since(start); err != nil || took < minCopyTime {
					t.Errorf("a third copy began after %v (%v), want %v", took, err, minCopyTime)
				}
				newer.GiveUp(Part{Copies: &copies, Size: size, Begun: true})
				if u.going[&copies].flow != third.Flow {
					t.Error("the newest copy is not known")
				}
				third.GiveUp(Part{Copies: &copies, Size: size, Begun: true})
				if len(u.going) > 0 {
					t.Error("a copy that was given up is on its way")
				}
			})
		})
	}
}

// TestNobodyStarves: a link that wants a piece which was sent often gets it, though another always has first copies to ask for.
func TestNobodyStarves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := New(1 << 20)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go u.Run(ctx)
		line := &uplink{rate: 1e8, start: time.Now()}
		greedy, late := line.flow(u), line.flow(u)
		for range 3 { // there is always one of them waiting
			go func() {
				for ctx.Err() == nil {
					fresh := uint8(0)
					_ = greedy.sendPart(ctx, wire.MaxSlice, Part{Copies: &fresh, Size: wire.MaxSlice, Last: true})
				}
			}()
		}
		time.Sleep(time.Second)
		often := uint8(5)
		for range 3 { // also by requests that were told busy meanwhile
			start, got := time.Now(), false
			for !got && time.Since(start) < 2*starvedAfter {
				short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
				got = late.sendPart(short, wire.MaxSlice, Part{Copies: &often, Size: wire.MaxSlice}) == nil
				stop()
			}
			if !got {
				t.Fatalf("nothing for %v", time.Since(start))
			}
		}
	})
}
