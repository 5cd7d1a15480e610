// Package lab builds small networks for tests: hosts that are network namespaces of this machine, on a bridge of their
// own, with real links between them and no way out. It needs root and iproute2, and it removes what it made.
//
// It trusts the machine it runs on and nothing else. Start reading at New.
package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Lab is one switch with hosts on it.
type Lab struct {
	t      testing.TB
	prefix string
	sw     string
	net    int // the third byte of all addresses
	hosts  int
}

// Host is one machine of the lab.
type Host struct {
	lab  *Lab
	ns   string
	Name string
	Addr string // IPv4, without the prefix length

	port   string // of the switch, at the other end of its first link
	feet   int    // links it has
	holder int    // process that holds the host's own view of the file system; 0 = it has none
}

// Options shapes the links.
type Options struct {
	// Rate of each link in both directions, as tc writes it ("1gbit"); empty = unshaped.
	Rate string
	// Multicast off makes discovery impossible.
	NoMulticast bool
}

// Need skips the test unless it was asked for (DUNLIN_E2E=1, as "make e2e" does), runs as root and finds the tools. When it
// was asked for with CI=true, a lack is a failure: what CI does not run nobody knows to work.
func Need(t testing.TB, tools ...string) {
	t.Helper()
	if os.Getenv("DUNLIN_E2E") != "1" {
		t.Skip("runs with make e2e")
	}
	missing := ""
	if os.Getuid() != 0 {
		missing = "root"
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing += " " + tool
		}
	}
	if missing == "" {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s", missing)
	}
	t.Skipf("needs %s", missing)
}

// number keeps the names of labs apart that one test process makes.
type number struct{ n atomic.Int32 }

// Maker makes labs. The zero value is ready; a test package has one.
type Maker struct{ last number }

// New builds an empty lab; it is torn down when the test ends. Its addresses are 10.77.0.0/24.
func (m *Maker) New(t testing.TB) *Lab { return m.NewNet(t, 0) }

