package fetch_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// blockade is what members say, and do not, to keep a device from the origin. They are asked what to say ten times a second.
type blockade func(d *desk, now time.Duration)

// every says what f says of each claim that a member needs for the whole of 64 pieces.
func every(d *desk, now time.Duration, id fetch.PeerID, count int, f func(c *fetch.SayClaim)) {
	for first := 0; first < 64; first += count {
		c := fetch.SayClaim{First: first, Count: min(count, 64-first)}
		f(&c)
		d.said(now, id, c)
	}
}

// TestNobodyKeepsADeviceFromTheOrigin: one member, or several, claim all of a file and fetch nothing of it. A device gets it
// all the same: long before its patience ends it begins, and it is never held up for so long again.
func TestNobodyKeepsADeviceFromTheOrigin(t *testing.T) {
	t.Parallel()
	const per = 8
	for name, say := range map[string]blockade{
		"more done than there is": func(d *desk, now time.Duration) {
			every(d, now, "liar", per, func(c *fetch.SayClaim) { c.Rate, c.Done = mib, 1<<20+int64(now/ms)<<20 })
		},
		"no rate, a byte at a time": func(d *desk, now time.Duration) {
			every(d, now, "liar", per, func(c *fetch.SayClaim) { c.Done = int64(now / (2900 * ms)) })
		},
		"claims that overlap": func(d *desk, now time.Duration) {
			every(d, now, "liar", per, func(c *fetch.SayClaim) { c.Rate, c.Done = 1, int64(now/sec) })
			every(d, now, "liar", per, func(c *fetch.SayClaim) { c.First++; c.Count = min(c.Count-1, 63-c.First); c.Done = int64(now / sec) })
		},
		"a thief that crawls": func(d *desk, now time.Duration) {
			for _, id := range []fetch.PeerID{"liar", "thief"} {
				every(d, now, id, per, func(c *fetch.SayClaim) { c.Rate, c.Done = 1, int64(now/sec) })
			}
		},
		"another count each second": func(d *desk, now time.Duration) {
			every(d, now, "liar", per, func(c *fetch.SayClaim) { c.Count -= int(now / sec % 2) })
		},
		"taken back each second": func(d *desk, now time.Duration) {
			every(d, now, "liar", per, func(c *fetch.SayClaim) {
				if now%sec == 0 {
					d.said(now, "liar", fetch.SayRelease{First: c.First, Count: c.Count})
				}
				c.Rate, c.Done = mib, int64(c.Count)*mib-2+int64(now%sec/(500*ms))
			})
		},
		"leaves and comes back each second": func(d *desk, now time.Duration) {
			if now%sec == 0 {
				d.join(now, "liar")
			}
			every(d, now, "liar", per, func(c *fetch.SayClaim) { c.Rate = mib })
		},
		"a new name each second": func(d *desk, now time.Duration) {
			id := fetch.PeerID(fmt.Sprint("liar", int(now/sec)))
			if now%sec == 0 {
				d.core.Hear(now, fetch.Left{ID: fetch.PeerID(fmt.Sprint("liar", int(now/sec)-1))})
				d.join(now, id)
			}
			every(d, now, id, per, func(c *fetch.SayClaim) { c.Rate, c.Done = 100*mib, int64(now%sec/ms)<<8 })
		},
		"as much progress as an honest line": func(d *desk, now time.Duration) {
			every(d, now, "liar", per, func(c *fetch.SayClaim) { c.Rate, c.Done = mib, int64(now/sec)<<16 })
		},
		"has been drawn, by hearsay": func(d *desk, now time.Duration) {
			d.core.Hear(now, fetch.Said{ID: "far", Relayed: true, What: fetch.SayHave{First: 0, Count: 64, Drawn: true}})
		},
		"many that use up the site's streams": func(d *desk, now time.Duration) {
			for k := range 12 {
				d.said(now, fetch.PeerID(fmt.Sprint("liar", k)), fetch.SayClaim{First: 5 * k, Count: 5, Rate: 1, Done: int64(now / sec)})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := besiege(t, say)
			if !r.done || r.begins > 29*sec || r.gap > 29*sec {
				t.Errorf("done: %v; the first range at %v, the longest wait for one %v", r.done, r.begins, r.gap)
			}
			if r.twice > 0 {
				t.Errorf("%d pieces were drawn twice", r.twice)
			}
		})
	}
}

