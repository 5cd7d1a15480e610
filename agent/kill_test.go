package agent

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestKilledInTheMiddleOfADownload: after kill -9 the verified pieces are there, though nothing had marked them yet, and
// are not fetched again.
func TestKilledInTheMiddleOfADownload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := payload(1, 400_000)
	w.offer("app", "1.0", 1, app)
	d := w.device(nil)
	const cut = 200_000
	stuck := make(chan struct{}, 1)
	w.origin.misbehave(w.origin.stallAt(cut, func() {
		select {
		case stuck <- struct{}{}:
		default:
		}
	}))
	child := d.process(t)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	<-stuck
	partial := filepath.Join(stateDir(d.cfg.StateDir).content(), "partial")
	for range 500 { // until the last whole piece is in the file
		if written(partial) >= cut/metadataPiece*metadataPiece {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	w.origin.misbehave(nil)
	w.origin.bytes()
	s := d.must(0)
	d.has("app", app)
	if got, most := w.origin.bytes(), int64(len(app)-cut+metadataPiece); got > most {
		t.Errorf("%d bytes were fetched, at most %d were missing", got, most)
	}
	if e := entry(t, s, "app", "1.0"); e.Transfer.Resumed < cut-metadataPiece {
		t.Errorf("%+v", e.Transfer)
	}
}

// written returns where the data of the first partial file ends, as far as it is not zero.
func written(dir string) int {
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, f := range files {
		if filepath.Ext(f.Name()) != "" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return 0
		}
		end := len(b)
		for end > 0 && b[end-1] == 0 {
			end--
		}
		return end
	}
	return 0
}

const childEnv = "DUNLIN_TEST_AGENT"

// process returns a command that runs one cycle of the device in a process of its own.
func (d *testDevice) process(t *testing.T) *exec.Cmd {
	t.Helper()
	cfg, err := json.Marshal(d.cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAgentProcess$")
	cmd.Env = append(os.Environ(), childEnv+"="+string(cfg))
	return cmd
}

// TestAgentProcess is the other process of TestKilledInTheMiddleOfADownload.
func TestAgentProcess(t *testing.T) {
	t.Parallel()
	text := os.Getenv(childEnv)
	if text == "" {
		t.Skip("only for another test")
	}
	var cfg Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		t.Fatal(err)
	}
	a, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
}
