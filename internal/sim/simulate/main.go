// Command simulate runs the scenarios of package sim and prints a table. It exits with 1 when an invariant does not hold.
// It is run by make sim.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/internal/sim"
)

// options are the command line.
type options struct {
	run     *regexp.Regexp
	seed    uint64
	seeds   int
	short   bool
	json    bool
	list    bool
	profile string
	trace   bool
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("simulate", flag.ContinueOnError)
	pattern := f.String("run", "", "only scenarios whose name matches this regular expression")
	f.Uint64Var(&o.seed, "seed", 1, "the first seed")
	f.IntVar(&o.seeds, "seeds", 1, "how many seeds each scenario runs with")
	f.BoolVar(&o.short, "short", false, "the short list for CI")
	f.BoolVar(&o.json, "json", false, "a line of JSON for each scenario")
	f.BoolVar(&o.list, "list", false, "print the names of the scenarios")
	f.BoolVar(&o.trace, "trace", false, "print what happens on the first site of each scenario instead of the table")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile to this file")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.run, err = regexp.Compile(*pattern)
	return o, err
}

func run(args []string, w io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	scenarios := sim.All()
	if o.short {
		scenarios = sim.Short()
	}
	return table(o, scenarios, w)
}

func table(o options, scenarios []sim.Scenario, w io.Writer) error {
	scenarios = slices.DeleteFunc(scenarios, func(sc sim.Scenario) bool { return !o.run.MatchString(sc.Name) })
	if len(scenarios) == 0 {
		return errors.New("no scenario has such a name: -list prints them")
	}
	if !o.json && !o.list && !o.trace {
		sim.Header(w)
	}
	broken, begun := 0, time.Now()
	for _, sc := range scenarios {
		n, err := one(o, sc, w)
		if err != nil {
			return err
		}
		broken += n
	}
	if !o.json && !o.list && !o.trace {
		fmt.Fprintf(w, "%d scenarios in %v\n", len(scenarios), time.Since(begun).Round(time.Second))
	}
	if broken > 0 {
		return fmt.Errorf("%d invariants do not hold", broken)
	}
	return nil
}

// one runs and prints a scenario, and returns how many invariants it breaks.
func one(o options, sc sim.Scenario, w io.Writer) (broken int, err error) {
	switch {
	case o.list:
		_, err = fmt.Fprintln(w, sc.Name)
		return 0, err
	case o.trace:
		return len(sim.Trace(sc, o.seed, w).Broken), nil
	}
	r := sim.Run(sc, o.seed, o.seeds)
	if o.json {
		err = r.JSON(w)
	} else {
		r.Print(w)
	}
	return len(r.Broken()), err
}
