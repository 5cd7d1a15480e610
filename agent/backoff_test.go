package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

func TestPauseAfter(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{
		-1: 0, 0: 0, 1: time.Minute, 2: 2 * time.Minute, 3: 4 * time.Minute, 11: 1024 * time.Minute,
		12: 24 * time.Hour, 13: 24 * time.Hour, 1_000_000: 24 * time.Hour,
	} {
		if got := pauseAfter(failures); got != want {
			t.Errorf("after %d: %v, want %v", failures, got, want)
		}
	}
}

func TestTries(t *testing.T) {
	t.Parallel()
	k := tryKey{key: metadata.Key{Publisher: "acme", ID: "app"}, release: 1}
	newer, changed := k, k
	newer.release, changed.record = 2, [32]byte{1}
	for name, c := range map[string]struct {
		errs []error // one a minute
		ask  tryKey
		want time.Duration // of the pause, from the last failure on
	}{
		"nothing yet":               {nil, k, 0},
		"an installation":           {[]error{fault.New(fault.Install, "x")}, k, time.Minute},
		"a lie":                     {[]error{fault.New(fault.Untrusted, "x")}, k, time.Minute},
		"a fault of ours":           {[]error{fmt.Errorf("x")}, k, time.Minute},
		"a disk that is full":       {[]error{fault.New(fault.Unavailable, "x")}, k, 0},
		"policy":                    {[]error{fault.New(fault.Refused, "x")}, k, 0},
		"three times":               {[]error{fmt.Errorf("x"), fmt.Errorf("x"), fmt.Errorf("x")}, k, 4 * time.Minute},
		"another release":           {[]error{fmt.Errorf("x")}, newer, 0},
		"the release signed anew":   {[]error{fmt.Errorf("x")}, changed, 0},
		"what is of no consequence": {[]error{fmt.Errorf("x"), fault.New(fault.Refused, "y")}, k, time.Minute},
	} {
		all, now := tries{}, noon()
		var last time.Time
		for _, err := range c.errs {
			if fault.Of(err) != fault.Refused {
				last = now
			}
			all.failed(k, now, err)
			now = now.Add(time.Second)
		}
		if c.want == 0 {
			if _, _, paused := all.paused(c.ask, last); paused {
				t.Errorf("%s: paused", name)
			}
			continue
		}
		end := last.Add(c.want)
		if was, until, paused := all.paused(c.ask, end.Add(-1)); !paused || !until.Equal(end) || was.err == nil {
			t.Errorf("%s: paused %v until %v because of %v, want %v", name, paused, until, was.err, end)
		}
		if _, _, paused := all.paused(c.ask, end); paused {
			t.Errorf("%s: paused for longer than %v", name, c.want)
		}
	}
}

// TestWhatFailsIsNotTriedEveryCycle counts how often the health check of an update runs.
func TestWhatFailsIsNotTriedEveryCycle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app, log := payload(1, 20_000), filepath.Join(t.TempDir(), "log")
	sick := func(u *metadata.Update) {
		u.Health = &metadata.HealthCheck{Command: []string{"/bin/sh", "-c", "echo x >> " + log + "; exit 1"}}
	}
	u := w.release("app", "1.0", 1, app, sick)
	w.approve(u, nil)
	runs := func() int {
		b, _ := os.ReadFile(log)
		return strings.Count(string(b), "x")
	}
	d := w.device(nil)
	a := d.agent()
	err := a.live(t.Context(), func(ctx context.Context) error {
		step := func(what string, want int) {
			t.Helper()
			if err := a.cycle(ctx); !fault.Is(err, fault.Install) {
				t.Errorf("%s: the cycle ended with %v", what, err)
			}
			if got := runs(); got != want {
				t.Errorf("%s: it ran %d times, want %d", what, got, want)
			}
		}
		step("at first", 1)
		step("at once", 1)
		e := entry(t, a.Status(), "app", "1.0")
		if e.State != StateFailed || e.Error == nil || e.Since.IsZero() || !strings.Contains(e.Reason, "not tried again before") {
			t.Errorf("the status says %+v", e)
		}
		for k, v := range a.tries {
			v.when = v.when.Add(-time.Minute)
			a.tries[k] = v
		}
		step("a minute later", 2)
		step("and at once", 2)
		w.approve(w.release("app", "2.0", 2, payload(2, 20_000), sick), nil)
		step("a new release", 3)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for want := 4; want <= 5; want++ {
		d.must(fault.Install)
		if got := runs(); got != want {
			t.Errorf("run --once: it ran %d times, want %d", got, want)
		}
	}
}
