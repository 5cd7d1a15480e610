package page_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/internal/demo"
	"github.com/dunlin-project/dunlin/swarm"
)

const (
	originRate = 3 << 20 // bytes per second of the publisher's line
	devices    = 3
	patience   = 120 * time.Second // how long a test waits for anything; no measure of speed
)

// site is a publisher, a depot, a cache node and devices, each a process of its own but for the publisher's web server.
type site struct {
	t      *testing.T
	bin    string
	dir    string
	origin string // host and port
	token  string
	group  string

	devices []*machine
	node    *machine
}

// machine is one device, or the node.
type machine struct {
	name, addr, dir, peer string
	page                  string // URL
}

func (m *machine) control() string { return filepath.Join(m.dir, "s") }

// newSite starts everything; nothing is published yet.
func newSite(t *testing.T) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "dunlin") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &site{t: t, bin: lab.Binary(t), dir: dir}
	s.write("passphrase", []byte("a passphrase for a test"))
	s.run("publish", "init", s.path("publisher"), "--name", "acme", "--work-factor", "12")
	s.serveOrigin()
	s.startDepot()
	for i := range devices {
		s.devices = append(s.devices, s.join(fmt.Sprintf("d%d", i+1), i+11))
	}
	for _, d := range s.devices {
		s.startAgent(d)
	}
	s.startNode()
	return s
}

func (s *site) path(elem ...string) string { return filepath.Join(append([]string{s.dir}, elem...)...) }

func (s *site) write(name string, b []byte) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), b, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// host is an address of this process's own, so that two runs of the test do not meet.
func host(n int) string {
	return fmt.Sprintf("127.%d.%d.%d", 192+os.Getpid()/250%32, 1+os.Getpid()%250, n)
}

func (s *site) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.bin, args...)
	cmd.Env = append(os.Environ(), "DUNLIN_PASSPHRASE_FILE="+s.path("passphrase"))
	return cmd
}

// run runs a command to its end and returns what it printed.
func (s *site) run(args ...string) string {
	s.t.Helper()
	cmd := s.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("dunlin %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}

// start starts a command that runs until the test ends, and returns the first line it prints that begins so.
func (s *site) start(begins string, args ...string) string {
	s.t.Helper()
	cmd := s.command(args...)
	var errs lab.Output
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		defer late.Stop()
		_ = cmd.Wait()
		if s.t.Failed() {
			said := errs.String()
			s.t.Logf("%s, at last:\n%s", args[0], said[max(0, len(said)-2000):])
		}
	})
	if begins == "" {
		go io.Copy(io.Discard, out)
		return ""
	}
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if strings.HasPrefix(line, begins) {
			go io.Copy(io.Discard, r)
			return line
		}
		if err != nil {
			s.t.Fatalf("dunlin %s never said %q\n%s", args[0], begins, errs.String())
		}
	}
}

func free(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (s *site) serveOrigin() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	up, down := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(down)
		err := demo.ServeOrigin(ctx, demo.OriginConfig{
			Listen: net.JoinHostPort(host(2), "0"), Root: s.path("publisher", "public"), Rate: originRate, AccessLog: s.path("origin.log"),
		}, func(addr string) { up <- addr })
		if err != nil {
			s.t.Errorf("origin: %v", err)
			close(up)
		}
	}()
	s.origin = <-up
	s.t.Cleanup(func() { cancel(); <-down })
}

func (s *site) startDepot() {
	s.t.Helper()
	depot := s.path("depot")
	s.run("depot", "init", "--dir", depot, "--host", host(1), "--listen", free(s.t, host(1)), "--content-listen", free(s.t, host(1)),
		"--origin", "http://"+s.origin, "--trust", s.path("publisher", "publisher.trust"))
	s.start("", "depot", "serve", "--dir", depot)
	s.wait("the depot", func() bool {
		out, err := s.command("depot", "token", "create", "--dir", depot, "--ring", "pilot", "--file", s.path("token")).CombinedOutput()
		return err == nil && len(out) >= 0
	})
	s.token = s.path("token")
}

func (s *site) wait(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ok() {
			return
		}
	}
	s.t.Fatalf("%s: not in time", what)
}

