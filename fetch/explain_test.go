package fetch

import (
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
)

const testPiece = 1 << 20

// explained is a Core of n pieces, beside members that have them all.
func explained(t *testing.T, n int, change func(*Config), full ...PeerID) *Core {
	t.Helper()
	c, err := piecehash.NewContent(piecehash.Root{1}, int64(n)*testPiece, testPiece)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Self: "me", Content: c, Have: piecehash.NewBitmap(n), Seed: 1}
	if change != nil {
		change(&cfg)
	}
	d := NewCore(cfg)
	for _, id := range full {
		d.Hear(0, Joined{ID: id, Have: allOf(n), RTT: time.Millisecond})
	}
	return d
}

func allOf(n int) piecehash.Bitmap {
	b := piecehash.NewBitmap(n)
	for i := range n {
		b.Set(i)
	}
	return b
}

// TestStandings: for every reason why a member is not asked there is a state of things that shows it.
func TestStandings(t *testing.T) {
	t.Parallel()
	const now = time.Second
	for want, make := range map[Standing]func() *Core{
		Ready: func() *Core { return explained(t, 64, nil, "a") },
		WindowSet: func() *Core {
			d := explained(t, 64, nil, "a")
			d.Decide(now)
			return d
		},
		AllAsked: func() *Core {
			d := explained(t, 64, nil, "a")
			d.inAsk = maxUnverified
			return d
		},
		Elsewhere: func() *Core {
			d := explained(t, 1, nil, "a", "b")
			d.ask(0, d.members["b"], 0)
			return d
		},
		Slower: func() *Core {
			d := explained(t, 64, nil, "a", "b")
			d.members["a"].rate, d.members["b"].rate = 1e5, 1e8
			return d
		},
		Nothing: func() *Core {
			d := explained(t, 64, nil)
			d.Hear(0, Joined{ID: "a", Have: piecehash.NewBitmap(64)})
			return d
		},
		Busy: func() *Core {
			d := explained(t, 64, nil, "a")
			d.ask(0, d.members["a"], 3)
			d.AskEnded(now, "a", 3, AskBusy, 4*time.Second)
			return d
		},
		Paused: func() *Core {
			d := explained(t, 64, nil, "a")
			d.ask(0, d.members["a"], 3)
			d.AskEnded(now, "a", 3, AskFailed, 0)
			return d
		},
	} {
		d := make()
		s := Source{ID: "a"}
		if !d.explain(now, &s) || s.Standing != want {
			t.Errorf("it stands %q, want %q", s.Standing, want)
		}
		if timed := want == Busy || want == Paused; timed != (s.Left > 0) {
			t.Errorf("%s: %.2f s are left", want, s.Left)
		}
		if want == WindowSet && s.InFlight == 0 {
			t.Error("a full window has nothing in flight")
		}
	}
}

// TestHearsayIsNoSource: who has no link to this device is none of its sources, however much it claims.
func TestHearsayIsNoSource(t *testing.T) {
	t.Parallel()
	d := explained(t, 64, nil)
	d.Hear(0, Said{ID: "a", Relayed: true, What: SayClaim{First: 0, Count: 1}})
	if d.members["a"] == nil {
		t.Fatal("the claim was not heard")
	}
	if d.explain(time.Second, &Source{ID: "a"}) {
		t.Error("it is explained as a source")
	}
}

// TestOriginStandings: the same for the origin.
func TestOriginStandings(t *testing.T) {
	t.Parallel()
	const now = time.Second
	with := func(c *Config) { c.Origin = true }
	cases := map[Standing]func() (*Core, time.Duration){
		NoOrigin: func() (*Core, time.Duration) { return explained(t, 64, nil), now },
		Drawing: func() (*Core, time.Duration) {
			d := explained(t, 64, with)
			d.Decide(now)
			return d, now
		},
		DeadOrigin: func() (*Core, time.Duration) {
			d := explained(t, 64, with)
			d.Decide(now)
			d.DrawEnded(now, 1, DrawDead)
			return d, now
		},
		BackedOff: func() (*Core, time.Duration) {
			d := explained(t, 64, with)
			d.Decide(now)
			for len(d.draws) > 0 {
				d.DrawEnded(now, d.nextDraw-len(d.draws)+1, DrawFailed)
			}
			return d, now
		},
		Listening: func() (*Core, time.Duration) { return explained(t, 64, with), 50 * time.Millisecond },
		Delayed: func() (*Core, time.Duration) {
			return explained(t, 64, func(c *Config) { c.Origin, c.Delay = true, time.Minute }, "a"), now
		},
		OnLAN: func() (*Core, time.Duration) { return explained(t, 64, with, "a"), now },
		Claimed: func() (*Core, time.Duration) {
			d := explained(t, 4, with)
			d.Hear(0, Joined{ID: "a", Have: piecehash.NewBitmap(4)})
			d.Hear(now, Said{ID: "a", What: SayClaim{First: 0, Count: 4, Rate: 1e6}})
			return d, now
		},
		InDebt: func() (*Core, time.Duration) {
			d := explained(t, 64, with)
			d.Hear(0, Joined{ID: "a", Have: piecehash.NewBitmap(64)})
			d.debt.deep = true
			return d, now
		},
		NotItsTurn: func() (*Core, time.Duration) {
			d := explained(t, 64, with)
			d.Hear(0, Joined{ID: "a", Have: piecehash.NewBitmap(64)})
			return d, now
		},
	}
	for _, want := range OriginStandings() {
		if cases[want] == nil {
			t.Errorf("nothing shows %q", want)
			continue
		}
		d, at := cases[want]()
		if o := d.explainOrigin(at); o.Standing != want {
			t.Errorf("the origin stands %q, want %q", o.Standing, want)
		} else if timed := want == BackedOff || want == Delayed; timed != (o.Left > 0) {
			t.Errorf("%s: %.2f s are left", want, o.Left)
		}
	}
}

// TestMost: the last picture shows what was the case most of the time.
func TestMost(t *testing.T) {
	t.Parallel()
	if s := most(map[Standing]int{Busy: 3, Ready: 9, Paused: 1}, Nothing); s != Ready {
		t.Error(s)
	}
	if s := most(nil, Nothing); s != Nothing {
		t.Error(s)
	}
}
