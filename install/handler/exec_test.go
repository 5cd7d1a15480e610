package handler_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/install/handler"
	"github.com/dunlin-project/dunlin/install/installtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

func asExec(args ...string) func(string, *metadata.Update) {
	return func(_ string, u *metadata.Update) {
		u.Handler, u.Destination, u.Arguments = metadata.HandlerExec, "", args
	}
}

func TestExecRunsWhatWasSigned(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out")
	b, err := install(t, []byte("#!/bin/sh\nout=$1; shift; { printf '%s|' \"$@\"; env | sort; } > \"$out\"\n"),
		asExec(out, "--silent", "two words", "$(reboot)", "; rm -rf /", ""))
	must(t, err)
	args, env, _ := strings.Cut(content(t, out), "||")
	if args != "--silent|two words|$(reboot)|; rm -rf /" {
		t.Errorf("arguments %q", args)
	}
	for _, want := range []string{"DUNLIN_ID=app\n", "DUNLIN_PUBLISHER=acme\n", "DUNLIN_VERSION=1.0\n", "HOME=/\n", "PATH=/usr"} {
		if !strings.Contains(env, want) {
			t.Errorf("%q is not in the environment", want)
		}
	}
	if strings.Contains(env, "GO") || strings.Contains(env, "DUNLIN_TEST") {
		t.Errorf("it has our environment: %s", env)
	}
	if i := b.Item(); i.Version != "1.0" || !i.Present {
		t.Errorf("%+v", i)
	}
}

func TestExecOfABinary(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("touch")
	must(t, err)
	binary, err := os.ReadFile(path)
	must(t, err)
	made := filepath.Join(t.TempDir(), "made")
	_, err = install(t, binary, asExec(made))
	must(t, err)
	if _, err := os.Stat(made); err != nil {
		t.Error(err)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code            string
		success, reboot []int
		want            fault.Kind
		wantReboot      bool
	}{
		"0":                        {"0", nil, nil, 0, false},
		"1":                        {"1", nil, nil, fault.Install, false},
		"0 is none of the signed":  {"0", []int{3}, nil, fault.Install, false},
		"3 is":                     {"3", []int{0, 3}, nil, 0, false},
		"reboot":                   {"194", nil, []int{194}, 0, true},
		"0 when others say reboot": {"0", nil, []int{194}, 0, false},
		"both":                     {"0", []int{0}, []int{0}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := installtest.New(t, handler.All())
			payload := []byte("#!/bin/sh\necho saying something; exit " + c.code + "\n")
			u := b.Release("1.0", 1, payload, func(u *metadata.Update) {
				asExec()("", u)
				u.Success, u.Reboot = c.success, c.reboot
			})
			o, err := b.Install(t.Context(), u, payload)
			if fault.Of(err) != c.want || o.Reboot != c.wantReboot || b.Item().Reboot != c.wantReboot {
				t.Fatalf("%+v, %v: %v", o, fault.Of(err), err)
			}
			if err == nil && o.Output != "saying something\n" || err != nil && !strings.Contains(err.Error(), "saying something") {
				t.Errorf("output %q, error %v", o.Output, err)
			}
		})
	}
}

func TestExecFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		payload string
		why     string
	}{
		"no program":  {"neither ELF nor script", "exec format"},
		"no such one": {"#!/no/such/interpreter\n", "no such file"},
		"hangs":       {"#!/bin/sh\necho begun; sleep 1000\n", "time was up"},
		"forks":       {"#!/bin/sh\nfor i in 1 2 3; do sleep 1000 & done; exit 9\n", "exit code 9"},
		"a signal":    {"#!/bin/sh\nkill -SEGV $$\n", "segmentation fault"},
		"chatty":      {"#!/bin/sh\nhead -c 50000000 /dev/zero | tr '\\0' y; exit 1\n", "yyy"},
		"escapes":     {"#!/bin/sh\nprintf '\\033[2J\\n'; exit 1\n", `\x1b[2J\n`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := install(t, []byte(c.payload), func(root string, u *metadata.Update) {
				asExec()(root, u)
				u.Timeout = 2
			})
			if !fault.Is(err, fault.Install) || !strings.Contains(err.Error(), c.why) || len(err.Error()) > 3000 {
				t.Errorf("%v: %.500v", fault.Of(err), err)
			}
			if b.Item().Version != "" {
				t.Error("the inventory has it")
			}
		})
	}
}

// TestAProgramMayEndWhenTheAgentStops: what it did cannot be taken back, so it comes to its end, if that is soon.
func TestAProgramMayEndWhenTheAgentStops(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		grace time.Duration
		ends  bool
	}{"soon": {time.Minute, true}, "not soon": {50 * time.Millisecond, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := installtest.New(t, handler.All())
			b.Config.Grace = c.grace
			b.Restart()
			dir := t.TempDir()
			begun, goOn := filepath.Join(dir, "begun"), filepath.Join(dir, "go-on")
			payload := []byte("#!/bin/sh\n: > " + begun + "\nwhile ! test -e " + goOn + "; do sleep 0.05; done\n")
			u := b.Release("1.0", 1, payload, func(u *metadata.Update) {
				asExec()("", u)
				u.Health = &metadata.HealthCheck{Command: []string{"/bin/sh", "-c", "sleep 0.1"}}
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				for {
					if _, err := os.Stat(begun); err == nil || t.Context().Err() != nil {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
				cancel()
				if c.ends {
					time.Sleep(200 * time.Millisecond)
					_ = os.WriteFile(goOn, nil, 0o600)
				}
			}()
			_, err := b.Install(ctx, u, payload)
			if c.ends && err != nil || !c.ends && !fault.Is(err, fault.Unavailable) {
				t.Errorf("%v: %v", fault.Of(err), err)
			}
			if (b.Item().Version == "1.0") != c.ends {
				t.Errorf("the inventory has %+v", b.Item())
			}
		})
	}
}

// TestProgramsRunOnlyWhenTheyAreWhole: a program whose payload was tampered with never begins.
func TestProgramsRunOnlyWhenTheyAreWhole(t *testing.T) {
	t.Parallel()
	b := installtest.New(t, handler.All())
	out := filepath.Join(t.TempDir(), "ran")
	payload := []byte("#!/bin/sh\ntouch " + out + "\n")
	u := b.Release("1.0", 1, payload, func(u *metadata.Update) { asExec()("", u) })
	bad := []byte(strings.Replace(string(payload), "sh\n", "sh ", 1))
	if _, err := b.Install(t.Context(), u, bad); !fault.Is(err, fault.Untrusted) {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("it ran")
	}
}
