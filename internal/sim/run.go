package sim

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Result is what came of a scenario: the outcomes of all its sites and seeds, in that order.
type Result struct {
	Scenario Scenario
	Seeds    int
	Outcomes []Outcome
	Wall     time.Duration
}

// Run runs a scenario with so many seeds from the first on. Sites run beside each other, on all processors; each for
// itself.
func Run(sc Scenario, first uint64, seeds int) Result { return run(sc, first, seeds, flaw{}) }

func run(sc Scenario, first uint64, seeds int, f flaw) Result {
	began := time.Now()
	full := sc.defaults()
	res := Result{Scenario: *full, Seeds: seeds, Outcomes: make([]Outcome, full.Sites*seeds)}
	todo := make(chan int)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range todo {
				s := newSite(full, i%full.Sites, first+uint64(i/full.Sites), f)
				s.run()
				res.Outcomes[i] = s.outcome()
			}
		})
	}
	for i := range res.Outcomes {
		todo <- i
	}
	close(todo)
	wg.Wait()
	res.Wall = time.Since(began)
	return res
}

// Trace runs the first site of a scenario and writes a line for each event: seconds, the device's number (its place in the
// ranking), the event, and two figures: piece and count, or device and piece.
func Trace(sc Scenario, seed uint64, w io.Writer) Outcome {
	s := newSite(sc.defaults(), 0, seed, flaw{})
	s.trace = w
	s.run()
	return s.outcome()
}

// Hash is that of all traces.
func (r *Result) Hash() (h uint64) {
	for i := range r.Outcomes {
		h = mix(h, r.Outcomes[i].Hash)
	}
	return h
}

// Broken returns what did not hold: invariants, and the scenario's own bounds.
func (r *Result) Broken() []string {
	var all []string
	for i := range r.Outcomes {
		all = append(all, r.Outcomes[i].Broken...)
	}
	check := func(what string, got, most float64) {
		if most > 0 && got > most {
			all = append(all, fmt.Sprintf("%s %.3f over the bound of %.3f", what, got, most))
		}
	}
	check("copies", r.Median(func(o *Outcome) float64 { return o.Copies }), r.Scenario.Copies)
	check("makespan", r.Median(func(o *Outcome) float64 { return o.Makespan }), r.Scenario.Makespan)
	return all
}

// Median returns the median of a figure over all outcomes.
func (r *Result) Median(of func(*Outcome) float64) float64 {
	v := r.sorted(of)
	return v[len(v)/2]
}

// Worst returns the largest.
func (r *Result) Worst(of func(*Outcome) float64) float64 {
	v := r.sorted(of)
	return v[len(v)-1]
}

func (r *Result) sorted(of func(*Outcome) float64) []float64 {
	v := make([]float64, len(r.Outcomes))
	for i := range r.Outcomes {
		v[i] = of(&r.Outcomes[i])
	}
	slices.SortFunc(v, cmp.Compare[float64])
	return v
}
