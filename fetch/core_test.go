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
		"cold, a bitmap: when it settles": {joins: []time.Duration{60 * ms}, opensAt: 90 * ms},
		"cold, two bitmaps of who was not named: when the last settles": {
			hear:  map[time.Duration]fetch.Heard{10 * ms: fetch.Noticed{}},
			joins: []time.Duration{60 * ms, 80 * ms}, opensAt: 110 * ms,
		},
		"cold, all who were named are there: when the last settles": {
			hear:  map[time.Duration]fetch.Heard{10 * ms: fetch.Noticed{ID: "m0"}, 20 * ms: fetch.Noticed{ID: "m1"}},
			joins: []time.Duration{60 * ms, 80 * ms}, opensAt: 110 * ms,
		},
		"cold, one who was named is still to come: when the first settles": {
			hear: map[time.Duration]fetch.Heard{
				10 * ms: fetch.Noticed{ID: "m0"}, 20 * ms: fetch.Noticed{ID: "m1"}, 30 * ms: fetch.Noticed{ID: "m2"},
			},
			joins: []time.Duration{60 * ms, 80 * ms}, opensAt: 90 * ms,
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

func TestRule3OnlyALiveClaimBlocks(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 4, func(c *fetch.Config) { c.Warm = true })
	d.join(0, "a")
	d.said(0, "a", fetch.SayClaim{First: 0, Count: 1})
	d.said(0, "a", fetch.SayClaim{First: 1, Count: 1})
	d.said(0, "a", fetch.SayClaim{First: 2, Count: 1})
	for _, dr := range take[fetch.Draw](d.at(0)) {
		if dr.First != 3 {
			t.Errorf("drew piece %d, which is claimed", dr.First)
		}
	}
	// No progress for three seconds: the leases are dead, and the pieces are drawn because of that.
	d.at(3100 * ms)
	d.at(4 * sec)
	draws := take[fetch.Draw](d)
	if len(draws) == 0 || draws[0].Why != fetch.Timeout {
		t.Errorf("after the leases ended: %+v", draws)
	}
}

func TestRule3ALeaseLivesByProgress(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 8, func(c *fetch.Config) { c.Warm = true })
	d.join(0, "a")
	for s := time.Duration(0); s < 18*sec; s += sec { // at 400 KiB/s it needs 20 s for the eight pieces
		d.said(s, "a", fetch.SayClaim{First: 0, Count: 8, Rate: 400 << 10, Done: int64(s/sec) * 400 << 10})
		if got := take[fetch.Draw](d.at(s)); len(got) > 0 {
			t.Fatalf("at %v: %+v although the claimer moves", s, got)
		}
	}
}

func TestRule3AClaimEndsWithItsClaimer(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1, func(c *fetch.Config) { c.Warm = true })
	d.join(0, "a")
	d.said(0, "a", fetch.SayClaim{First: 0, Count: 1})
	if got := take[fetch.Draw](d.at(0)); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	d.core.Hear(10*ms, fetch.Left{ID: "a"})
	if got := take[fetch.Draw](d.at(10 * ms)); len(got) != 1 || got[0].Why != fetch.NoPeers {
		t.Fatalf("%+v", got)
	}
}

// In a file of 1 GiB a span has four pieces and a range one, so a claim has something to yield.
func TestRule3OfTwoClaimsOneYields(t *testing.T) {
	t.Parallel()
	claimOf := func(d *desk) (mine fetch.SayClaim) {
		for _, tell := range take[fetch.Tell](d.at(0)) {
			if c, ok := tell.What.(fetch.SayClaim); ok {
				mine = c
			}
		}
		return mine
	}
	yields := func(self, other fetch.PeerID, about fetch.SayClaim) bool {
		// This device holds all spans but one, so that is the one it claims.
		d := newDesk(t, 1024, func(c *fetch.Config) {
			c.Warm, c.Self = true, self
			for i := range 1024 {
				if i < about.First || i >= about.First+about.Count {
					c.Have.Set(i)
				}
			}
		})
		d.join(0, other)
		if mine := claimOf(d); mine.First != about.First {
			t.Fatalf("claimed %+v, want %+v", mine, about)
		}
		d.said(ms, other, fetch.SayClaim{First: about.First, Count: about.Count})
		for _, tell := range take[fetch.Tell](d.at(ms)) {
			if c, ok := tell.What.(fetch.SayClaim); ok && c.Count < about.Count {
				return c.First == about.First && c.Count > 0 // what is under way still comes
			}
		}
		return false
	}
	first := 0
	for k := range 40 {
		a, b := fetch.PeerID(fmt.Sprint("a", k)), fetch.PeerID(fmt.Sprint("b", k))
		about := fetch.SayClaim{First: 4 * k, Count: 4}
		ya, yb := yields(a, b, about), yields(b, a, about)
		if ya == yb {
			t.Errorf("span %d: a yields %v, b yields %v; exactly one must", k, ya, yb)
		}
		if ya {
			first++
		}
	}
	if first < 5 || first > 35 {
		t.Errorf("a yields %d times of 40", first)
	}
}

