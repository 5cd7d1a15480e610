package sim

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// small is a site that is quick to run.
func small(name string, change func(*Scenario)) Scenario {
	sc := Scenario{Name: name, Devices: 12, Length: 16 << 20, Piece: 1 << 20, Leases: true}
	if change != nil {
		change(&sc)
	}
	return sc
}

func only(which int, f func(*Device)) func(int, *rand.Rand, *Device) {
	return func(n int, _ *rand.Rand, d *Device) {
		if n == which {
			f(d)
		}
	}
}

// TestSameSeedSameTrace compares whole traces, event by event: a decision that iterates over a map shows here.
func TestSameSeedSameTrace(t *testing.T) {
	t.Parallel()
	for _, sc := range []Scenario{
		small("cold", nil),
		small("churn", func(sc *Scenario) { sc.Devices, sc.Length, sc.Shape = 16, 128<<20, churn }),
		small("links", func(sc *Scenario) { sc.Devices, sc.Quantum = 100, time.Millisecond }),
		small("liars", func(sc *Scenario) {
			sc.Shape = func(n int, _ *rand.Rand, d *Device) { d.Kind = Kind(n % (int(Claimer) + 1)) }
		}),
	} {
		t.Run(sc.Name, func(t *testing.T) {
			t.Parallel()
			var a, b, c bytes.Buffer
			x, y, z := Trace(sc, 1, &a), Trace(sc, 1, &b), Trace(sc, 2, &c)
			if x.Hash != y.Hash || !bytes.Equal(a.Bytes(), b.Bytes()) {
				t.Errorf("two runs with the same seed differ, first at %q", firstDifference(a.String(), b.String()))
			}
			if x.Hash == z.Hash || bytes.Equal(a.Bytes(), c.Bytes()) {
				t.Error("two seeds give the same trace")
			}
			if a.Len() == 0 {
				t.Error("the trace is empty")
			}
		})
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return x[i] + " / " + y[i]
		}
	}
	return "the end"
}

// TestSitesInParallelAreTheSame: the order in which sites are run decides nothing.
func TestSitesInParallelAreTheSame(t *testing.T) {
	t.Parallel()
	sc := small("sites", func(sc *Scenario) { sc.Sites = 6 })
	a, b := Run(sc, 3, 2), Run(sc, 3, 2)
	if a.Hash() != b.Hash() || len(a.Outcomes) != 12 {
		t.Errorf("%d outcomes, traces %x and %x", len(a.Outcomes), a.Hash(), b.Hash())
	}
	if a.Outcomes[0].Hash == a.Outcomes[1].Hash || a.Outcomes[0].Hash == a.Outcomes[6].Hash {
		t.Error("two sites, or two seeds, have the same trace")
	}
}

// TestInvariantsCanFail breaks each invariant on purpose.
func TestInvariantsCanFail(t *testing.T) {
	t.Parallel()
	liar := func(sc *Scenario) { sc.Shape = only(0, func(d *Device) { d.Kind = Corrupt }) }
	for name, c := range map[string]struct {
		sc   Scenario
		flaw flaw
		want string
	}{
		"a piece is stored unchecked": {small("", liar), flaw{unchecked: true}, "has stored a wrong piece"},
		"the origin miscounts":        {small("", nil), flaw{miscount: true}, "the origin has sent"},
		"a device counts too little":  {small("", nil), flaw{miscount: false, forgetful: true}, "the origin has sent"},
		"a device does not finish": {small("", func(sc *Scenario) {
			sc.Outages = []Outage{{From: time.Second, For: 24 * time.Hour}}
		}), flaw{}, "of 16 pieces"},
		"a claim outlives its lease": {small("", func(sc *Scenario) {
			sc.WAN, sc.Strike = 10*Mbit, &Strike{At: time.Second, Cut: true}
		}), flaw{skew: time.Hour}, "that ended at"},
		"too many copies": {small("", func(sc *Scenario) { sc.Copies = 0.9 }), flaw{}, "copies"},
		"too slow":        {small("", func(sc *Scenario) { sc.Makespan = 0.9 }), flaw{}, "makespan"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sound := c.sc
			r := run(c.sc, 1, 1, c.flaw)
			if got := r.Broken(); !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, c.want) }) {
				t.Errorf("broken: %q, want one with %q", got, c.want)
			}
			if c.flaw == (flaw{}) {
				return
			}
			if r := Run(sound, 1, 1); len(r.Broken()) > 0 {
				t.Errorf("without the flaw: %q", r.Broken())
			}
		})
	}
}

