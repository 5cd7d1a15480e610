package loop

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
)

// patience bounds how long a test waits for anything; it is no measure of speed.
const patience = 120 * time.Second

// Event is any line that "get --json" or "cache --json" prints.
type Event struct {
	Event   string         `json:"event"`
	Addrs   []string       `json:"addrs"`
	HTTP    string         `json:"http"`
	File    string         `json:"file"`
	Bytes   int64          `json:"bytes"`
	Of      int64          `json:"of"`
	Have    int64          `json:"have"`
	Resumed int64          `json:"resumed"`
	SHA256  piecehash.Hash `json:"sha256"`
	Root    piecehash.Root `json:"root"`
	From    fetch.From     `json:"from"`
	Waste   int64          `json:"waste"`
	Ahead   bool           `json:"ahead"`
	Served  int64          `json:"served"`
	Sent    int64          `json:"sent"`
	Error   string         `json:"error"`
	fetch.View

	At time.Time `json:"-"` // when it was read
}

// Process is one dunlin that prints events. Its methods belong to the test's goroutine.
type Process struct {
	Cmd    *exec.Cmd
	Seen   []Event    // what the methods have taken in so far
	Stderr lab.Output // what it says beside the events

	t      *testing.T
	events chan Event // closed at the end of its output
}

// Start runs the command under test. It is killed when the test ends, if it has not ended before.
func (p *Programs) Start(t *testing.T, args ...string) *Process {
	t.Helper()
	r := &Process{t: t, Cmd: exec.Command(p.Path, args...), events: make(chan Event, 1<<16)}
	r.Cmd.Stderr = &r.Stderr
	out, err := r.Cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go r.read(out)
	t.Cleanup(func() { r.Cmd.Process.Kill() })
	return r
}

func (p *Process) read(out io.Reader) {
	defer close(p.events)
	for s := bufio.NewScanner(out); s.Scan(); {
		var e Event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			p.t.Errorf("output %q: %v", s.Text(), err)
		}
		e.At = time.Now()
		p.events <- e
	}
}

// Await returns the next event that ok likes.
func (p *Process) Await(what string, ok func(Event) bool) Event {
	p.t.Helper()
	late := time.After(patience)
	for {
		select {
		case e, more := <-p.events:
			if !more {
				p.t.Fatalf("no %s; it said %+v\n%s", what, p.Seen, p.Stderr.String())
			}
			p.Seen = append(p.Seen, e)
			if ok(e) {
				return e
			}
		case <-late:
			p.t.Fatalf("no %s in time; it said %+v\n%s", what, p.Seen, p.Stderr.String())
		}
	}
}

// AwaitEvent returns the next event of that name.
func (p *Process) AwaitEvent(name string) Event {
	p.t.Helper()
	return p.Await(name, func(e Event) bool { return e.Event == name })
}

// End waits for the exit and returns its code.
func (p *Process) End() int {
	p.t.Helper()
	late := time.AfterFunc(patience, func() { p.Cmd.Process.Kill() })
	defer late.Stop()
	for e := range p.events {
		p.Seen = append(p.Seen, e)
	}
	err := p.Cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return p.Cmd.ProcessState.ExitCode()
}

// Last is the newest event that was taken in; one with nothing in it, when it has said nothing.
func (p *Process) Last() Event {
	if len(p.Seen) == 0 {
		return Event{}
	}
	return p.Seen[len(p.Seen)-1]
}

// Stop ends it gently, which it must do well, and returns its last event.
func (p *Process) Stop() Event {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	code := p.End()
	if last := p.Last(); code != 0 || last.Event != "ended" {
		p.t.Errorf("exit code %d, last event %q\n%s", code, last.Event, p.Stderr.String())
	}
	return p.Last()
}

// Kill ends it in the middle of everything.
func (p *Process) Kill() {
	p.t.Helper()
	p.Signal(syscall.SIGKILL)
	p.End()
}

// Signal sends it a signal; one that has ended does not mind.
func (p *Process) Signal(s syscall.Signal) { _ = p.Cmd.Process.Signal(s) }
