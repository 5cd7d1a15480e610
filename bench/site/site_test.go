package site

import (
	"fmt"
	"testing"

	"github.com/dunlin-project/dunlin/bench/line"
	"github.com/dunlin-project/dunlin/e2e/lab"
)

// safeCopies is what no run may draw from the origin, however busy the machine is: far from the goals, and far below what
// devices draw that do not share.
const safeCopies = 1.5

// TestSite prints a table for each plan: all devices start together, with nothing in their way.
func TestSite(t *testing.T) {
	lab.Need(t, "ip", "tc", "nginx", "curl", "pgrep")
	var maker lab.Maker
	all, rows := allClients(lab.Binary(t)), line.OpenRows(t, *rowsFile)
	say("%s", legend)
	for _, p := range plans(t) {
		t.Run(p.String(), func(t *testing.T) { p.measure(t, &maker, all, rows) })
	}
}

func (p plan) String() string {
	s := fmt.Sprintf("%d devices, %d MiB, %d Mbit/s", p.Devices, p.Size>>20, p.Mbit)
	if p.warm {
		s += ", connected before"
	}
	return s
}

// measure lets the clients take turns, round by round.
func (p plan) measure(t *testing.T, maker *lab.Maker, all map[string]client, rows line.Rows) {
	w := build(t, maker, p.Shape)
	outcomes := map[string][]outcome{}
	say("\n%s", p)
	sayHead()
	for round := range rounds(5) {
		seconds := 0.0
		for _, name := range append([]string{bound}, p.clients...) {
			c, ok := all[name]
			if !ok {
				t.Fatalf("no client %q", name)
			}
			if c.word != ours && name != bound && round >= *others {
				continue
			}
			o := w.turn(c, p.warm)
			if name == bound {
				seconds = o.Seconds
			}
			o.PerBound = o.Seconds / seconds
			outcomes[name] = append(outcomes[name], o)
			sayOutcome(c.says, o, because(o))
			add(t, rows, row{Test: t.Name(), Client: name, Devices: p.Devices, MiB: p.Size >> 20, Mbit: p.Mbit, Warm: p.warm, Round: round, outcome: o})
			checkSafe(t, o)
		}
	}
	if rounds(5) > 1 {
		p.sayMedians(all, outcomes)
	}
}

// checkSafe holds the short form to safeCopies, unless the machine was too busy to say anything.
func checkSafe(t *testing.T, o outcome) {
	t.Helper()
	if testing.Short() && o.judged() && o.Copies > safeCopies {
		t.Errorf("%.3f copies from the origin, want at most %.1f", o.Copies, safeCopies)
	}
}

func (p plan) sayMedians(all map[string]client, outcomes map[string][]outcome) {
	say("  medians")
	for _, name := range append([]string{bound}, p.clients...) {
		if len(outcomes[name]) == 0 {
			continue
		}
		m, spread := middle(outcomes[name])
		if name == "dunlin" {
			if v := p.goal().verdict(m); v != "" {
				spread += "; " + v
			}
		}
		sayOutcome(all[name].says, m, fmt.Sprintf("of %d: %s", len(outcomes[name]), spread))
	}
}

// because words the reasons of origin bytes, in sizes of the content.
func because(o outcome) (s string) {
	for _, why := range []string{"own", "steal", "timeout", "no_peers"} {
		if n := o.Because[why]; n > 0 {
			s += fmt.Sprintf("%s %.3f ", why, o.Copies*float64(n)/float64(o.Logged))
		}
	}
	return s
}
