package installtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/install"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// Subject is a handler under test, with what the test must know of it.
type Subject struct {
	Name    string // by which records name it
	Handler install.Handler
	// Payload returns a payload whose installation can be told by its version.
	Payload func(version string) []byte
	// Fill completes a record that installs below the folder root.
	Fill func(u *metadata.Update, root string)
	// Installed returns the version that others see below root, "" for none. More than one, or half of one, is for it to
	// fail the test on.
	Installed func(t testing.TB, root string) string
	// Bad is a payload that the handler must refuse, and BadKind how. Nil: there is none.
	Bad     []byte
	BadKind fault.Kind
	// Program says that what was done cannot be taken back: after a failure any version may be seen.
	Program bool
}

// TestHandler is the contract of install.Handler.
func TestHandler(t *testing.T, s Subject) {
	for name, test := range map[string]func(*testing.T, *trial){
		"installs, again, and a newer one":       testInstalls,
		"a bad payload leaves what was there":    testBadPayload,
		"a cancelled one leaves what was there":  testCancelled,
		"a failed health check takes it back":    testHealth,
		"a first one that fails leaves nothing":  testFirstFails,
		"a crash at any step leaves one version": testCrash,
		"a crash at any step of the first one":   testFirstCrash,
		"notices that it is gone":                testGone,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newTrial(t, s))
		})
	}
}

// trial is one bench for one subject.
type trial struct {
	*Bench
	s Subject
	t *testing.T
}

func newTrial(t *testing.T, s Subject) *trial {
	// A device that has no exec refuses health checks. Nothing is installed with it but where it is the subject.
	return &trial{New(t, map[string]install.Handler{metadata.HandlerExec: s.Handler, s.Name: s.Handler}), s, t}
}

func (r *trial) release(version string, n int64, payload []byte, change func(*metadata.Update)) *metadata.Update {
	return r.Release(version, n, payload, func(u *metadata.Update) {
		u.Handler = r.s.Name
		r.s.Fill(u, r.Root)
		if change != nil {
			change(u)
		}
	})
}

// one installs version 1.0.
func (r *trial) one() {
	payload := r.s.Payload("1.0")
	r.MustInstall(r.release("1.0", 1, payload, nil), payload)
	r.expect("1.0")
}

// expect compares what others see, and what the inventory says, with a version.
func (r *trial) expect(version string) {
	r.t.Helper()
	if got := r.s.Installed(r.t, r.Root); got != version && !r.s.Program {
		r.t.Errorf("version %q is seen, want %q", got, version)
	}
	if i := r.Item(); i.Version != version || i.Present != (version != "") {
		r.t.Errorf("the inventory says %q, present %v (%v), want %q", i.Version, i.Present, i.Err, version)
	}
	r.noLeftovers()
}

// noLeftovers looks for names of a transaction.
func (r *trial) noLeftovers() {
	r.t.Helper()
	err := filepath.WalkDir(r.Root, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), ".dunlin-") {
			r.t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		r.t.Error(err)
	}
	for _, name := range []string{"begun", "decided"} {
		if _, err := os.Lstat(filepath.Join(r.Config.Dir, name)); err == nil {
			r.t.Errorf("left behind: %s", name)
		}
	}
}

func testInstalls(_ *testing.T, r *trial) {
	r.one()
	payload := r.s.Payload("1.0")
	r.MustInstall(r.release("1.0", 1, payload, nil), payload)
	r.expect("1.0")
	for n, version := range []string{"2.0", "3.0", "4.0"} {
		payload := r.s.Payload(version)
		r.MustInstall(r.release(version, int64(n+2), payload, nil), payload)
		r.expect(version)
	}
}

func testBadPayload(t *testing.T, r *trial) {
	if r.s.Bad == nil {
		return
	}
	r.one()
	_, err := r.Install(t.Context(), r.release("2.0", 2, r.s.Bad, nil), r.s.Bad)
	if !fault.Is(err, r.s.BadKind) {
		t.Errorf("%v: %v, want %v", fault.Of(err), err, r.s.BadKind)
	}
	r.expect("1.0")
	r.recovers("3.0")
}

// recovers proves that the next good installation needs no help.
func (r *trial) recovers(version string) {
	r.t.Helper()
	payload := r.s.Payload(version)
	r.MustInstall(r.release(version, 3, payload, nil), payload)
	r.expect(version)
}

