package fetch_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
)

const (
	ms  = time.Millisecond
	sec = time.Second
)

// desk drives a Core by hand: no I/O, the time is what the test says.
type desk struct {
	t    *testing.T
	c    piecehash.Content
	core *fetch.Core
	acts []fetch.Action
}

func newDesk(t *testing.T, pieces int, change func(*fetch.Config)) *desk {
	t.Helper()
	c, err := piecehash.NewContent(piecehash.Root{1}, int64(pieces)*mib, mib)
	if err != nil {
		t.Fatal(err)
	}
	cfg := fetch.Config{Self: "me", Content: c, Have: piecehash.NewBitmap(pieces), Origin: true, Seed: 1}
	if change != nil {
		change(&cfg)
	}
	return &desk{t: t, c: c, core: fetch.NewCore(cfg)}
}

func (d *desk) at(now time.Duration) *desk {
	acts, _ := d.core.Decide(now)
	d.acts = append(d.acts, acts...)
	return d
}

// take returns the actions of one type since the last take and forgets all.
func take[A fetch.Action](d *desk) []A {
	var out []A
	for _, a := range d.acts {
		if a, ok := a.(A); ok {
			out = append(out, a)
		}
	}
	d.acts = nil
	return out
}

func (d *desk) join(now time.Duration, id fetch.PeerID, pieces ...int) {
	have := piecehash.NewBitmap(d.c.Pieces())
	for _, i := range pieces {
		have.Set(i)
	}
	d.core.Hear(now, fetch.Joined{ID: id, Have: have, RTT: ms})
}

func (d *desk) said(now time.Duration, id fetch.PeerID, what fetch.Saying) {
	d.core.Hear(now, fetch.Said{ID: id, What: what})
}

func upTo(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

// All who are named here rank after this device: it is its turn as soon as the wait is over.
func TestRule2TheFirstWait(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(*fetch.Config)
		hear    map[time.Duration]fetch.Heard
		joins   []time.Duration
		opensAt time.Duration
	}{
		"warm: at once":                  {change: func(c *fetch.Config) { c.Warm = true }, opensAt: 0},
		"cold, silence: 150 ms":          {opensAt: 150 * ms},
		"cold, somebody noticed: 400 ms": {hear: map[time.Duration]fetch.Heard{50 * ms: fetch.Noticed{}}, opensAt: 400 * ms},
		"cold, noticed, none has it: 200 ms": {
			hear:    map[time.Duration]fetch.Heard{50 * ms: fetch.Noticed{}, 200 * ms: fetch.Answered{}},
			opensAt: 200 * ms,
		},
		"cold, a bitmap: when discovery has had its time": {joins: []time.Duration{60 * ms}, opensAt: 150 * ms},
		"cold, two bitmaps of who was not named: when the last settles": {
			hear:  map[time.Duration]fetch.Heard{10 * ms: fetch.Noticed{}},
			joins: []time.Duration{60 * ms, 140 * ms}, opensAt: 170 * ms,
		},
		"cold, all who were named are there: when the last settles": {
			hear:  map[time.Duration]fetch.Heard{10 * ms: fetch.Noticed{ID: "m0"}, 20 * ms: fetch.Noticed{ID: "m1"}},
			joins: []time.Duration{60 * ms, 80 * ms}, opensAt: 110 * ms,
		},
		"cold, one who was named is still to come: when the others settle": {
			hear: map[time.Duration]fetch.Heard{
				10 * ms: fetch.Noticed{ID: "m0"}, 20 * ms: fetch.Noticed{ID: "m1"}, 30 * ms: fetch.Noticed{ID: "m2"},
			},
			joins: []time.Duration{60 * ms, 80 * ms}, opensAt: 110 * ms,
		},
		"cold, many are still to come: when the first three settle": {
			hear: map[time.Duration]fetch.Heard{
				0: fetch.Noticed{ID: "m0"}, 10 * ms: fetch.Noticed{ID: "m1"}, 20 * ms: fetch.Noticed{ID: "m2"},
				30 * ms: fetch.Noticed{ID: "m3"}, 40 * ms: fetch.Noticed{ID: "m4"}, 50 * ms: fetch.Noticed{ID: "m5"},
				55 * ms: fetch.Noticed{ID: "m6"}, 70 * ms: fetch.Noticed{ID: "m7"},
			},
			joins: []time.Duration{60 * ms, 80 * ms, 100 * ms, 120 * ms}, opensAt: 130 * ms,
		},
		"policy delay with a neighbour": {
			change: func(c *fetch.Config) { c.Delay = 2 * sec },
			joins:  []time.Duration{60 * ms}, opensAt: 2 * sec,
		},
		"policy delay, nobody there": {change: func(c *fetch.Config) { c.Delay = 2 * sec }, opensAt: 150 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, 8, func(cfg *fetch.Config) {
				cfg.Self = "me43"
				if c.change != nil {
					c.change(cfg)
				}
			})
			for now := time.Duration(0); now <= 3*sec; now += 10 * ms {
				if h, ok := c.hear[now]; ok {
					d.core.Hear(now, h)
				}
				if k := slices.Index(c.joins, now); k >= 0 {
					d.join(now, fetch.PeerID(fmt.Sprint("m", k)))
				}
				if len(take[fetch.Draw](d.at(now))) > 0 {
					if now != c.opensAt {
						t.Errorf("the first range at %v, want %v", now, c.opensAt)
					}
					return
				}
			}
			t.Error("no range at all")
		})
	}
}

