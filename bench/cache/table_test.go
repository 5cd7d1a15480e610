package cache

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/bench/line"
)

// say prints a line at once: a table that takes long is read while it grows.
func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func sayRound(round int, r row, o outcome) {
	var v []string
	for i, w := range r.wants {
		v = append(v, fmt.Sprintf("%.3f %s", o.Values[i], w.unit))
	}
	say("  round %d  %-34s %-44s idle %3.0f%%  %s", round+1, r.says, strings.Join(v, ", "), 100*o.Idle, o.Note)
}

const head = "%-34s %10s  %-32s %-19s %s"

// sayTable prints the medians with the verdicts.
func (b *bench) sayTable(rounds int, results map[string][]outcome) {
	say("\n%d MiB, origin %d Mbit/s, %d rounds: medians", b.size>>20, b.mbit, rounds)
	say(head, "case", "measured", "to reach", "least to most", "verdict")
	for _, r := range rows() {
		all := results[r.name]
		if len(all) == 0 {
			continue
		}
		judged := slices.DeleteFunc(slices.Clone(all), func(o outcome) bool { return !r.judged(o) })
		for i, w := range r.wants {
			says := r.says
			if i > 0 {
				says = ""
			}
			from := judged
			if len(from) == 0 {
				from = all
			}
			s := spreadOf(from, i)
			say(head, says, fmt.Sprintf("%.3f", s.median), w, fmt.Sprintf("%.3f to %.3f", s.least, s.most), verdict(w, s.median, len(judged), len(all)))
		}
	}
	say("checks: every piece is hashed before it is first served after a start; scrubbing: %s", scrubbing)
}

// verdict says whether a bound is reached. It fails nothing: what is reached depends on the machine.
func verdict(w want, median float64, judged, all int) string {
	v := "NOT MET"
	switch {
	case testing.Short():
		return "not judged: too small"
	case judged == 0:
		return "not judged: CPU-bound"
	case w.reached(median):
		v = "met"
	}
	if judged < all {
		v += fmt.Sprintf(" (%d of %d rounds were CPU-bound)", all-judged, all)
	}
	return v
}

// spread is the median of several figures, and the two that are furthest from it.
type spread struct{ median, least, most float64 }

func spreadOf(all []outcome, i int) spread {
	var v []float64
	for _, o := range all {
		v = append(v, o.Values[i])
	}
	slices.Sort(v)
	return spread{(v[(len(v)-1)/2] + v[len(v)/2]) / 2, v[0], v[len(v)-1]}
}

// add writes what one round of a row has measured.
func add(t *testing.T, rows line.Rows, r row, round int, o outcome) {
	t.Helper()
	rows.Add(t, struct {
		Row   string `json:"row"`
		Round int    `json:"round"`
		outcome
		Judged bool `json:"judged"` // the machine was not the limit
	}{r.name, round, o, r.judged(o)})
}
