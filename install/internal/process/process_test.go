package process_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/install/internal/process"
)

func shell(script string, args ...string) process.Command {
	return process.Command{Path: "/bin/sh", Args: append([]string{"sh", "-c", script, "sh"}, args...), Dir: "/", Timeout: time.Minute}
}

func run(t *testing.T, c process.Command) process.Result {
	t.Helper()
	r, err := process.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRun(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]process.Result{
		"exit 0":                     {},
		"exit 3":                     {Code: 3},
		"echo out; echo err >&2":     {Output: "out\nerr\n", Printed: 8},
		"kill -9 $$":                 {Code: -1, Signal: "killed"},
		`printf "%s|" "$@"`:          {Output: "a b|$(reboot)|;|*|", Printed: 18},
		"cat; echo no input":         {Output: "no input\n", Printed: 9},
		`printf "\377"`:              {Output: "?", Printed: 1},
		"echo $HOME $LANG $SHELL-$X": {Output: "/ C.UTF-8 -y\n", Printed: 13},
		"pwd; for f in /proc/$$/fd/*; do echo ${f##*/}; done": {Output: "/\n0\n1\n2\n3\n", Printed: 10}, // 3 is the shell's, looking
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			c := shell(script, "a b", "$(reboot)", ";", "*")
			c.Env = []string{"X=y"}
			if got := run(t, c); got != want {
				t.Errorf("got %#v, want %#v", got, want)
			}
		})
	}
}

func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	r := run(t, shell("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end"))
	if r.Printed != 3_000_009 || len(r.Output) != process.MaxOutput || !strings.HasSuffix(r.Output, "x\nthe end\n") {
		t.Errorf("%d bytes printed, %d kept, ending in %q", r.Printed, len(r.Output), r.Output[max(0, len(r.Output)-20):])
	}
}

func TestProgramByDescriptor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho \"$@\"; wc -c < /proc/self/fd/3\n"), 0o500); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(path); err != nil { // it has no name any more
		t.Fatal(err)
	}
	r := run(t, process.Command{Program: f, Args: []string{"app", "--flag", "two words"}, Dir: "/", Timeout: time.Minute})
	if r.Output != "--flag two words\n45\n" {
		t.Errorf("%+v", r)
	}
}

func TestTimeIsUp(t *testing.T) {
	t.Parallel()
	c := shell("echo begun; sleep 1000")
	c.Timeout = 200 * time.Millisecond
	if r := run(t, c); !r.TimedOut || r.Output != "begun\n" || r.String() != "its time was up" {
		t.Errorf("%+v", r)
	}
}

func TestItIsStopped(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	r, err := process.Run(ctx, shell("echo begun; sleep 1000"))
	if !errors.Is(err, context.Canceled) || r.Output != "begun\n" {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestNothingIsLeft looks for children that outlive the program: one that was forked and forgotten, and one that holds
// on to the output and does not listen to polite requests.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"it ends by itself":     "(trap '' TERM; sleep 1000) & echo $!",
		"it has to be stopped":  "(trap '' TERM; sleep 1000) & echo $!; sleep 1000",
		"it refuses to be told": "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 1; done",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := shell(script)
			c.Timeout = time.Second
			r := run(t, c)
			pid := strings.TrimSpace(r.Output)
			for range 100 {
				if state := stateOf(pid); state == "" || state == "Z" {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
			t.Errorf("process %q lives on: %+v", pid, r)
		})
	}
}

// stateOf returns the state of a process, "" when there is none.
func stateOf(pid string) string {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return ""
	}
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))[0]
}

func TestItCannotBeStarted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("neither ELF nor script"), 0o500); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]process.Command{
		"not there":   {Path: "/no/such/program", Args: []string{"x"}, Timeout: time.Second},
		"no program":  {Path: path, Args: []string{"x"}, Timeout: time.Second},
		"no such dir": {Path: "/bin/true", Args: []string{"x"}, Dir: "/no/such", Timeout: time.Second},
	} {
		if r, err := process.Run(t.Context(), c); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
