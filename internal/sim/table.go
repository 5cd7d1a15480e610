package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// Header prints the head of the table. Copies, makespan (of the healthy devices, each from its own start, over the bound)
// and waste are medians over sites and seeds, with the worst in brackets; the origin's bytes by reason are in copies.
func Header(w io.Writer) {
	fmt.Fprintf(w, "%-18s %5s %-15s %-15s %-7s %-7s", "scenario", "sites", "copies", "makespan", "all", "waste")
	for _, r := range fetch.Reasons() {
		fmt.Fprintf(w, " %8s", r)
	}
	fmt.Fprintf(w, " %9s %9s %7s %16s\n", "events", "decisions", "wall", "trace")
}

// Print prints the result's row, and what was broken.
func (r *Result) Print(w io.Writer) {
	pair := func(of func(*Outcome) float64) string { return fmt.Sprintf("%.3f (%.3f)", r.Median(of), r.Worst(of)) }
	fmt.Fprintf(w, "%-18s %5d %-15s %-15s %-7.2f %-7.4f", r.Scenario.Name, len(r.Outcomes),
		pair(func(o *Outcome) float64 { return o.Copies }),
		pair(func(o *Outcome) float64 { return o.Makespan }),
		r.Median(func(o *Outcome) float64 { return o.All }),
		r.Median(func(o *Outcome) float64 { return o.Waste }))
	for i := range fetch.Reasons() {
		fmt.Fprintf(w, " %8.3f", r.Median(func(o *Outcome) float64 { return float64(o.ByReason[i]) / float64(o.Length) }))
	}
	var events, decisions int64
	for i := range r.Outcomes {
		events, decisions = events+r.Outcomes[i].Events, decisions+r.Outcomes[i].Decisions
	}
	fmt.Fprintf(w, " %9d %9d %7s %016x\n", events, decisions, r.Wall.Round(10*time.Millisecond), r.Hash())
	for _, b := range r.Broken() {
		fmt.Fprintf(w, "  BROKEN: %s\n", b)
	}
}

// JSON writes the result as one line.
func (r *Result) JSON(w io.Writer) error {
	return json.NewEncoder(w).Encode(struct {
		Scenario string    `json:"scenario"`
		Seeds    int       `json:"seeds"`
		Seconds  float64   `json:"seconds"`
		Hash     string    `json:"trace"`
		Broken   []string  `json:"broken"`
		Sites    []Outcome `json:"sites"`
	}{r.Scenario.Name, r.Seeds, r.Wall.Seconds(), fmt.Sprintf("%016x", r.Hash()), r.Broken(), r.Outcomes})
}
