// Package process runs one program the way an installer must: with exactly the arguments it is given and no shell, an
// environment that nobody else has a hand in, nothing to read, a bounded memory of what it prints, and an end: when its
// time is up, and when it has ended itself, everything left in its process group is killed.
//
// It trusts the program, which was signed, to leave the group only for services that are meant to live on. Start reading
// at Run.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	grace        = 5 * time.Second // between the request to end and the kill
	busyRetries  = 20              // times that a file which is still open for writing is tried again
	busyInterval = 50 * time.Millisecond
)

// Command says what to run.
type Command struct {
	Program *os.File      // run this open file; Path is not used. It must not be open for writing anywhere.
	Path    string        // or the program at this absolute path
	Args    []string      // argv, the program's own name first
	Dir     string        // working folder
	Env     []string      // added to the fixed environment
	Timeout time.Duration // 0: until ctx is done
}

// Result says how it ended.
type Result struct {
	Code     int    // exit code; -1 when a signal ended it
	Signal   string // the signal, if one did
	TimedOut bool
	Output   string // the end of what it printed, at most MaxOutput bytes
	Printed  int64  // bytes that it printed altogether
}

// String says in a few words how it ended, for errors.
func (r Result) String() string {
	switch {
	case r.TimedOut:
		return "its time was up"
	case r.Signal != "":
		return "ended by signal: " + r.Signal
	default:
		return fmt.Sprintf("exit code %d", r.Code)
	}
}

// Tail returns the end of what it printed in quotes, short enough for an error.
func (r Result) Tail() string {
	const most = 500
	return fmt.Sprintf("%q", r.Output[max(0, len(r.Output)-most):])
}

// Run runs it to its end. The error says that it could not be started, or that ctx was done: then it was stopped, and
// only what it printed until then is in the result.
func Run(ctx context.Context, c Command) (Result, error) {
	// The kernel kills the program when the thread that started it ends, so that it does not go on alone after a crash
	// of ours and meet its successor. The thread must therefore live as long.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	timed, cancel := context.WithCancel(ctx)
	if c.Timeout > 0 {
		timed, cancel = context.WithTimeout(ctx, c.Timeout)
	}
	defer cancel()
	out, stopped := new(tail), new(atomic.Bool)
	cmd, err := start(timed, c, out, stopped)
	if err != nil {
		return Result{}, err
	}
	err = reap(cmd)
	if stopped.Load() && ctx.Err() != nil {
		return Result{Output: out.String(), Printed: out.total}, fmt.Errorf("run %s: stopped: %w", name(c), ctx.Err())
	}
	result := Result{Code: cmd.ProcessState.ExitCode(), TimedOut: stopped.Load(), Output: out.String(), Printed: out.total}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		result.Signal = status.Signal().String()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) && !result.TimedOut {
		return result, fmt.Errorf("run %s: %w", name(c), err)
	}
	return result, nil
}

// killGroup ends what is left of the group that pid leads.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// start begins the program. Another goroutine that forks at the wrong moment holds a copy of our descriptors for an
// instant, and with it one that was open for writing: the kernel calls that busy, and it passes.
func start(ctx context.Context, c Command, out *tail, stopped *atomic.Bool) (*exec.Cmd, error) {
	closeInherited()
	for i := 0; ; i++ {
		cmd := build(ctx, c, out)
		cmd.Cancel = func() error {
			stopped.Store(true)
			return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		}
		err := cmd.Start()
		if err == nil {
			return cmd, nil
		}
		if !errors.Is(err, syscall.ETXTBSY) || i == busyRetries {
			return nil, fmt.Errorf("start %s: %w", name(c), err)
		}
		time.Sleep(busyInterval)
	}
}

func build(ctx context.Context, c Command, out *tail) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Path)
	if c.Program != nil {
		cmd.Path, cmd.Err = "/proc/self/fd/3", nil // of the child, where ExtraFiles begin with 3
		cmd.ExtraFiles = []*os.File{c.Program}
	}
	cmd.Args, cmd.Dir = c.Args, c.Dir
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/"}, c.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = attributes()
	cmd.WaitDelay = grace
	return cmd
}

func name(c Command) string {
	if c.Program != nil && len(c.Args) > 0 {
		return c.Args[0]
	}
	return c.Path
}