func (s *site) machine(name string, n int) *machine {
	s.t.Helper()
	m := &machine{name: name, addr: host(n), dir: s.path(name)}
	key, err := agent.DeviceKey(m.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	id, err := swarm.PeerID(key)
	if err != nil {
		s.t.Fatal(err)
	}
	m.peer = fmt.Sprintf("/ip4/%s/tcp/7680/p2p/%s", m.addr, id)
	return m
}

func (s *site) join(name string, n int) *machine {
	s.t.Helper()
	m := s.machine(name, n)
	s.run("join", s.token, "--config", filepath.Join(m.dir, "agent.yaml"), "--state-dir", m.dir)
	return m
}

func (s *site) startAgent(m *machine) {
	s.t.Helper()
	args := []string{
		"agent", "run", "--config", filepath.Join(m.dir, "agent.yaml"), "--listen", m.addr + ":7680", "--root", s.path("root-" + m.name),
		"--interval", "2s", "--control", m.control(), "--metrics", "off", "--page", "127.0.0.1:0",
	}
	if err := os.Mkdir(s.path("root-"+m.name), 0o700); err != nil {
		s.t.Fatal(err)
	}
	for _, other := range s.devices {
		if other != m {
			args = append(args, "--peer", other.peer)
		}
	}
	s.start("", args...)
	s.wait(m.name, func() bool {
		st := s.status(m)
		m.page, s.group = st.Page, st.Group
		return st.Page != "" && st.Group != ""
	})
}

func (s *site) status(m *machine) (st agent.Status) {
	out, err := s.command("status", "--json", "--control", m.control()).Output()
	if err == nil {
		err = json.Unmarshal(out, &st)
	}
	if err != nil {
		return agent.Status{} // it is only just starting
	}
	return st
}

func (s *site) startNode() {
	s.t.Helper()
	if err := os.Mkdir(s.path("torrents"), 0o700); err != nil {
		s.t.Fatal(err)
	}
	m := s.machine("node", 3)
	args := []string{
		"cache", "run", "--json", "--dir", m.dir, "--listen", m.addr + ":7680", "--http", m.addr + ":7681", "--page", "127.0.0.1:0",
		"--content", s.path("torrents"), "--prefetch", "--group", s.group, "--reserve", "1M",
	}
	for _, d := range s.devices {
		args = append(args, "--peer", d.peer)
	}
	var e struct{ Page string }
	if err := json.Unmarshal([]byte(s.start(`{"event":"listening"`, args...)), &e); err != nil || e.Page == "" {
		s.t.Fatalf("the node does not say where its page is: %v", err)
	}
	m.page = e.Page
	s.node = m
}

// publish makes an update of n random bytes, and gives it to the devices if it is approved. The node is told of it first.
func (s *site) publish(id, version, title string, n int, approve bool) {
	s.t.Helper()
	b := make([]byte, n)
	seed := sha256.Sum256([]byte(id + version))
	_, _ = rand.NewChaCha8(seed).Read(b)
	name := id + "-" + version + ".bin"
	s.write(name, b)
	var h struct{ Root string }
	if err := json.Unmarshal([]byte(s.run("hash", "--json", "-o", s.path(name+".torrent"), s.path(name))), &h); err != nil {
		s.t.Fatal(err)
	}
	s.run("hash", "-o", s.path("torrents", name+".torrent"), "--url", "http://"+s.origin+"/content/"+h.Root, s.path(name))
	s.run("publish", "add", s.path("publisher"), s.path(name), "--id", id, "--version", version, "--title", title, "--handler", "file",
		"--dest", "/opt/"+id, "--release")
	if approve {
		s.run("depot", "approve", "--dir", s.path("depot"), "--ring", "pilot", "acme/"+id+"@"+version)
	} else {
		s.run("depot", "sync", "--dir", s.path("depot"))
	}
}

// installed waits until every device has an update.
func (s *site) installed(id, version string) {
	s.t.Helper()
	for _, d := range s.devices {
		s.wait(d.name+" installs "+id, func() bool {
			for _, u := range s.status(d).Updates {
				if u.ID == id && u.Version == version {
					return u.State == agent.StateInstalled
				}
			}
			return false
		})
	}
}
