package pair

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a process.
const patience = 5 * time.Minute

// proc is a process and the lines it has printed.
type proc struct {
	cmd   *exec.Cmd
	lines <-chan string // closed when it has closed its output
	begun time.Time
}

func start(t *testing.T, argv []string) *proc {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &proc{cmd: cmd, begun: time.Now()}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	lines := make(chan string, 1024)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	p.lines = lines
	return p
}

// wait returns the line that holds want, as soon as it is printed.
func (p *proc) wait(t *testing.T, want string) string {
	t.Helper()
	for line := range p.lines {
		if strings.Contains(line, want) {
			return line
		}
	}
	t.Fatalf("%s ended without printing %q", p.cmd.Path, want)
	return ""
}

// usage is what a process has used of the machine.
type usage struct {
	cpu float64 // seconds, its own and the kernel's for it
	rss int64   // the most memory it had at a time, in bytes
}

func (u usage) minus(before usage) usage { return usage{u.cpu - before.cpu, u.rss} }

// plus is what two processes have used that lived at the same time.
func (u usage) plus(o usage) usage { return usage{u.cpu + o.cpu, u.rss + o.rss} }

// end waits for a process that ends by itself.
func (p *proc) end(t *testing.T) usage {
	t.Helper()
	for range p.lines {
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("%s: %v", p.cmd.Path, err)
	}
	s := p.cmd.ProcessState
	u := usage{cpu: (s.UserTime() + s.SystemTime()).Seconds()}
	if r, ok := s.SysUsage().(*syscall.Rusage); ok {
		u.rss = r.Maxrss << 10
	}
	return u
}

// stop ends a process that goes on for ever.
func (p *proc) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	for range p.lines {
	}
	_ = p.cmd.Wait()
}

// used is what a living process has used, with its children.
func (p *proc) used(t *testing.T) (u usage) {
	t.Helper()
	for _, pid := range append(children(p.cmd.Process.Pid), p.cmd.Process.Pid) {
		one, err := usedBy(pid)
		if err != nil {
			t.Fatal(err)
		}
		u = u.plus(one)
	}
	return u
}

func children(pid int) (pids []int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)) // a kernel without it: nobody's children count
	for _, f := range strings.Fields(string(b)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

// usedBy reads what the kernel counts: the CPU time of each thread to the nanosecond, and the peak of the memory.
func usedBy(pid int) (u usage, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return u, err
	}
	for _, name := range tasks {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		var ns int64
		if _, err := fmt.Sscan(string(b), &ns); err != nil {
			return u, fmt.Errorf("%s: %w", name, err)
		}
		u.cpu += float64(ns) / 1e9
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			u.rss = kib << 10
		}
	}
	return u, err
}

// connected waits until somebody has a connection from local to an address, and returns when that was seen. It looks no more
// than every two milliseconds, and not at all afterwards: looking costs what is being measured. The time is zero when done
// is closed before.
func connected(local string, done <-chan struct{}) time.Time {
	want := hexAddr(local)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return time.Time{}
		case <-tick.C:
		}
		b, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			return time.Time{}
		}
		for line := range strings.Lines(string(b)) {
			const established = "01"
			if f := strings.Fields(line); len(f) > 3 && strings.HasPrefix(f[1], want) && f[3] == established {
				return time.Now()
			}
		}
	}
}

// hexAddr is an IPv4 address as /proc/net/tcp of a little-endian machine writes it.
func hexAddr(ip string) string {
	var b [4]byte
	_, _ = fmt.Sscanf(ip, "%d.%d.%d.%d", &b[0], &b[1], &b[2], &b[3])
	return fmt.Sprintf("%02X%02X%02X%02X:", b[3], b[2], b[1], b[0])
}