func TestRule4FewStreams(t *testing.T) {
	t.Parallel()
	// Of twelve devices only two open a range at once.
	open := 0
	for me := range 12 {
		d := newDesk(t, 256, func(c *fetch.Config) { c.Warm = true; c.Self = fetch.PeerID(fmt.Sprint("device", me)) })
		for o := range 12 {
			if o != me {
				d.join(0, fetch.PeerID(fmt.Sprint("device", o)))
			}
		}
		open += len(take[fetch.Draw](d.at(0)))
	}
	if open != 2 {
		t.Errorf("%d devices opened a range, want 2", open)
	}
}

func TestRule4RanksNeverBlock(t *testing.T) {
	t.Parallel()
	// Whoever ranks above does nothing: each device steps in sooner or later.
	for me := range 12 {
		d := newDesk(t, 64, func(c *fetch.Config) { c.Warm = true; c.Self = fetch.PeerID(fmt.Sprint("device", me)) })
		for o := range 12 {
			if o != me {
				d.join(0, fetch.PeerID(fmt.Sprint("device", o)))
			}
		}
		drew := false
		for now := time.Duration(0); now < 3*sec && !drew; now += 50 * ms {
			drew = len(take[fetch.Draw](d.at(now))) > 0
		}
		if !drew {
			t.Errorf("device %d waits for ever", me)
		}
	}
}

func TestRule5TheNextRangeIsAskedInTime(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 64, func(c *fetch.Config) { c.Warm = true })
	d.join(0, "a") // beside others a range is 1 MiB
	first := take[fetch.Draw](d.at(0))
	if len(first) == 0 || first[0].Count != 1 || first[0].Warn <= 0 {
		t.Fatalf("%+v", first)
	}
	d.core.DrawProgress(50*ms, first[0].ID, mib-first[0].Warn)
	if next := take[fetch.Draw](d.at(50 * ms)); len(next) != 1 {
		t.Fatalf("with %d bytes left: %+v", first[0].Warn, next)
	}
}

func TestRule5AloneRangesGrow(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 256, func(c *fetch.Config) { c.Warm = true })
	most := 0
	for now := time.Duration(0); now < 2*sec; now += 100 * ms {
		for _, dr := range take[fetch.Draw](d.at(now)) {
			most = max(most, dr.Count)
			d.core.DrawProgress(now, dr.ID, int64(dr.Count)*mib)
			for i := dr.First; i < dr.First+dr.Count; i++ {
				d.core.Stored(now, i, "")
			}
			d.core.DrawEnded(now, dr.ID, fetch.DrawOK)
		}
	}
	if most != 8 {
		t.Errorf("the longest range has %d MiB, want 8", most)
	}
}
