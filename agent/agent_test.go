package agent

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// TestCyclesKeepToTheirTimes runs an agent for a virtual day.
func TestCyclesKeepToTheirTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorldWithoutOrigin(t)
		d := w.device(func(c *Config) { c.Interval = Duration(time.Hour) })
		a := d.agent()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		synctest.Wait()
		count := func() float64 { return valueOf(t, a.metrics.cycles.WithLabelValues(outcomeOK)) }
		if count() != 1 {
			t.Errorf("%v cycles at the start", count())
		}
		first := a.Status().Next
		if wait := time.Until(first); wait <= 0 || wait > time.Hour || !first.Equal(a.times.Next(time.Now(), 0)) {
			t.Errorf("the next is at %v", first)
		}
		time.Sleep(time.Until(first.Add(23*time.Hour + time.Second)))
		synctest.Wait()
		if count() != 25 {
			t.Errorf("%v cycles in a day", count())
		}

		// The depot goes away: the device asks again soon, then less and less often, and at once when it is back.
		if err := os.Rename(w.depot, w.depot+".gone"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(a.Status().Next.Add(time.Second)))
		synctest.Wait()
		if wait := time.Until(a.Status().Next); wait > time.Minute {
			t.Errorf("after a failure the next cycle is %v away", wait)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		failed := valueOf(t, a.metrics.cycles.WithLabelValues("unavailable"))
		if failed < 5 || failed > 15 {
			t.Errorf("%v tries in three hours", failed)
		}
		if err := os.Rename(w.depot+".gone", w.depot); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if s := a.Status(); s.Cycle.Result != outcomeOK {
			t.Errorf("%+v", s.Cycle)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
}

// TestRunServesUntilItIsStopped is an agent as it runs in the field: status and metrics are answered while it works, and
// when it has ended nothing of it is left.
func TestRunServesUntilItIsStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := payload(1, 50_000)
	w.offer("app", "1.0", 1, app)
	run, err := os.MkdirTemp("", "dunlin") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	var all []*memSwarm
	d := w.device(func(c *Config) {
		c.Control, c.Metrics, c.Sharing, c.Interval = filepath.Join(run, "s"), "127.0.0.1:0", SharingLAN, Duration(time.Second)
		c.Page = "127.0.0.1:0"
	})
	reg := prometheus.NewRegistry()
	a, err := New(d.cfg, Options{OpenSwarm: swarms(&all), Gatherer: reg})
	if err != nil {
		t.Fatal(err)
	}
	reg.MustRegister(a.Metrics()...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	s := eventually(t, d.cfg.Control, func(s Status) bool { return len(s.Updates) == 1 && s.Updates[0].State == StateInstalled })
	d.has("app", app)
	if !s.Running || s.Group != "lan" || s.Cycle == nil {
		t.Errorf("%+v", s)
	}
	if res, err := http.Get(s.Page + "data.json"); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("its page at %q: %v", s.Page, err)
	} else {
		res.Body.Close()
	}
	newer := payload(2, 50_000)
	w.offer("app", "2.0", 2, newer)
	eventually(t, d.cfg.Control, func(s Status) bool { return entryState(s, "2.0") == StateInstalled })
	d.has("app", newer)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(all) != 1 || all[0].open() != 0 || all[0].runs != 1 {
		t.Errorf("%d swarms, rooms are open", len(all))
	}
	if _, err := os.Stat(d.cfg.Control); err == nil {
		t.Error("the socket is left behind")
	}
	if kept, err := ReadStatus(d.cfg.StateDir); err != nil || entryState(kept, "2.0") != StateInstalled || kept.Page != "" {
		t.Errorf("%+v %v", kept, err)
	}
}

func entryState(s Status, version string) State {
	for _, u := range s.Updates {
		if u.Version == version {
			return u.State
		}
	}
	return ""
}

