package agent

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// serving runs the control socket of an agent that has a status, until the test ends.
func serving(t *testing.T) (a *Agent, socket string) {
	t.Helper()
	// The path of a socket is short; that of a test's folder may not be.
	dir, err := os.MkdirTemp("", "dunlin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	a = &Agent{cfg: Config{Control: filepath.Join(dir, "sub", "agent.sock")}}
	a.board.change(func(s *Status) { s.Device, s.Running = "d1", true })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.serveControl(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	for range 200 {
		if _, err := AskStatus(t.Context(), a.cfg.Control); err == nil {
			return a, a.cfg.Control
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nobody answers")
	return nil, ""
}

func TestControlAnswersItsOwner(t *testing.T) {
	t.Parallel()
	_, socket := serving(t)
	s, err := AskStatus(t.Context(), socket)
	if err != nil || s.Device != "d1" || !s.Running || s.At.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != socketMode {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestControlKnowsOnlyItsOwnWords(t *testing.T) {
	t.Parallel()
	_, socket := serving(t)
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", socket)
	}}
	for line, want := range map[string]int{
		"GET /v1/status": 200, "GET /": 404, "POST /v1/status": 405, "GET /v1/status/x": 404, "DELETE /v1/status": 405,
	} {
		method, path, _ := strings.Cut(line, " ")
		req, err := http.NewRequestWithContext(t.Context(), method, "http://agent"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", line, res.StatusCode, want)
		}
	}
}

// TestControlRefusesOtherUsers connects as another user, which only root can arrange.
func TestControlRefusesOtherUsers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	_, socket := serving(t)
	// Even when the modes of files let everybody in.
	for _, p := range []string{socket, filepath.Dir(socket), filepath.Dir(filepath.Dir(socket))} {
		if err := os.Chmod(p, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestAskAsSomebodyElse$", "-test.v")
	cmd.Env = []string{"DUNLIN_TEST_SOCKET=" + socket}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if os.IsPermission(err) {
		t.Skip("the test binary lies where the other user may not read")
	}
	if err != nil || !strings.Contains(string(out), "refused as it should be") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestAskAsSomebodyElse is the other process of TestControlRefusesOtherUsers.
func TestAskAsSomebodyElse(t *testing.T) {
	t.Parallel()
	socket := os.Getenv("DUNLIN_TEST_SOCKET")
	if socket == "" {
		t.Skip("only for another test")
	}
	_, err := AskStatus(t.Context(), socket)
	if !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
		t.Fatalf("%v", err)
	}
	t.Log("refused as it should be")
}

func TestAnAnsweredSocketIsNotTaken(t *testing.T) {
	t.Parallel()
	a, socket := serving(t)
	other := &Agent{cfg: a.cfg}
	if err := other.serveControl(t.Context()); !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
		t.Errorf("%v", err)
	}
	if _, err := AskStatus(t.Context(), socket); err != nil {
		t.Errorf("the first agent lost its socket: %v", err)
	}
}

func TestADeadAgentsSocketIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	again, err := listenUnix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	// What is no socket is not ours to remove.
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(t.Context(), path); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Error("a file was removed")
	}
}

func TestAskStatusOfNobody(t *testing.T) {
	t.Parallel()
	if _, err := AskStatus(t.Context(), filepath.Join(t.TempDir(), "none")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
}

func TestAskStatusBoundsTheAnswer(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"endless": "HTTP/1.1 200 OK\r\n\r\n{\"device\":\"" + strings.Repeat("x", maxStatus+1),
		"garbage": "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhtml",
		"error":   "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
		"nothing": "",
	} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			var b [4096]byte
			_, _ = c.Read(b[:])
			_, _ = c.Write([]byte(answer))
		}()
		if _, err := AskStatus(t.Context(), path); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
		l.Close()
	}
}

// TestStatusKeepsItsForm: programs read it.
func TestStatusKeepsItsForm(t *testing.T) {
	t.Parallel()
	b, err := json.MarshalIndent(exampleStatus(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "status.golden.json", append(b, '\n'))
}
