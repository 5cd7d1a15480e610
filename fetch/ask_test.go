package fetch_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

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