// NewNet is New with the addresses 10.77.net.0/24, for several labs that are joined (Join).
func (m *Maker) NewNet(t testing.TB, net int) *Lab {
	t.Helper()
	Need(t, "ip", "tc")
	l := &Lab{t: t, prefix: fmt.Sprintf("d%x-%x", os.Getpid()&0xffff, m.last.n.Add(1)), net: net}
	l.sw = l.prefix + "sw"
	l.must("ip", "netns", "add", l.sw)
	t.Cleanup(func() { l.remove(l.sw) })
	l.in(l.sw, "ip", "link", "set", "lo", "up")
	// Without this the bridge drops multicast that nobody has subscribed to by IGMP, and with it discovery.
	l.in(l.sw, "ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
	l.in(l.sw, "ip", "link", "set", "br0", "up")
	return l
}

// Host adds a machine: address 10.77.net.N/24, a route for multicast, a link to the switch.
func (l *Lab) Host(o Options) *Host {
	l.t.Helper()
	n := l.hosts + 1
	h := &Host{lab: l, ns: fmt.Sprintf("%sh%d", l.prefix, n), Name: fmt.Sprintf("h%d", n)}
	if l.net != 0 {
		h.Name = fmt.Sprintf("n%dh%d", l.net, n)
	}
	l.must("ip", "netns", "add", h.ns)
	l.t.Cleanup(func() { l.remove(h.ns) })
	l.in(h.ns, "ip", "link", "set", "lo", "up")
	h.Addr, h.port = l.link(h, o)
	return h
}

// Join gives a host of another lab a link to this one too, and returns its address here.
func (l *Lab) Join(h *Host, o Options) (addr string) {
	l.t.Helper()
	addr, _ = l.link(h, o)
	return addr
}

// link connects a host to the switch.
func (l *Lab) link(h *Host, o Options) (addr, port string) {
	l.t.Helper()
	l.hosts++
	addr, port = fmt.Sprintf("10.77.%d.%d", l.net, 10+l.hosts), fmt.Sprintf("p%d", l.hosts)
	dev := fmt.Sprintf("eth%d", h.feet)
	h.feet++
	l.in(l.sw, "ip", "link", "add", port, "type", "veth", "peer", "name", dev, "netns", h.ns)
	l.in(l.sw, "ip", "link", "set", port, "master", "br0", "up")
	l.in(h.ns, "ip", "addr", "add", addr+"/24", "dev", dev)
	l.in(h.ns, "ip", "link", "set", dev, "up")
	if !o.NoMulticast {
		l.in(h.ns, "ip", "route", "append", "224.0.0.0/4", "dev", dev)
	}
	if o.Rate != "" {
		l.in(h.ns, shape(dev, o.Rate)...)
		l.in(l.sw, shape(port, o.Rate)...)
	}
	return addr, port
}

// Command returns a command that runs on the host; it ends with ctx by SIGTERM, five seconds later by SIGKILL.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.ns, name}, args...)...)
	if h.holder != 0 {
		enter := []string{"--net", "--mount", "--target", strconv.Itoa(h.holder), name}
		cmd = exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Start starts a command that runs until the test ends, and returns what it prints. It is stopped and waited for before
// the lab is torn down.
func (h *Host) Start(t testing.TB, env []string, name string, args ...string) *Output {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := h.Command(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	out := &Output{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatalf("start %s on %s: %v", name, h.Name, err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s on %s printed:\n%s", filepath.Base(name), h.Name, out.String())
		}
	})
	return out
}

// Run runs a command on the host to its end and returns what it printed.
func (h *Host) Run(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := h.Command(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// ownFiles gives a host its own /etc, /var, /opt, /srv, /usr/local, /root, /run and /tmp. What it writes there goes to memory and
// is gone with the host. $1 is an empty folder.
const ownFiles = `set -e
mount -t tmpfs tmpfs "$1"
for d in etc var opt srv usr/local root; do
  mkdir -p "$1/$d/up" "$1/$d/work"
  mount -t overlay overlay -o "lowerdir=/$d,upperdir=$1/$d/up,workdir=$1/$d/work" "/$d"
done
mount -t tmpfs tmpfs /run
echo ready
exec sleep infinity`

// OwnFiles gives the host a view of the file system in which what it writes below the usual folders is its own, so that
// several hosts can be set up by the book. files are copied into it, by path.
func (h *Host) OwnFiles(t testing.TB, files map[string]string) {
	t.Helper()
	Need(t, "nsenter", "unshare")
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := h.Command(ctx, "unshare", "--mount", "--propagation", "private", "bash", "-c", ownFiles, "bash", dir)
	out := &Output{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatalf("give %s its own files: %v", h.Name, err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	out.Wait(t, "ready", 5*time.Second)
	h.holder = cmd.Process.Pid
	for to, from := range files {
		if _, err := h.Run(ctx, nil, "install", "-D", "-m", "0755", from, to); err != nil {
			t.Fatalf("copy %s to %s: %v", from, h.Name, err)
		}
	}
}

// Knows tells the host the address of a name, as a line of /etc/hosts. It needs OwnFiles.
func (h *Host) Knows(t testing.TB, name, addr string) {
	t.Helper()
	if out, err := h.Run(t.Context(), nil, "sh", "-c", `echo "$1 $2" >> /etc/hosts`, "sh", addr, name); err != nil || h.holder == 0 {
		t.Fatalf("tell %s of %s: %v\n%s", h.Name, name, err, out)
	}
}

// Dir returns the build of the project under test: the folder that holds go.mod.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil {
		if _, e := os.Stat(filepath.Join(dir, "go.mod")); e == nil {
			return dir
		}
		if up := filepath.Dir(dir); up != dir {
			dir = up
			continue
		}
		err = errors.New("no go.mod above the test")
	}
	t.Fatal(err)
	return ""
}

// Binary builds the command into a folder of the test and returns its path; DUNLIN_BINARY names another one to test.
func Binary(t testing.TB) string {
	t.Helper()
	if bin := os.Getenv("DUNLIN_BINARY"); bin != "" {
		return bin
	}
	bin := filepath.Join(t.TempDir(), "dunlin")
	// The flags are those of the Makefile, so that the build cache serves both.
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin, "./cmd/dunlin")
	cmd.Dir = Dir(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

func (l *Lab) in(ns string, args ...string) {
	l.t.Helper()
	l.must("ip", append([]string{"netns", "exec", ns}, args...)...)
}

func (l *Lab) must(name string, args ...string) {
	l.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// remove ends what still runs in a namespace and deletes it.
func (l *Lab) remove(ns string) {
	if out, err := exec.Command("ip", "netns", "pids", ns).Output(); err == nil {
		for _, pid := range strings.Fields(string(out)) {
			_ = exec.Command("kill", "-9", pid).Run()
		}
	}
	if out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput(); err != nil {
		l.t.Errorf("remove namespace %s: %v\n%s", ns, err, out)
	}
}