type siege struct {
	done        bool
	begins, gap time.Duration
	twice       int
}

// besiege lets a device fetch 64 pieces, of which its line brings two in a second and no member has any.
func besiege(t *testing.T, say blockade) (r siege) {
	t.Helper()
	const pieces = 64
	d := newDesk(t, pieces, func(c *fetch.Config) { c.Warm = true })
	d.join(0, "liar")
	d.join(0, "thief")
	for k := range 12 {
		d.join(0, fetch.PeerID(fmt.Sprint("liar", k)))
	}
	var under []fetch.Draw
	drawn := make([]int, pieces)
	last := time.Duration(-1)
	for now := time.Duration(0); now < 10*time.Minute && !r.done; now += 100 * ms {
		say(d, now)
		under = append(under, take[fetch.Draw](d.at(now))...)
		switch {
		case len(under) == 0:
			continue
		case last < 0:
			r.begins = now
		default:
			r.gap = max(r.gap, now-last)
		}
		last = now
		a := &under[0]
		d.core.DrawProgress(now, a.ID, mib/5)
		if now%(500*ms) != 0 {
			continue
		}
		if drawn[a.First]++; drawn[a.First] > 1 {
			r.twice++
		}
		d.core.Stored(now, a.First, "")
		if a.First, a.Count = a.First+1, a.Count-1; a.Count == 0 {
			d.core.DrawEnded(now, a.ID, fetch.DrawOK)
			under = under[1:]
		}
		r.done = d.core.Done()
	}
	return r
}

// TestOneBrokenRangeIsNotASlowLine: a member that takes one of its two claims back, with half of it drawn, has not become slow:
// nobody takes the other over.
func TestOneBrokenRangeIsNotASlowLine(t *testing.T) {
	t.Parallel()
	const rate = 400 << 10 // bytes per second of each claim
	for name, c := range map[string]struct {
		release bool
		other   int64 // rate of the claim that is left
		stolen  bool
	}{
		"none is taken back":       {false, rate, false},
		"one is taken back":        {true, rate, false},
		"and the other is as good": {true, 1 << 10, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, 8, func(cfg *fetch.Config) { cfg.Warm = true })
			d.join(0, "a")
			d.join(0, "b")
			stolen := false
			for now := time.Duration(0); now < 1800*ms; now += 100 * ms {
				if now < 1400*ms || !c.release {
					d.said(now, "a", fetch.SayClaim{First: 6, Count: 1, Rate: 2 * rate, Done: rate * int64(now) / int64(sec)})
				}
				d.said(now, "a", fetch.SayClaim{First: 7, Count: 1, Rate: 2 * rate, Done: c.other * int64(now) / int64(sec)})
				if now == 1400*ms && c.release {
					d.said(now, "a", fetch.SayRelease{First: 6, Count: 1})
					d.said(now, "b", fetch.SayHave{First: 6, Count: 1})
				}
				for _, a := range d.at(now).acts {
					switch a := a.(type) {
					case fetch.Ask:
						d.core.Stored(now, a.Piece, a.Peer)
						d.core.AskEnded(now, a.Peer, a.Piece, fetch.AskOK, 0)
					case fetch.Draw:
						stolen = stolen || a.First == 7
						d.core.DrawProgress(now, a.ID, mib/2)
						d.core.Stored(now, a.First, "")
						d.said(now, "b", fetch.SayHave{First: a.First, Count: 1})
						d.core.DrawEnded(now, a.ID, fetch.DrawOK)
					}
				}
				d.acts = nil
			}
			if stolen != c.stolen {
				t.Errorf("taken over: %v, want %v", stolen, c.stolen)
			}
		})
	}
}