func testCancelled(t *testing.T, r *trial) {
	r.one()
	ctx, cancel := context.WithCancel(t.Context())
	r.Config.Probe = func(step string) {
		if step == "begun" {
			cancel()
		}
	}
	r.Restart()
	payload := r.s.Payload("2.0")
	if _, err := r.Install(ctx, r.release("2.0", 2, payload, nil), payload); !errors.Is(err, context.Canceled) || !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
	r.Config.Probe = nil
	r.Restart()
	r.expect("1.0")
	r.recovers("3.0")
}

func sick(u *metadata.Update) {
	u.Health = &metadata.HealthCheck{Command: []string{"/bin/sh", "-c", "echo not well; exit 7"}}
}

func testHealth(t *testing.T, r *trial) {
	r.one()
	payload := r.s.Payload("2.0")
	_, err := r.Install(t.Context(), r.release("2.0", 2, payload, sick), payload)
	if !fault.Is(err, fault.Install) || !strings.Contains(err.Error(), "exit code 7") || !strings.Contains(err.Error(), "not well") {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
	r.expect("1.0")
	r.recovers("3.0")
}

func testFirstFails(t *testing.T, r *trial) {
	payload := r.s.Payload("1.0")
	if _, err := r.Install(t.Context(), r.release("1.0", 1, payload, sick), payload); !fault.Is(err, fault.Install) {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
	r.expect("")
	r.recovers("3.0")
}

// plugPulled is what the probe panics with: as far as the disk is concerned, nothing runs after it.
type plugPulled struct{ step string }

// pull installs and stops for good before the nth step. It returns the step's name, or "" when there were fewer.
func (r *trial) pull(n int, do func() error) (step string) {
	r.Config.Probe = func(step string) {
		if n--; n < 0 {
			panic(plugPulled{step})
		}
	}
	r.Restart()
	defer func() {
		r.Config.Probe = nil
		r.Restart()
		if p, ok := recover().(plugPulled); ok {
			step = p.step
		}
	}()
	if err := do(); err != nil {
		r.t.Error(err)
	}
	return ""
}

func testCrash(t *testing.T, r *trial)      { sweep(t, r.s, "1.0") }
func testFirstCrash(t *testing.T, r *trial) { sweep(t, r.s, "") }

// sweep crashes the installation of 2.0 at every step, each time on a new bench. The recovery after it is crashed, too: at
// its first step, then the next one at its second, until one of them gets through.
func sweep(t *testing.T, s Subject, old string) {
	const most = 1000
	for n := range most {
		r := newTrial(t, s)
		if old != "" {
			r.one()
		}
		payload := s.Payload("2.0")
		u := r.release("2.0", 2, payload, nil)
		where := r.pull(n, func() error { _, err := r.Install(t.Context(), u, payload); return err })
		if where == "" {
			if n < 5 {
				t.Errorf("only %d steps", n)
			}
			return
		}
		for m, again := 0, "once"; again != "" && m < most; m++ {
			again = r.pull(m, func() error { _, err := r.Installer.Recover(t.Context()); return err })
			where += ", " + again
		}
		r.settled(where, old, u, payload)
	}
}

// settled checks what a crash has left: one version or the other, known as such, and nothing in the way of the next run.
func (r *trial) settled(where, old string, u *metadata.Update, payload []byte) {
	r.t.Helper()
	if _, err := r.Installer.Recover(r.t.Context()); err != nil {
		r.t.Errorf("crash at %s: %v", where, err)
	}
	if got := r.Item().Version; got != old && got != "2.0" {
		r.t.Errorf("crash at %s: version %q", where, got)
	}
	r.expect(r.Item().Version)
	if _, err := r.Install(r.t.Context(), u, payload); err != nil {
		r.t.Errorf("crash at %s: the next run: %v", where, err)
	}
	r.expect("2.0")
}

func testGone(t *testing.T, r *trial) {
	if r.s.Program {
		return
	}
	r.one()
	entries, err := os.ReadDir(r.Root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(r.Root, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if i := r.Item(); i.Present || i.Err != nil {
		t.Errorf("present %v, %v", i.Present, i.Err)
	}
	payload := r.s.Payload("1.0")
	r.MustInstall(r.release("1.0", 1, payload, nil), payload)
	r.expect("1.0")
}
