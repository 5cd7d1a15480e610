package fetch_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
)

const (
	mib     = 1 << 20
	mbit100 = 12.5e6 // bytes per second
	gbit    = 125e6
)

// site is n devices that start together behind one shaped line.
type site struct {
	n         int
	length    int64
	origin    float64 // rate of the shared line
	uplink    float64
	links     time.Duration // until the LAN links are up
	spread    time.Duration // starts are spread over this
	before    func(i int, d *fetchtest.Device)
	healthy   func(i int) bool // whose time counts; nil = everybody's
	originFor func(i int) bool
}

type result struct {
	stats    []fetch.Stats
	errs     []error
	took     []time.Duration
	copies   float64 // of the content that the line carried
	makespan float64 // of the slowest, counted from its own start, over the time the line needs for one copy
}

// run fetches in virtual time; it must be called in a synctest bubble.
func (s site) run(t *testing.T) result {
	t.Helper()
	data, m := fetchtest.Content(7, s.length, 0)
	web := &fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(s.origin), RTT: 10 * time.Millisecond}
	lan := &fetchtest.LAN{Delay: 200 * time.Microsecond, Links: s.links}
	r := result{stats: make([]fetch.Stats, s.n), errs: make([]error, s.n), took: make([]time.Duration, s.n)}
	var wg sync.WaitGroup
	var devices []*fetchtest.Device
	var mu sync.Mutex
	for i := range s.n {
		wg.Go(func() {
			if s.spread > 0 {
				time.Sleep(s.spread * time.Duration(i) / time.Duration(s.n))
			}
			part := fetchtest.NewPart(m)
			d := lan.Join(fetch.PeerID(fmt.Sprintf("device-%02d", i)), part, fetchtest.NewPipe(s.uplink))
			mu.Lock()
			devices = append(devices, d)
			mu.Unlock()
			if s.before != nil {
				s.before(i, d)
			}
			opt := fetch.Options{Self: d.ID, Site: d, Origin: d.Behind(web)}
			if s.originFor != nil && !s.originFor(i) {
				opt.Origin = nil
			}
			start := time.Now()
			r.stats[i], r.errs[i] = fetch.File(t.Context(), part, opt)
			r.took[i] = time.Since(start)
		})
	}
	wg.Wait()
	for _, d := range devices {
		d.Leave()
	}
	bound := time.Duration(float64(s.length) / s.origin * float64(time.Second))
	for i, took := range r.took {
		if s.healthy != nil && !s.healthy(i) {
			continue
		}
		r.makespan = max(r.makespan, took.Seconds()/bound.Seconds())
	}
	r.copies = float64(web.Line.Used()) / float64(s.length)
	return r
}

func (r result) check(t *testing.T) {
	t.Helper()
	for i, err := range r.errs {
		if err != nil {
			t.Errorf("device %d: %v", i, err)
		}
		if got := r.stats[i].Useful() + r.stats[i].Resumed; got != r.stats[i].Content {
			t.Errorf("device %d: %d useful bytes of %d", i, got, r.stats[i].Content)
		}
	}
}

// TestASitePaysOnce holds the promise of the project in virtual time: copies drawn from the origin and makespan over the
// bound, for sites of several sizes that start cold at the same instant.
func TestASitePaysOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n        int
		length   int64
		copies   float64
		makespan float64
	}{
		{1, 16 * mib, 1.0, 1.20},
		{2, 32 * mib, 1.0, 1.12},
		{4, 32 * mib, 1.02, 1.15},
		{12, 64 * mib, 1.03, 1.10},
	} {
		t.Run(fmt.Sprintf("%d devices", c.n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := site{n: c.n, length: c.length, origin: mbit100, uplink: gbit, links: 100 * time.Millisecond}.run(t)
				r.check(t)
				t.Logf("copies %.3f, makespan %.3f", r.copies, r.makespan)
				if r.copies > c.copies {
					t.Errorf("%.3f copies from the origin, want at most %.3f", r.copies, c.copies)
				}
				if r.makespan > c.makespan {
					t.Errorf("makespan %.3f of the bound, want at most %.3f", r.makespan, c.makespan)
				}
			})
		})
	}
}