// TestAReleaseIsOfExactlyThesePieces: one that only reaches into a claim does not end it.
func TestAReleaseIsOfExactlyThesePieces(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		release fetch.SayRelease
		left    int
	}{
		"exactly":            {fetch.SayRelease{First: 2, Count: 3}, 1},
		"its beginning":      {fetch.SayRelease{First: 2, Count: 1}, 2},
		"its end":            {fetch.SayRelease{First: 4, Count: 1}, 2},
		"all that there are": {fetch.SayRelease{First: 0, Count: 8}, 2},
	} {
		d := newDesk(t, 8, func(cfg *fetch.Config) { cfg.Warm = true })
		d.join(0, "a")
		d.said(0, "a", fetch.SayClaim{First: 2, Count: 3})
		d.said(0, "a", fetch.SayClaim{First: 6, Count: 1})
		d.said(ms, "a", c.release)
		left := 0
		for range d.core.LiveClaims {
			left++
		}
		if left != c.left {
			t.Errorf("%s: %d claims are left, want %d", name, left, c.left)
		}
	}
}

// TestRule6EveryByteHasItsReason: why a range is drawn is said with it.
func TestRule6EveryByteHasItsReason(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before func(d *desk)
		at     time.Duration
		want   fetch.Reason
	}{
		"nobody is there":     {func(*desk) {}, 0, fetch.NoPeers},
		"in its turn":         {func(d *desk) { d.join(0, "a") }, 0, fetch.Own},
		"a lease has run out": {func(d *desk) { d.join(0, "a"); d.said(0, "a", fetch.SayClaim{First: 0, Count: 1}) }, 4 * sec, fetch.Timeout},
		"all is claimed for so long": {
			func(d *desk) {
				d.join(0, "a")
				d.said(0, "a", fetch.SayClaim{First: 0, Count: 1, Rate: 1})
			}, 6 * sec, fetch.Steal,
		},
	} {
		d := newDesk(t, 1, func(cfg *fetch.Config) { cfg.Warm = true })
		c.before(d)
		var got []fetch.Draw
		for now := time.Duration(0); now <= c.at && len(got) == 0; now += 100 * ms {
			got = take[fetch.Draw](d.at(now))
		}
		if len(got) != 1 || got[0].Why != c.want {
			t.Errorf("%s: %+v, want one because of %v", name, got, c.want)
		}
	}
}

// TestRule8WhatIsKnownByHearsay: a member without a link keeps pieces from the origin by its claims, and by what it has drawn,
// for as long as that may take to come over others.
func TestRule8WhatIsKnownByHearsay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		what fetch.Saying
		at   time.Duration // when the piece is drawn
	}{
		"nothing is known":             {nil, 0},
		"it claims the piece":          {fetch.SayClaim{First: 0, Count: 1}, 3 * sec},
		"it has drawn it":              {fetch.SayHave{First: 0, Count: 1, Drawn: true}, 5 * sec},
		"it has it from another":       {fetch.SayHave{First: 0, Count: 1}, 0},
		"it claims what there is not":  {fetch.SayClaim{First: 3, Count: 1}, 0},
		"it has drawn what is not one": {fetch.SayHave{First: -1, Count: 1, Drawn: true}, 0},
	} {
		d := newDesk(t, 1, func(cfg *fetch.Config) { cfg.Warm = true })
		d.join(0, "a")
		if c.what != nil {
			d.core.Hear(0, fetch.Said{ID: "far", Relayed: true, What: c.what})
		}
		at := time.Duration(-1)
		for now := time.Duration(0); now < 10*sec && at < 0; now += 100 * ms {
			d.at(now)
			for _, a := range d.acts {
				switch a.(type) {
				case fetch.Draw:
					at = now
				case fetch.Ask:
					t.Errorf("%s: %+v", name, a)
				}
			}
			d.acts = nil
		}
		if at < c.at || at > c.at+500*ms {
			t.Errorf("%s: drawn at %v, want %v", name, at, c.at)
		}
	}
}
