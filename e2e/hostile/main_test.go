package hostile

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
)

const (
	binaryEnv = "DUNLIN_BINARY" // names a command that is built already
	e2eEnv    = "DUNLIN_E2E"    // set by "make e2e"

	// patience bounds how long a test waits for anything; it is no measure of speed.
	patience = 2 * time.Minute
)

// binary is the command under test; TestMain sets it once.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

// atOnce is how many tests run at a time: they wait for other processes more than they compute.
const atOnce = "6"

func run(m *testing.M) int {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if binary = os.Getenv(binaryEnv); binary != "" || os.Getenv(e2eEnv) == "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "dunlin-hostile-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "dunlin")
	cmd := exec.Command("go", "build", "-trimpath", "-o", binary, "../../cmd/dunlin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// need skips a test that cannot run here. Outside of "make e2e" nothing of this package runs; within it a missing tool is
// a failure in CI.
func need(t *testing.T, tools ...string) {
	t.Helper()
	if os.Getenv(e2eEnv) == "" {
		t.Skip("make e2e runs this")
	}
	lab.Need(t, tools...)
}

// hosts numbers the loopback addresses of the tests, so that all can run at once with the same ports.
var hosts atomic.Int32

// loopback returns an address of its own: of this test, and of this run.
func loopback() string {
	pid, n := os.Getpid(), int(hosts.Add(1))
	return fmt.Sprintf("127.%d.%d.%d", 192+pid/250%60, 1+(pid+n/250)%250, 1+n%250)
}

// result is what became of a command.
type result struct {
	args      []string
	code      int
	out, errs string // what it printed on standard output and standard error
}

func (r result) String() string {
	return fmt.Sprintf("dunlin %s: exit code %d\n%s%s", strings.Join(r.args, " "), r.code, r.out, r.errs)
}

// words are those of fault.Kind, by exit code.
func word(code int) string {
	return map[int]string{1: "internal", 2: "usage", 3: "unavailable", 4: "untrusted", 5: "refused", 6: "install"}[code]
}

// check holds a command against the exit code it should have. A failure must say its kind, what to try, and all of says.
func (r result) check(t *testing.T, code int, says ...string) {
	t.Helper()
	if r.code != code {
		t.Fatalf("want exit code %d: %v", code, r)
	}
	if code == 0 {
		return
	}
	for _, want := range append(says, "dunlin: "+word(code)+": ", "\n  try: ") {
		if !strings.Contains(r.errs, want) {
			t.Errorf("it does not say %q: %v", want, r)
		}
	}
}

// dunlin runs a command of the binary to its end.
func dunlin(t *testing.T, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("dunlin %v: %v (%v)\n%s%s", args, err, ctx.Err(), &out, &errs)
	}
	return result{args, cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// process is a command that runs on.
type process struct {
	cmd   *exec.Cmd
	out   *lab.Output
	ended chan struct{} // closed when it has ended
}

// start starts a command that runs until it is stopped, at the end of the test at the latest.
func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), out: &lab.Output{}, ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.WaitDelay = time.Second // for what its children still print
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.stop(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("%s %s printed:\n%s", filepath.Base(name), strings.Join(args, " "), p.out)
		}
	})
	return p
}

// stop sends a signal, waits for the end, and returns the exit code (-1 after a signal that killed it).
func (p *process) stop(s syscall.Signal) int {
	_ = p.cmd.Process.Signal(s)
	return p.wait()
}

func (p *process) wait() int {
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}