// TestThinUplinks: a device that can draw as fast as the others and pass on a tenth of that must not become an owner that
// everybody waits for; and where all uplinks are as thin as the origin the site lives from second holders: the owners'
// uplinks alone would take six times as long.
func TestThinUplinks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ first, others float64 }{
		"one":                        {mbit100 / 10, gbit},
		"all, as thin as the origin": {mbit100, mbit100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := site{n: 12, length: 64 * mib, origin: mbit100, uplink: c.others, links: 100 * time.Millisecond, before: func(i int, d *fetchtest.Device) {
					if i == 0 {
						d.Up = fetchtest.NewPipe(c.first)
					}
				}}.run(t)
				r.check(t)
				t.Logf("copies %.3f, makespan %.3f", r.copies, r.makespan)
				if r.copies > 1.05 || r.makespan > 1.4 {
					t.Errorf("copies %.3f, makespan %.3f", r.copies, r.makespan)
				}
			})
		})
	}
}

// TestASlowDeviceCostsTheSiteNothing: one that has a tenth of the origin's line, both ways, neither holds up the others nor
// draws what they have.
func TestASlowDeviceCostsTheSiteNothing(t *testing.T) {
	t.Parallel()
	for slow := range 3 {
		t.Run(fmt.Sprint(slow), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := site{n: 12, length: 64 * mib, origin: mbit100, uplink: gbit, links: 100 * time.Millisecond, before: func(i int, d *fetchtest.Device) {
					if i == 5*slow {
						d.Up, d.Down = fetchtest.NewPipe(mbit100/10), fetchtest.NewPipe(mbit100/10)
					}
				}, healthy: func(i int) bool { return i != 5*slow }}.run(t)
				r.check(t)
				t.Logf("copies %.3f, makespan %.3f, by reason %v", r.copies, r.makespan, r.stats[5*slow].OriginBy)
				if r.copies > 1.05 || r.makespan > 1.15 {
					t.Errorf("copies %.3f, makespan %.3f", r.copies, r.makespan)
				}
			})
		})
	}
}

// TestOriginBytesAddUp: what the devices say they drew is what the line carried.
func TestOriginBytesAddUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := site{n: 3, length: 16 * mib, origin: mbit100, uplink: gbit}
		r := s.run(t)
		r.check(t)
		var sum int64
		for _, st := range r.stats {
			sum += st.From.Origin
		}
		if want := int64(r.copies*float64(s.length) + 0.5); sum != want {
			t.Errorf("devices say %d bytes, the line carried %d", sum, want)
		}
	})
}

// TestSpreadStarts: a device that starts late gets from its neighbours what they have.
func TestSpreadStarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := site{n: 6, length: 32 * mib, origin: mbit100, uplink: gbit, spread: 3 * time.Second, links: 50 * time.Millisecond}.run(t)
		r.check(t)
		t.Logf("copies %.3f, makespan %.3f", r.copies, r.makespan)
		if r.copies > 1.05 || r.makespan > 1.15 {
			t.Errorf("copies %.3f, makespan %.3f", r.copies, r.makespan)
		}
	})
}

// TestAMuteDeviceHoldsUpNobody: a device that claims nothing, says it has everything and answers nothing.
func TestAMuteDeviceHoldsUpNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, m := fetchtest.Content(7, 16*mib, 0)
		web := &fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(mbit100), RTT: 10 * time.Millisecond}
		lan := &fetchtest.LAN{Delay: 200 * time.Microsecond}
		mute := lan.Join("mute", fetchtest.FullPart(m, data), nil)
		mute.Mute = true
		defer mute.Leave()
		part := fetchtest.NewPart(m)
		d := lan.Join("victim", part, nil)
		defer d.Leave()
		start := time.Now()
		st, err := fetch.File(t.Context(), part, fetch.Options{Self: d.ID, Site: d, Origin: web})
		if err != nil {
			t.Fatal(err)
		}
		if st.From.Origin != m.Length() || st.OriginBy[fetch.Timeout] == 0 {
			t.Errorf("from the origin %d, by reason %v", st.From.Origin, st.OriginBy)
		}
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// besideALiar fetches where the only other member lies, into a part by way of what may be another face of it.
func besideALiar(t *testing.T, data []byte, part *fetchtest.Part, face fetch.Part) fetch.Stats {
	t.Helper()
	m := part.Manifest()
	web := &fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(mbit100), RTT: 10 * time.Millisecond}
	lan := &fetchtest.LAN{Delay: 200 * time.Microsecond}
	liar := lan.Join("liar", fetchtest.FullPart(m, data), fetchtest.NewPipe(gbit))
	liar.Lying = true
	defer liar.Leave()
	d := lan.Join("victim", part, nil)
	defer d.Leave()
	st, err := fetch.File(t.Context(), face, fetch.Options{Self: d.ID, Site: d, Origin: web})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestALiarIsDropped: one bad piece at most, and the file is right.
func TestALiarIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, m := fetchtest.Content(7, 16*mib, 0)
		part := fetchtest.NewPart(m)
		st := besideALiar(t, data, part, part)
		if !part.Bitmap().Full() || st.Useful() != m.Length() {
			t.Errorf("useful %d of %d", st.Useful(), m.Length())
		}
		if st.Waste == 0 || st.Waste > 3*m.PieceLength() {
			t.Errorf("waste %d bytes, want one piece and what was in flight beside it", st.Waste)
		}
		u := st.Uses
		if u.Peers.Corrupt < m.PieceLength() || u.Peers.Useful != 0 || u.Origin.Useful != m.Length() || u.Origin.Corrupt != 0 {
			t.Errorf("%+v, want corrupt pieces of the liar alone and all that is useful of the origin", u)
		}
		if sum := u.Peers.Corrupt + u.Peers.Cut + u.Peers.Duplicate + u.Origin.Cut + u.Origin.Duplicate; sum != st.Waste {
			t.Errorf("%+v: the waste is %d, want %d", u, sum, st.Waste)
		}
	})
}

// TestALateDeviceCostsTheOriginNothing when its neighbours have everything.
func TestALateDeviceCostsTheOriginNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, m := fetchtest.Content(7, 32*mib, 0)
		web := &fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(mbit100)}
		lan := &fetchtest.LAN{Delay: 200 * time.Microsecond, Links: 120 * time.Millisecond}
		for i := range 3 {
			o := lan.Join(fetch.PeerID(fmt.Sprint("full", i)), fetchtest.FullPart(m, data), fetchtest.NewPipe(gbit))
			defer o.Leave()
		}
		part := fetchtest.NewPart(m)
		d := lan.Join("late", part, nil)
		defer d.Leave()
		st, err := fetch.File(t.Context(), part, fetch.Options{Self: d.ID, Site: d, Origin: web})
		if err != nil {
			t.Fatal(err)
		}
		if st.From.Origin != 0 || web.Requests.Load() != 0 {
			t.Errorf("%d bytes in %d requests from the origin", st.From.Origin, web.Requests.Load())
		}
	})
}

// TestADeadOwnerIsTakenOver: the device that streams from the origin vanishes at half time.
func TestADeadOwnerIsTakenOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, m := fetchtest.Content(7, 32*mib, 0)
		web := &fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(mbit100), RTT: 10 * time.Millisecond}
		lan := &fetchtest.LAN{Delay: 200 * time.Microsecond}
		var wg sync.WaitGroup
		for i := range 4 {
			part := fetchtest.NewPart(m)
			d := lan.Join(fetch.PeerID(fmt.Sprint("device", i)), part, fetchtest.NewPipe(gbit))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i == 0 {
				time.AfterFunc(1200*time.Millisecond, func() { cancel(); d.Leave() })
			} else {
				defer d.Leave()
			}
			wg.Go(func() {
				_, err := fetch.File(ctx, part, fetch.Options{Self: d.ID, Site: d, Origin: web})
				if i != 0 && err != nil {
					t.Errorf("device %d: %v", i, err)
				}
			})
		}
		start := time.Now()
		wg.Wait()
		copies := float64(web.Line.Used()) / float64(m.Length())
		makespan := time.Since(start).Seconds() * mbit100 / float64(m.Length())
		t.Logf("copies %.3f, makespan %.3f", copies, makespan)
		if copies > 1.05 || makespan > 1.15 { // the pieces that it had begun, and the line that it left idle
			t.Errorf("copies %.3f, makespan %.3f", copies, makespan)
		}
	})
}

