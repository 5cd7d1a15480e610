package site

import (
	"fmt"
	"slices"
	"testing"

	"github.com/dunlin-project/dunlin/bench/line"
)

// say prints a line at once: a table that takes long is read while it grows.
func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

const legend = `copies: payload in the origin's access log, in sizes of the content; link: all that went over its line, likewise: headers and
acknowledgements make one copy 1.03 to 1.06; /bound: makespan in times of the curl of the same round; rss: the worst device's.`

// row is one line of a table, for machines.
type row struct {
	Test    string `json:"test"`
	Client  string `json:"client"`
	Case    string `json:"case,omitempty"` // disturbance
	Devices int    `json:"devices"`
	MiB     int64  `json:"mib"`
	Mbit    int    `json:"mbit"`
	Warm    bool   `json:"warm,omitempty"`
	Round   int    `json:"round"`
	outcome
	Judged bool `json:"judged"` // the machine was not the limit
}

// add writes what one turn has measured.
func add(t *testing.T, rows line.Rows, x row) {
	t.Helper()
	x.Judged = x.judged()
	rows.Add(t, x)
}

const head = "  %-18s %7s %7s %9s %7s %9s %9s %5s %8s"

func sayHead() {
	say(head, "client", "copies", "link", "makespan", "/bound", "waste", "CPU s/GiB", "idle", "rss")
}

func sayOutcome(name string, o outcome, note string) {
	if !o.judged() {
		note = "CPU-bound, not judged  " + note
	}
	say("  %-18s %7.3f %7.3f %8.2fs %7.3f %9s %9.2f %4.0f%% %8s  %s", name, o.Copies, o.Link, o.Seconds, o.PerBound, mib(o.Waste), o.CPU, 100*o.Idle, mib(o.Peak), note)
}

func mib(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// middle is the median of the turns that can be judged (of all, when none can), and what to say of the spread.
func middle(all []outcome) (m outcome, spread string) {
	judged := slices.DeleteFunc(slices.Clone(all), func(o outcome) bool { return !o.judged() })
	dropped := len(all) - len(judged)
	if len(judged) == 0 {
		judged = all
	}
	of := func(what func(outcome) float64) (median, low, high float64) {
		var v []float64
		for _, o := range judged {
			v = append(v, what(o))
		}
		slices.Sort(v)
		return (v[(len(v)-1)/2] + v[len(v)/2]) / 2, v[0], v[len(v)-1]
	}
	var copies, per [2]float64
	m.Copies, copies[0], copies[1] = of(func(o outcome) float64 { return o.Copies })
	m.PerBound, per[0], per[1] = of(func(o outcome) float64 { return o.PerBound })
	m.Link, _, _ = of(func(o outcome) float64 { return o.Link })
	m.Seconds, _, _ = of(func(o outcome) float64 { return o.Seconds })
	m.CPU, _, _ = of(func(o outcome) float64 { return o.CPU })
	m.Idle, _, _ = of(func(o outcome) float64 { return o.Idle })
	waste, _, _ := of(func(o outcome) float64 { return float64(o.Waste) })
	_, _, peak := of(func(o outcome) float64 { return float64(o.Peak) })
	m.Waste, m.Peak = int64(waste), int64(peak)
	spread = fmt.Sprintf("copies %.3f to %.3f, /bound %.3f to %.3f", copies[0], copies[1], per[0], per[1])
	if dropped > 0 {
		spread += fmt.Sprintf("; %d of %d were CPU-bound", dropped, len(all))
	}
	return m, spread
}