// TestEveryScenarioHasBounds: one without would never fail.
func TestEveryScenarioHasBounds(t *testing.T) {
	t.Parallel()
	for name, all := range map[string][]Scenario{"all": All(), "short": Short()} {
		for _, sc := range all {
			if sc.Copies < 1 || sc.Makespan < 1 || sc.Copies > 2.1 || sc.Makespan > 2.1 {
				t.Errorf("%s, %s: at most %v copies, makespan %v", name, sc.Name, sc.Copies, sc.Makespan)
			}
		}
	}
}

// TestShort runs what CI runs, without the largest.
func TestShort(t *testing.T) {
	t.Parallel()
	for _, sc := range Short() {
		if sc.Devices > 32 {
			continue
		}
		t.Run(sc.Name, func(t *testing.T) {
			t.Parallel()
			r := Run(sc, 1, 1)
			for _, b := range r.Broken() {
				t.Error(b)
			}
		})
	}
}

// TestScenariosDoWhatTheySay looks at figures that only the scenario's own fault can cause.
func TestScenariosDoWhatTheySay(t *testing.T) {
	t.Parallel()
	of := func(change func(*Scenario)) Outcome {
		r := Run(small("", change), 1, 1)
		if b := r.Broken(); len(b) > 0 {
			t.Errorf("broken: %q", b)
		}
		return r.Outcomes[0]
	}
	if o := of(func(sc *Scenario) { sc.Shape = only(0, func(d *Device) { d.Start = -1 }) }); o.Late != 0 {
		t.Errorf("who comes when the others are done drew %d bytes", o.Late)
	}
	if o := of(func(sc *Scenario) { sc.Shape = only(0, func(d *Device) { d.Kind = Corrupt }) }); o.Bad != 1 {
		t.Errorf("a device got %d bad pieces from one that corrupts, want 1", o.Bad)
	}
	if o := of(func(sc *Scenario) { sc.Shape = only(0, func(d *Device) { d.Kind = Turncoat }) }); o.ByReason[3] == 0 {
		t.Error("who was banned by all drew nothing for want of peers")
	}
	plain := of(nil)
	down := of(func(sc *Scenario) { sc.Outages = []Outage{{From: 500 * time.Millisecond, For: 2 * time.Second}} })
	if more := (down.Makespan - plain.Makespan) * small("", nil).defaults().Bound().Seconds(); more < 1.9 {
		t.Errorf("an outage of 2 s costs %.2f s", more)
	}
	slow := of(func(sc *Scenario) {
		sc.Shape = only(7, func(d *Device) { d.Up, d.Down, d.Slow = 10*Mbit, 10*Mbit, true })
	})
	if slow.All < 9 || slow.Makespan > 5 {
		t.Errorf("a device with a tenth of the rate needed %.2f of the bound, the others %.2f", slow.All, slow.Makespan)
	}
	if o := of(func(sc *Scenario) { sc.Devices = 1 }); o.ByReason[3] != 16<<20 || o.Makespan < 1 {
		t.Errorf("alone: %d bytes for want of peers, makespan %.3f", o.ByReason[3], o.Makespan)
	}
}

// TestLinks: nobody has more links than allowed, links go both ways, and the site hangs together.
func TestLinks(t *testing.T) {
	t.Parallel()
	sc := Scenario{Devices: 500}.defaults()
	near := sc.neighbours(rand.New(rand.NewPCG(1, 2)))
	seen := make([]bool, sc.Devices)
	todo := []int{0}
	for len(todo) > 0 {
		a := todo[0]
		todo = todo[1:]
		if seen[a] {
			continue
		}
		seen[a] = true
		todo = append(todo, near[a]...)
	}
	for a, list := range near {
		if !seen[a] || len(list) > manyLinks || len(list) < 2 {
			t.Errorf("device %d: reached %v, %d links", a, seen[a], len(list))
		}
		for i, b := range list {
			if !slices.Contains(near[b], a) || slices.Contains(list[:i], b) || a == b {
				t.Errorf("link %d-%d", a, b)
			}
		}
	}
}