// TestErrorsHaveTheirKind: only origin gone, only origin lying, nobody at all.
func TestErrorsHaveTheirKind(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(7, 2*mib, 0)
	for name, c := range map[string]struct {
		origin func(*fetchtest.WebServer)
		none   bool
		want   fault.Kind
	}{
		"origin gone":      {func(w *fetchtest.WebServer) { w.Down.Store(true) }, false, fault.Unavailable},
		"origin lying":     {func(w *fetchtest.WebServer) { w.Bad = func(i int) bool { return i == 3 } }, false, fault.Untrusted},
		"nobody to ask":    {nil, true, fault.Unavailable},
		"origin is honest": {func(*fetchtest.WebServer) {}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opt := fetch.Options{}
				if !c.none {
					web := &fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(gbit)}
					c.origin(web)
					opt.Origin = web
				}
				_, err := fetch.File(t.Context(), fetchtest.NewPart(m), opt)
				if fault.Of(err) != c.want {
					t.Errorf("got %v (%v), want %v", fault.Of(err), err, c.want)
				}
			})
		})
	}
}

// TestTheOriginComesBack: five seconds without it cost five seconds, not the download.
func TestTheOriginComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, m := fetchtest.Content(7, 16*mib, 0)
		web := &fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(mbit100)}
		time.AfterFunc(500*time.Millisecond, func() { web.Down.Store(true) })
		time.AfterFunc(5500*time.Millisecond, func() { web.Down.Store(false) })
		start := time.Now()
		if _, err := fetch.File(t.Context(), fetchtest.NewPart(m), fetch.Options{Origin: web}); err != nil {
			t.Error(err)
		}
		alone := float64(m.Length()) / mbit100
		if more := time.Since(start).Seconds() - alone; more < 5 || more > 7 { // in a row of failures it waits a second at most
			t.Errorf("it cost %.2f s", more)
		}
	})
}

// TestTheLimitHolds for the whole download.
func TestTheLimitHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, m := fetchtest.Content(7, 8*mib, 0)
		web := &fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(gbit)}
		start := time.Now()
		if _, err := fetch.File(t.Context(), fetchtest.NewPart(m), fetch.Options{Origin: web, Limits: fetch.Limits{Total: fetch.NewLimit(1 * mib)}}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start).Seconds(); took < 7.6 || took > 8.6 {
			t.Errorf("8 MiB at 1 MiB/s took %.2f s", took)
		}
	})
}

// TestCancelLeavesNothing: synctest fails when a goroutine outlives the bubble.
func TestCancelLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, m := fetchtest.Content(7, 8*mib, 0)
		web := &fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(1 * mib)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := fetch.File(ctx, fetchtest.NewPart(m), fetch.Options{Origin: web}); err == nil {
			t.Error("no error")
		}
	})
}

// TestALieOutranksAnOutage: a peer sends wrong bytes, then only the origin is left, and that is down.
func TestALieOutranksAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, m := fetchtest.Content(7, 2*mib, 0)
		lan := &fetchtest.LAN{Delay: time.Millisecond}
		liar := lan.Join("liar", fetchtest.FullPart(m, data), fetchtest.NewPipe(gbit))
		liar.Lying = true
		part := fetchtest.NewPart(m)
		me := lan.Join("me", part, fetchtest.NewPipe(gbit))
		web := &fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(gbit)}
		web.Down.Store(true)
		_, err := fetch.File(t.Context(), part, fetch.Options{Self: me.ID, Site: me, Origin: web})
		if !fault.Is(err, fault.Untrusted) || web.Requests.Load() == 0 {
			t.Errorf("%v (%v) after %d requests to the origin", err, fault.Of(err), web.Requests.Load())
		}
		me.Leave()
		liar.Leave()
	})
}
