package fetch

import (
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
)

// Rules that are figures: each case is one sentence of the design's section 6.

func contentOf(t *testing.T, length, piece int64) piecehash.Content {
	t.Helper()
	c, err := piecehash.NewContent(piecehash.Root{1}, length, piece)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRule1TheGrid(t *testing.T) {
	t.Parallel()
	const kib, mib, gib = 1 << 10, 1 << 20, 1 << 30
	for name, c := range map[string]struct {
		length, piece int64
		per, spans    int
	}{
		"smaller than 256 pieces: one each": {64 * mib, mib, 1, 64},
		"256 pieces":                        {256 * mib, mib, 1, 256},
		"one byte more: two each":           {256*mib + 1, mib, 2, 129},
		"a power of two":                    {600 * mib, mib, 4, 150},
		"the last span is not full":         {601 * mib, mib, 4, 151},
		"at most 16 MiB":                    {64 * gib, 4 * mib, 4, 4096},
		"small pieces":                      {16 * mib, 256 * kib, 1, 64},
		"a piece as large as a span may be": {64 * gib, 16 * mib, 1, 4096},
	} {
		g := newGrid(contentOf(t, c.length, c.piece))
		if g.per != c.per || g.spans != c.spans {
			t.Errorf("%s: %d spans of %d pieces, want %d of %d", name, g.spans, g.per, c.spans, c.per)
		}
	}
}

// TestRule3TheLease: of a slow line it is as long as four times its next MiB takes, and never longer than a minute.
func TestRule3TheLease(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rate float64
		want time.Duration
	}{
		{0, 3 * time.Second},
		{100 << 20, 3 * time.Second},
		{4 << 20 / 3.0, 3 * time.Second},
		{1 << 20, 4 * time.Second},
		{256 << 10, 16 * time.Second},
		{1, time.Minute},
	} {
		cl := claim{rate: c.rate, moved: time.Hour}
		if got := cl.ends() - cl.moved; got != c.want {
			t.Errorf("at %.0f B/s the lease is %v, want %v", c.rate, got, c.want)
		}
	}
}

// TestRule4TheSiteWidens: one stream more when the site is faster with it by a tenth, one less when not, and then no other
// attempt for a while.
func TestRule4TheSiteWidens(t *testing.T) {
	t.Parallel()
	type look struct {
		at     time.Duration
		active int // streams that are open; -1 = as many as there should be
		rate   float64
		want   int
	}
	const s = time.Second
	for name, looks := range map[string][]look{
		"it waits until the rate has settled": {{1 * s, -1, 100, 2}, {1500 * time.Millisecond, -1, 100, 3}},
		"not while there are too few":         {{2 * s, 1, 100, 2}},
		"each brings half of what the others give, and a tenth at least": {
			{2 * s, -1, 100, 3},
			{4 * s, -1, 126, 4},
			{6 * s, -1, 148, 5},
			{8 * s, -1, 167, 6},
			{10 * s, -1, 184, 7},
			{12 * s, -1, 203, 8},
			{14 * s, -1, 230, 8},
		},
		"it brings less than half":     {{2 * s, -1, 100, 3}, {4 * s, -1, 124, 2}},
		"the fourth a third, not less": {{2 * s, -1, 100, 3}, {4 * s, -1, 126, 4}, {6 * s, -1, 146, 3}},
		"a moment of little is not what it is measured against": {
			{1 * s, -1, 120, 2},
			{2 * s, -1, 76, 3},
			{3 * s, -1, 80, 3},
			{4 * s, -1, 135, 2},
		},
		"and is tried again after 15s": {{2 * s, -1, 100, 3}, {4 * s, -1, 100, 2}, {18 * s, -1, 100, 2}, {19 * s, -1, 100, 3}},
	} {
		w := siteWidth{streams: minStreams}
		for _, l := range looks {
			active := l.active
			if active < 0 {
				active = w.streams
			}
			if w.adapt(l.at, active, maxStreams, l.rate); w.streams != l.want {
				t.Errorf("%s: at %v %d streams, want %d", name, l.at, w.streams, l.want)
				break
			}
		}
	}
}

// TestRule6EveryReasonHasItsWord: logs and metrics name them all, and no two alike.
func TestRule6EveryReasonHasItsWord(t *testing.T) {
	t.Parallel()
	for r, want := range map[Reason]string{Own: "own", Steal: "steal", Timeout: "timeout", NoPeers: "no_peers", 9: "reason(9)"} {
		if r.String() != want {
			t.Errorf("%d is %q, want %q", r, r, want)
		}
	}
	if n := len(Reasons()); n != len(reasonWords) {
		t.Errorf("%d reasons, %d words", n, len(reasonWords))
	}
}

// TestRule9TheWindow follows rate and round trip beyond the two pieces that a link needs to go on, within its limits.
func TestRule9TheWindow(t *testing.T) {
	t.Parallel()
	const kib, mib = 1 << 10, 1 << 20
	for name, c := range map[string]struct {
		piece int64
		rate  float64 // bytes per second
		rtt   time.Duration
		want  int64
	}{
		"never less than 256 KiB":   {16 * kib, 0, time.Millisecond, 256 * kib},
		"a rate that is unknown":    {mib, 0, time.Second, 2 * mib},
		"twice rate times the time": {mib, 100 * mib, 5 * time.Millisecond, 4 * mib},
		"a longer round trip":       {mib, 100 * mib, 15 * time.Millisecond, 6 * mib},
		"never more than 8 MiB":     {mib, 100 * mib, time.Second, 8 * mib},
		"nor with large pieces":     {16 * mib, 0, 0, 8 * mib},
	} {
		d := &Core{c: contentOf(t, 64*mib, c.piece)}
		if got := d.window(&member{rate: c.rate, rtt: c.rtt}); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestRule10WhatIsAskedTwice is half a percent of the content, or two pieces.
func TestRule10WhatIsAskedTwice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pieces, want int
	}{
		{1, 1},
		{64, 2},
		{400, 2},
		{1000, 5},
	} {
		d := &Core{c: contentOf(t, int64(c.pieces)<<20, 1<<20)}
		n := 0
		for n < c.pieces && d.mayDouble(n) {
			n++
		}
		if n != c.want {
			t.Errorf("of %d pieces %d are asked for twice, want %d", c.pieces, n, c.want)
		}
	}
}
