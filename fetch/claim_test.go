package fetch_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
)

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