func TestRule3ASlowClaimerIsStolenFrom(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		says  string
		until time.Duration
		thief int64 // so many bytes per second draws a third device that has claimed it too; 0 = there is none
		want  int
	}{
		{"a young claim says little about its rate", 900 * ms, 0, 0},
		{"one that stays slow", 2600 * ms, 0, 1},
		{"somebody else has taken it over", 1900 * ms, mib / 2, 0},
		{"somebody else, who crawls", 2600 * ms, 1 << 10, 1},
	} {
		d := newDesk(t, 2, func(c *fetch.Config) { c.Warm = true })
		d.join(0, "slow")
		d.said(0, "slow", fetch.SayClaim{First: 0, Count: 1, Rate: 50 << 10, Done: 1})
		draws := take[fetch.Draw](d.at(0))
		if len(draws) != 1 || draws[0].First != 1 {
			t.Fatalf("%s: %+v", c.says, draws)
		}
		if c.thief > 0 {
			d.join(0, "thief")
			d.said(0, "thief", fetch.SayClaim{First: 0, Count: 1})
		}
		// This device draws its piece at half a MiB a second; the other would need 20 s for the rest.
		var got []fetch.Draw
		for now := 100 * ms; now <= c.until; now += 100 * ms {
			d.core.DrawProgress(now, draws[0].ID, mib/20)
			d.said(now, "slow", fetch.SayClaim{First: 0, Count: 1, Rate: 50 << 10, Done: int64(now / ms)})
			if c.thief > 0 {
				d.said(now, "thief", fetch.SayClaim{First: 0, Count: 1, Rate: c.thief, Done: c.thief * int64(now) / int64(sec)})
			}
			got = append(got, take[fetch.Draw](d.at(now))...)
		}
		if len(got) != c.want || c.want > 0 && (got[0].First != 0 || got[0].Why != fetch.Steal) {
			t.Errorf("%s: %+v", c.says, got)
		}
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

func TestRule7WhatTheLANHasIsNotDrawn(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 8, func(c *fetch.Config) { c.Warm = true })
	d.join(0, "a", upTo(8)...)
	d.at(0)
	var asks, draws int
	for _, a := range d.acts {
		switch a.(type) {
		case fetch.Ask:
			asks++
		case fetch.Draw:
			draws++
		}
	}
	if asks == 0 || draws != 0 {
		t.Errorf("%d asks, %d draws", asks, draws)
	}
}

func TestRule7TheShortestQueueInSeconds(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 64, func(c *fetch.Config) { c.Warm = true; c.Origin = false })
	d.join(0, "fast", upTo(64)...)
	d.join(0, "slow", upTo(64)...)
	count := map[fetch.PeerID]int{}
	type under struct {
		fetch.Ask
		ends time.Duration
	}
	free := map[fetch.PeerID]time.Duration{}
	var way []under
	for now := time.Duration(0); now < 20*sec && !d.core.Done(); now += 5 * ms {
		for _, a := range take[fetch.Ask](d.at(now)) {
			cost := 10 * ms
			if a.Peer == "slow" {
				cost = sec
			}
			free[a.Peer] = max(free[a.Peer], now) + cost
			way = append(way, under{a, free[a.Peer]})
		}
		var rest []under
		for _, u := range way {
			if u.ends > now {
				rest = append(rest, u)
				continue
			}
			count[u.Peer]++
			d.core.AskProgress(now, u.Peer, u.Piece, mib)
			d.core.Stored(now, u.Piece, u.Peer)
			d.core.AskEnded(now, u.Peer, u.Piece, fetch.AskOK, 0)
		}
		way = rest
	}
	if !d.core.Done() || count["slow"] > 4 {
		t.Errorf("done %v, by source %v", d.core.Done(), count)
	}
}

func TestRule9TheWindowIsBounded(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 256, func(c *fetch.Config) { c.Warm = true; c.Origin = false })
	for i := range 40 {
		d.join(0, fetch.PeerID(fmt.Sprint("p", i)), upTo(256)...)
	}
	if n := len(take[fetch.Ask](d.at(0))); n != 16 {
		t.Errorf("%d MiB asked at once over all links, want 16", n)
	}
}

