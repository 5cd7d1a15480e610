package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one part of the demonstration.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // valid after done

	mu  sync.Mutex // guards out
	out bytes.Buffer
}

// Write collects what the process prints, the newest 64 KiB of it.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out.Len() > 64<<10 {
		p.out.Next(p.out.Len() / 2)
	}
	return p.out.Write(b)
}

func (p *process) printed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// waitFor waits until the process has printed want.
func (p *process) waitFor(ctx context.Context, want string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !strings.Contains(p.printed(), want) {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %w; it printed:\n%s", p.name, p.err, p.printed())
		case <-ctx.Done():
			return fmt.Errorf("%s did not say %q: %w; it printed:\n%s", p.name, want, ctx.Err(), p.printed())
		case <-time.After(pollEvery / 5):
		}
	}
	return nil
}

func (s *stage) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.Program, args...)
	cmd.Env = append(os.Environ(), "DUNLIN_PASSPHRASE_FILE="+s.path("passphrase"))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// run runs a command of the binary to its end and returns what it printed on standard output.
func (s *stage) run(ctx context.Context, args ...string) (string, error) {
	cmd := s.command(ctx, args)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("dunlin %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

// start starts a command of the binary that runs until the demonstration ends.
func (s *stage) start(ctx context.Context, name string, args ...string) (*process, error) {
	p := &process{name: name, cmd: s.command(ctx, args), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	s.procs = append(s.procs, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// alive says which process has ended that should not have.
func (s *stage) alive() error {
	for _, p := range s.procs {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %w; it printed:\n%s", p.name, p.err, p.printed())
		default:
		}
	}
	return nil
}

// wait waits for the processes, which have been told to stop. One that could not be stopped is an error.
func (s *stage) wait() error {
	var errs []error
	for _, p := range s.procs {
		<-p.done
		if errors.Is(p.err, exec.ErrWaitDelay) {
			errs = append(errs, fmt.Errorf("stop %s: %w", p.name, p.err))
		}
	}
	return errors.Join(errs...)
}