func eventually(t *testing.T, socket string, ok func(Status) bool) Status {
	t.Helper()
	var s Status
	var err error
	for range 1000 {
		if s, err = AskStatus(t.Context(), socket); err == nil && ok(s) {
			return s
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("it never came to that: %+v, %v", s, err)
	return s
}

// TestRunFailsWhenItCannotServe: an agent that nobody can ask, or measure, is not what was configured.
func TestRunFailsWhenItCannotServe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(func(c *Config) { c.Control = w.depot }) // a folder
	if err := d.agent().Run(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
}

// TestATakenPortStopsNoUpdate: without other devices everything comes by HTTP, and the status says why.
func TestATakenPortStopsNoUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := payload(1, 50_000)
	w.offer("app", "1.0", 1, app)
	d := w.device(func(c *Config) { c.Sharing = SharingLAN })
	d.swarm = func(string) (Swarm, error) { return nil, fault.New(fault.Unavailable, "port 7680 is taken") }
	s := d.must(0)
	d.has("app", app)
	if s.Cycle.Sharing == nil || !strings.Contains(s.Cycle.Sharing.Message, "7680") || s.Group != "" {
		t.Errorf("%+v", s.Cycle)
	}
}

// TestTheGroupIsThatOfTheOrganisation: a device starts in the group that it was in last, and follows the organisation.
func TestTheGroupIsThatOfTheOrganisation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []*memSwarm
	d := w.device(func(c *Config) { c.Sharing = SharingLAN })
	d.swarm = swarms(&all)
	if s := d.must(0); s.Group != "lan" || len(all) != 1 || all[0].group != "lan" {
		t.Errorf("group %q, %d swarms", s.Group, len(all))
	}
	f := w.org.Fleet
	f.Group = "berlin"
	w.org.SetFleet(f)
	w.publish()
	if s := d.must(0); s.Group != "berlin" || len(all) != 3 || all[1].group != "lan" || all[2].group != "berlin" {
		t.Errorf("group %q, %d swarms", s.Group, len(all))
	}
	d.cfg.Group = "own"
	if s := d.must(0); s.Group != "own" || len(all) != 4 {
		t.Errorf("group %q, %d swarms", s.Group, len(all))
	}
}

// TestAStoppedCycleSaysSo: it is neither a success nor a fault of ours.
func TestAStoppedCycleSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.device(nil).onceFor(ctx)
	if !fault.Is(err, fault.Unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestOSRelease(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]string{
		"ID=debian\nVERSION_ID=\"12\"\nNAME=x\n":      {"debian", "12"},
		"# c\n\nVERSION_ID='3.18.4'\n  ID=alpine  \n": {"alpine", "3.18.4"},
		"ID=arch\n":              {"arch", ""},
		"":                       {},
		"ID\n=\nVERSION_ID=\"\n": {"", "\""},
	} {
		if id, version := parseOSRelease([]byte(text)); id != want[0] || version != want[1] {
			t.Errorf("%q: %q %q, want %q", text, id, version, want)
		}
	}
	f := factsOf(Config{Labels: map[string]Label{"site": "berlin"}})
	if f.OS == "" || f.Arch == "" || f.Labels["site"] != "berlin" {
		t.Errorf("%+v", f)
	}
}

func TestUpdatesAreChosenByFacts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app, other := payload(1, 20_000), payload(2, 20_000)
	rule := func(site string) string { return `labels["site"] == "` + site + `"` }
	here := w.release("here", "1", 1, app, nil)
	there := w.release("there", "1", 1, other, nil)
	here.Applicability, there.Applicability = rule("berlin"), rule("paris")
	w.acme.Add(here, app)
	w.acme.Add(there, other)
	w.approve(here, nil)
	w.approve(there, nil)
	d := w.device(func(c *Config) { c.Labels = map[string]Label{"site": "berlin"} })
	s := d.must(0)
	d.has("here", app)
	d.has("there", nil)
	if e := entry(t, s, "there", "1"); e.State != StateNotApplicable || !strings.Contains(e.Reason, "paris") {
		t.Errorf("%+v", e)
	}
}
