package depot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

func TestCommandsGoOverTheSocketWhileAServerRuns(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.release(t, "app", "1.0", 1, randomBytes(100_000), nil)
	d := newServedDepot(t, v)
	c := Config{Dir: string(d.at)}
	var steps []string
	ask := func(r *Request) (*Response, error) {
		return Ask(t.Context(), c, r, func(p Progress) { steps = append(steps, p.Step) })
	}
	for _, running := range []bool{false, true} {
		if running {
			serve(t, d, ServeConfig{SyncEvery: -1})
			hideFolder(t, d) // nothing but the server can do it now
		}
		steps = nil
		r, err := ask(&Request{Approve: &ApproveRequest{Update: "acme/app@1.0", Rings: []string{"pilot"}}})
		if err != nil || len(r.Approve.Approved) != 1 {
			t.Fatalf("running %v: %+v %v", running, r, err)
		}
		if !slices.Contains(steps, "sync acme") {
			t.Errorf("running %v: steps %v", running, steps)
		}
		if r, err := ask(&Request{List: &ListRequest{}}); err != nil || len(r.List.Approved) != 1 {
			t.Errorf("running %v: %+v %v", running, r, err)
		}
		if r, err := ask(&Request{Publishers: &PublishersRequest{}}); err != nil || len(r.Publishers) != 1 || r.Publishers[0].Fingerprint != v.trust.Fingerprint() {
			t.Errorf("running %v: %+v %v", running, r, err)
		}
		if r, err := ask(&Request{Token: &TokenRequest{Ring: "broad"}}); err != nil || r.Token.Ring != "broad" {
			t.Errorf("running %v: %+v %v", running, r, err)
		}
		if r, err := ask(&Request{Sync: &SyncRequest{}}); err != nil || len(r.Sync.Catalogues) != 1 || r.Sync.Err() != nil {
			t.Errorf("running %v: %+v %v", running, r, err)
		}
		_, err = ask(&Request{Approve: &ApproveRequest{Update: "acme/app@9", Rings: []string{"pilot"}}})
		if !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "acme/app@1.0") {
			t.Errorf("running %v: %v (%s)", running, err, fault.Hint(err))
		}
		if r, err := ask(&Request{Unapprove: &UnapproveRequest{Update: "acme/app@1.0"}}); err != nil || len(r.Unapprove.Rings) != 1 {
			t.Errorf("running %v: %+v %v", running, r, err)
		}
	}
}

func hideFolder(t *testing.T, d *Depot) {
	t.Helper()
	if err := os.Rename(d.at.settings(), d.at.settings()+".away"); err != nil {
		t.Fatal(err)
	}
}

func TestAnInterruptedCommandInterruptsItsOperation(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.serve(t)
	v.release(t, "app", "1.0", 1, randomBytes(100_000), nil)
	d := newServedDepot(t, v)
	serve(t, d, ServeConfig{SyncEvery: -1})
	asked, gone := make(chan struct{}, 16), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	v.during(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		asked <- struct{}{}
		select {
		case <-r.Context().Done():
			close(gone)
		case <-time.After(30 * time.Second):
		}
	}, func() {
		ended := make(chan error, 1)
		go func() {
			_, err := Ask(ctx, Config{Dir: string(d.at)}, &Request{Sync: &SyncRequest{}}, nil)
			ended <- err
		}()
		<-asked
		cancel()
		if err := <-ended; err == nil {
			t.Error("it was not interrupted")
		}
		<-gone
	})
	if _, err := Ask(t.Context(), Config{Dir: string(d.at)}, &Request{Sync: &SyncRequest{}}, nil); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

func TestTheSocketRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	d := newServedDepot(t)
	ready, _ := serve(t, d, ServeConfig{SyncEvery: -1})
	info, err := os.Stat(ready.Socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	for name, c := range map[string]struct{ method, path, body, says string }{
		"get":       {"GET", adminPath, "", "404"},
		"path":      {"POST", "/v1/do/", "{}", "404"},
		"large":     {"POST", adminPath, strings.Repeat(" ", maxRequest+1), "400"},
		"empty":     {"POST", adminPath, "", `"kind":2`},
		"nothing":   {"POST", adminPath, "{}", `"kind":2`},
		"two":       {"POST", adminPath, `{"list":{},"sync":{}}`, `"kind":2`},
		"unknown":   {"POST", adminPath, `{"init":{}}`, `"kind":2`},
		"in it":     {"POST", adminPath, `{"list":{"x":1}}`, `"kind":2`},
		"trailing":  {"POST", adminPath, `{"list":{}}{}`, `"kind":2`},
		"no object": {"POST", adminPath, `[]`, `"kind":2`},
		"good":      {"POST", adminPath, `{"list":{}}`, `"done"`},
	} {
		conn, err := dialAdmin(t.Context(), d.at.socket())
		if err != nil || conn == nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: depot\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", c.method, c.path, len(c.body), c.body)
		b, _ := io.ReadAll(conn)
		conn.Close()
		if !bytes.Contains(b, []byte(c.says)) {
			t.Errorf("%s: %q", name, b)
		}
	}
}

func TestALeftOverSocketIsNoServer(t *testing.T) {
	t.Parallel()
	d := newServedDepot(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.at.socket(), Net: "unix"})
	if err != nil {
		t.Skip("the path is too long for this test")
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if r, err := Ask(t.Context(), Config{Dir: string(d.at)}, &Request{List: &ListRequest{}}, nil); err != nil || r.List == nil {
		t.Errorf("%+v %v", r, err)
	}
	_, stop := serve(t, d, ServeConfig{SyncEvery: -1})
	stop()
	if _, err := os.Stat(d.at.socket()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestASocketInADeepFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep", 20), strings.Repeat("deep", 20))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "admin.sock")
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("no /proc")
	}
	if c, err := dialAdmin(t.Context(), path); c != nil || err != nil {
		t.Errorf("nobody there: %v %v", c, err)
	}
	l, err := listenAdmin(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	}()
	c, err := dialAdmin(t.Context(), path)
	if err != nil || c == nil {
		t.Fatalf("%v %v", c, err)
	}
	defer c.Close()
	if uid, err := peerUser(c.(*net.UnixConn)); err != nil || uid != os.Geteuid() {
		t.Errorf("%d %v", uid, err)
	}
}

func TestPeerOfAnotherUserIsTurnedAway(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	dir := t.TempDir()
	l, err := listenAdmin(filepath.Join(dir, "s"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "in")
			c.Close()
		}
	}()
	// Nobody else can reach the socket through its modes; here they are opened to see the second lock.
	for path := dir; path != "/" && path != "/tmp"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Skip(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "s"), 0o666); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[int]string{65534: "", 0: "in"} {
		got, err := readAs(t, uid, filepath.Join(dir, "s"))
		if err != nil || got != want {
			t.Errorf("user %d: %q %v", uid, got, err)
		}
	}
}

func readAs(t *testing.T, uid int, socket string) (string, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	copied := filepath.Join(filepath.Dir(socket), "exe")
	b, err := os.ReadFile(exe)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(copied, b, 0o755); err != nil {
		return "", err
	}
	defer os.Remove(copied)
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	p, err := os.StartProcess(copied, []string{copied, "-test.run=^$"}, &os.ProcAttr{
		Dir: "/", Env: []string{"DUNLIN_TEST_READ_SOCKET=" + socket}, Files: []*os.File{nil, w, nil},
		Sys: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}},
	})
	w.Close()
	if err != nil {
		return "", err
	}
	out, err := io.ReadAll(r)
	_, waitErr := p.Wait()
	return string(out), errors.Join(err, waitErr)
}

func TestMain(m *testing.M) {
	if socket := os.Getenv("DUNLIN_TEST_READ_SOCKET"); socket != "" {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_, _ = io.Copy(os.Stdout, c)
		} else {
			fmt.Print(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
