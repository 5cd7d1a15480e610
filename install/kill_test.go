package install_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/dunlin-project/dunlin/install/installtest"
)

// The folder of a child that is to be killed, and the step at which.
const (
	killDir  = "DUNLIN_TEST_KILL_DIR"
	killStep = "DUNLIN_TEST_KILL_STEP"
)

// TestKilledChild is no test but the child of TestKill.
func TestKilledChild(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		return // it is run by TestKill
	}
	n, err := strconv.Atoi(os.Getenv(killStep))
	must(t, err)
	b := benchAt(t, dir)
	u := release(b, "2.0", 2, nil)
	b.Config.Probe = func(string) {
		if n--; n < 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until it arrives
		}
	}
	b.Restart()
	b.MustInstall(u, payload("2.0"))
}

// benchAt is a bench whose device has its folders in dir, so that another process can go on with them.
func benchAt(t *testing.T, dir string) *installtest.Bench {
	t.Helper()
	b := bench(t)
	b.Root, b.Config.Dir = filepath.Join(dir, "root"), filepath.Join(dir, "state")
	must(t, os.MkdirAll(b.Root, 0o755))
	b.Restart()
	return b
}

// TestKill kills a process at every step of an installation, for real, and looks what the next one finds.
func TestKill(t *testing.T) {
	t.Parallel()
	steps := 0
	for ; steps < 100; steps++ {
		dir := t.TempDir()
		b := benchAt(t, dir)
		b.MustInstall(release(b, "1.0", 1, nil), payload("1.0"))
		child := exec.Command(os.Args[0], "-test.run=^TestKilledChild$")
		child.Env = append(os.Environ(), killDir+"="+dir, killStep+"="+strconv.Itoa(steps))
		out, err := child.CombinedOutput()
		afterKill(t, b, fmt.Sprintf("step %d", steps))
		if err == nil {
			break
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("step %d: %v\n%s", steps, err, out)
		}
	}
	t.Logf("killed at %d steps", steps)
	if steps < 10 || steps == 100 {
		t.Errorf("killed at %d steps", steps)
	}
}

func afterKill(t *testing.T, b *installtest.Bench, where string) {
	t.Helper()
	if got := seen(t, b); got != "1.0" && got != "2.0" {
		t.Errorf("%s: before recovery %q is there", where, got)
	}
	b.Restart()
	if _, err := b.Installer.Recover(t.Context()); err != nil {
		t.Errorf("%s: %v", where, err)
	}
	if i := b.Item(); i.Version != seen(t, b) || !i.Present {
		t.Errorf("%s: %q is there, the inventory says %q, present %v", where, seen(t, b), i.Version, i.Present)
	}
	empty(t, filepath.Join(b.Config.Dir, "staging"))
	entries, err := os.ReadDir(b.Root)
	if err != nil || len(entries) != 1 {
		t.Errorf("%s: %v, %v", where, entries, err)
	}
	b.MustInstall(release(b, "2.0", 2, nil), payload("2.0"))
	if seen(t, b) != "2.0" {
		t.Errorf("%s: %q is there in the end", where, seen(t, b))
	}
}