func TestRule10TheEndgameAsksASecondHolder(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1, func(c *fetch.Config) { c.Warm = true; c.Origin = false })
	d.join(0, "a", 0)
	if got := take[fetch.Ask](d.at(0)); len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	d.core.AskProgress(50*ms, "a", 0, 1) // what has begun to arrive is not moved
	d.join(100*ms, "b", 0)
	d.join(100*ms, "c", 0)
	if got := take[fetch.Ask](d.at(200 * ms)); len(got) != 0 {
		t.Fatalf("too early: %+v", got)
	}
	d.core.AskProgress(1500*ms, "a", 0, 1) // it still moves
	got := take[fetch.Ask](d.at(1500 * ms))
	if len(got) != 1 {
		t.Fatalf("two holders at most: %+v", got)
	}
	d.core.Stored(1600*ms, 0, "")
	d.at(1600 * ms)
	if got := take[fetch.Cancel](d); len(got) != 2 {
		t.Fatalf("both requests end at the first arrival: %+v", got)
	}
}

func TestRule11HTTPIsTheFloor(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 64, func(c *fetch.Config) { c.Warm = true })
	d.join(0, "crawler", upTo(64)...)
	drewAt := time.Duration(0)
	for now := time.Duration(0); now < 12*sec && drewAt == 0; now += 100 * ms {
		d.at(now)
		for _, a := range d.acts {
			switch a := a.(type) {
			case fetch.Ask:
				_ = a
			case fetch.Draw:
				drewAt = now
				if a.Why != fetch.Timeout {
					t.Errorf("reason %v", a.Why)
				}
			}
		}
		d.acts = nil
		for i := range 64 {
			d.core.AskProgress(now, "crawler", i, 100) // a few kB/s
		}
	}
	if drewAt < 5*sec || drewAt > 7*sec {
		t.Errorf("the origin was used after %v, want five seconds and a little", drewAt)
	}
}

func TestRule12ABadPieceEndsAMember(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 8, func(c *fetch.Config) { c.Warm = true; c.Origin = false })
	d.join(0, "liar", upTo(8)...)
	asks := take[fetch.Ask](d.at(0))
	d.core.AskEnded(ms, "liar", asks[0].Piece, fetch.AskBad, 0)
	if d.core.Members() != 0 || len(take[fetch.Ask](d.at(2*ms))) != 0 {
		t.Error("the liar is still asked")
	}
}

func TestNonsenseIsNotHeard(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 8, func(c *fetch.Config) { c.Warm = true })
	d.join(0, "a")
	for _, s := range []fetch.Saying{
		fetch.SayHave{First: -1, Count: 1},
		fetch.SayHave{First: 7, Count: 2},
		fetch.SayHave{First: 1 << 62, Count: 1 << 62},
		fetch.SayClaim{First: 0, Count: 9},
		fetch.SayClaim{First: 8, Count: 1},
		fetch.SayClaim{First: 0, Count: 1, Rate: -1},
		fetch.SayClaim{First: 0, Count: 1, Done: -1},
		fetch.SayRelease{First: 3, Count: 1 << 30},
	} {
		d.said(0, "a", s)
	}
	d.core.Hear(0, fetch.Joined{ID: "b", Have: piecehash.NewBitmap(9)})
	d.core.Hear(0, fetch.Joined{ID: "me", Have: piecehash.NewBitmap(8)})
	d.said(0, "stranger", fetch.SayHave{First: 0, Count: 8})
	if d.core.Members() != 1 {
		t.Errorf("%d members", d.core.Members())
	}
	d.at(0)
	if n := len(take[fetch.Ask](d)); n != 0 {
		t.Errorf("%d asks for pieces that nobody has", n)
	}
}

func TestAClaimOfTheWholeFileIsIgnored(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1000, func(c *fetch.Config) { c.Warm = true })
	d.join(0, "greedy")
	d.said(0, "greedy", fetch.SayClaim{First: 0, Count: 1000, Rate: 1 << 30})
	if len(take[fetch.Draw](d.at(0))) == 0 {
		t.Error("one word blocked the whole file")
	}
}

// TestOrderFromOneHolder: from the only other member pieces come in their order, from one of several in none.
func TestOrderFromOneHolder(t *testing.T) {
	t.Parallel()
	const pieces = 40
	all := make([]int, pieces)
	for i := range all {
		all[i] = i
	}
	for others, want := range map[int]bool{0: true, 1: false} {
		d := newDesk(t, pieces, func(c *fetch.Config) { c.Origin = false })
		for i := range others {
			d.join(0, fetch.PeerID(fmt.Sprint("empty", i)))
		}
		d.join(0, "holder", all...)
		asked := 0
		inOrder := true
		for now := time.Duration(0); asked < pieces && now < sec; now += ms {
			for _, a := range take[fetch.Ask](d.at(now)) {
				inOrder = inOrder && a.Piece == asked
				asked++
				d.core.AskProgress(now, a.Peer, a.Piece, mib)
				d.core.Stored(now, a.Piece, a.Peer)
				d.core.AskEnded(now, a.Peer, a.Piece, fetch.AskOK, 0)
			}
		}
		if asked != pieces || inOrder != want {
			t.Errorf("%d other members: %d pieces asked for, in order: %v", others, asked, inOrder)
		}
	}
}
