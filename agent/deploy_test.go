package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/install"
)

// TestUnits: systemd understands the units, and they agree with the defaults of the code.
func TestUnits(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "deploy", "systemd")
	agent, err := os.ReadFile(filepath.Join(dir, "dunlin-agent.service"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"ExecStart=/usr/bin/dunlin agent run\n",
		"ConditionPathExists=" + DefaultConfigFile + "\n",
		"StateDirectory=" + strings.TrimPrefix(DefaultStateDir, "/var/lib/") + "\nStateDirectoryMode=0700\n",
		"RuntimeDirectory=" + strings.TrimPrefix(filepath.Dir(DefaultControl), "/run/") + "\n",
	} {
		if !strings.Contains(string(agent), line) {
			t.Errorf("the agent's unit has no line %q", line)
		}
	}
	if stop := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+s)$`).FindSubmatch(agent); stop == nil {
		t.Error("the agent's unit does not bound its stop")
	} else if d, err := time.ParseDuration(string(stop[1])); err != nil || d < install.DefaultGrace+10*time.Second {
		t.Errorf("the agent's unit gives %v to stop, a program that runs may take %v", d, install.DefaultGrace)
	}
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not there")
	}
	units, err := filepath.Glob(filepath.Join(dir, "*.service"))
	timers, err2 := filepath.Glob(filepath.Join(dir, "*.timer"))
	units = append(units, timers...) // after the services that they start
	if err != nil || err2 != nil || len(units) != 5 {
		t.Fatalf("%v %v %v", units, err, err2)
	}
	// verify wants the program to be there.
	tmp := t.TempDir()
	for _, u := range units {
		b, err := os.ReadFile(u)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(b), "/usr/bin/dunlin", "/bin/true")
		path := filepath.Join(tmp, strings.Replace(filepath.Base(u), "@.", "@acme.", 1))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), tool, "verify", path).CombinedOutput(); err != nil || strings.Contains(string(out), filepath.Base(path)) {
			t.Errorf("%s: %v\n%s", u, err, out)
		}
	}
}
