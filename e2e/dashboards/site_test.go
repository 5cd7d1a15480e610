package dashboards_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/e2e/loop"
	"github.com/dunlin-project/dunlin/internal/demo"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm"
)

// programs are those of this package's tests.
var programs = loop.Programs{Net: 84}

func TestMain(m *testing.M) { os.Exit(programs.Main(m)) }

const (
	devices  = 3
	mib      = 1 << 20
	patience = 60 * time.Second // for anything that is waited for; it is no measure of speed
)

// site is everything around the devices of one site.
type site struct {
	t       *testing.T
	dir     string
	depot   string // address
	origin  *loop.Nginx
	folder  string   // of the node's metainfo files
	node    string   // host of the cache node
	nodeID  string   // where devices find it
	agents  []string // their hosts
	config  []string // of each agent
	content map[string][]byte
	running []*exec.Cmd // that draw from the origin
}

// newSite makes the publisher with its updates, and the depot; nothing is approved.
func newSite(t *testing.T) *site {
	t.Helper()
	lab.Need(t, "prometheus", "promtool")
	s := &site{t: t, dir: t.TempDir(), depot: programs.Loopback(), node: programs.Loopback(), content: make(map[string][]byte)}
	s.folder = s.path("torrents")
	if err := os.Mkdir(s.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	s.write("passphrase", []byte("a passphrase for a test"))
	s.run("publish", "init", s.path("publisher"), "--name", "acme", "--work-factor", "10")
	s.release("app", "app", 24*mib+77)
	s.release("driver", "driver", 12*mib)
	s.release("extra", "app", 8*mib)
	s.origin = programs.StartNginx(t, s.path("publisher", "public"), "4m")
	s.run("depot", "init", "--dir", s.path("depot"), "--host", s.depot, "--listen", s.depot+":8443", "--content-listen", s.depot+":8080",
		"--origin", strings.TrimSuffix(s.origin.URL(""), "/"), "--trust", s.path("publisher", "publisher.trust"), "--work-factor", "10")
	s.start("depot", "serve", "--dir", s.path("depot"), "--access-log", s.path("depot.log")).Wait(t, "dunlin join dunlin1.", patience)
	s.run("depot", "token", "create", "--dir", s.path("depot"), "--ring", "pilot", "--file", s.path("token"))
	return s
}

func (s *site) path(elem ...string) string { return filepath.Join(append([]string{s.dir}, elem...)...) }

func (s *site) write(name string, b []byte) string {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), b, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

func (s *site) command(args ...string) *exec.Cmd {
	cmd := exec.Command(programs.Path, args...)
	cmd.Env = append(os.Environ(), "DUNLIN_PASSPHRASE_FILE="+s.path("passphrase"))
	return cmd
}

// run runs a command to its end, which must be good.
func (s *site) run(args ...string) {
	s.t.Helper()
	if out, err := s.command(args...).CombinedOutput(); err != nil {
		s.t.Fatalf("dunlin %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// start starts a command that runs until the test ends.
func (s *site) start(args ...string) *lab.Output {
	s.t.Helper()
	return start(s.t, s.command(args...))
}

func start(t *testing.T, cmd *exec.Cmd) *lab.Output {
	t.Helper()
	out := new(lab.Output)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", strings.Join(cmd.Args, " "), tail(out.String()))
		}
	})
	return out
}

func tail(text string) string { return text[max(0, len(text)-4<<10):] }

// release publishes n random bytes as an update, and notes its metainfo file for the node.
func (s *site) release(id, kind string, n int) {
	s.t.Helper()
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(b)
	s.content[id] = b
	s.run("publish", "add", s.path("publisher"), s.write(id+".bin", b), "--id", id, "--version", "1.0", "--kind", kind,
		"--handler", "file", "--dest", "/opt/"+id, "--release")
}

// manifest is that of an update's content.
func (s *site) manifest(id string) *piecehash.Manifest {
	s.t.Helper()
	m, _, err := piecehash.Sum(s.t.Context(), bytes.NewReader(s.content[id]), 0)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// startNode starts a cache node that knows nothing yet.
func (s *site) startNode() {
	s.t.Helper()
	p := programs.Start(s.t, "cache", "run", "--json", "--dir", s.path("node"), "--content", s.folder, "--prefetch", "--reserve", "1M",
		"--listen", s.node+":7680", "--http", s.node+":7681", "--metrics", s.node+":9681")
	s.nodeID = p.AwaitEvent("listening").Addrs[0]
	s.running = append(s.running, p.Cmd)
}

// startAgents joins the devices and starts them. Loopback carries no multicast, so each is told of the others.
func (s *site) startAgents() {
	s.t.Helper()
	var peers []string
	for i := range devices {
		name := fmt.Sprintf("device-%d", i+1)
		host, config, state := programs.Loopback(), s.path(name+".yaml"), s.path(name)
		s.run("join", s.path("token"), "--config", config, "--state-dir", state)
		key, err := agent.DeviceKey(state)
		if err != nil {
			s.t.Fatal(err)
		}
		id, err := swarm.PeerID(key)
		if err != nil {
			s.t.Fatal(err)
		}
		peers = append(peers, fmt.Sprintf("/ip4/%s/tcp/7680/p2p/%s", host, id))
		s.agents, s.config = append(s.agents, host), append(s.config, config)
	}
	for i, host := range s.agents {
		args := []string{
			"agent", "run", "--config", s.config[i], "--listen", host + ":7680", "--root", s.path(fmt.Sprint("root-", i)), "--interval", "1s",
			"--group", swarm.DefaultGroup, "--control", "off", "--metrics", host + ":9680", "--peer", s.nodeID,
		}
		for j, p := range peers {
			if j != i {
				args = append(args, "--peer", p)
			}
		}
		cmd := s.command(args...)
		start(s.t, cmd)
		s.running = append(s.running, cmd)
	}
}

// tellNode lets the node know the content of an update, which it then prefetches.
func (s *site) tellNode(id string) {
	s.t.Helper()
	m := s.manifest(id)
	b, err := (&piecehash.Metainfo{Name: id, Manifest: m, URLs: []string{s.origin.URL("content/" + m.Root().String())}}).Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.write("new", b), filepath.Join(s.folder, id+".torrent")); err != nil {
		s.t.Fatal(err)
	}
}

// ask sends the node a request and returns the status and the body.
func (s *site) ask(method, path string, header ...string) (int, []byte) {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://"+s.node+":7681"+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, b
}

// takeByHTTP is what clients without an agent do: one asks for what the node is only just fetching, two for what it has fetched
// before anybody asked, one for what is not there; and a device that counts for itself.
func (s *site) takeByHTTP(p *server) {
	s.t.Helper()
	path := func(id string) string { return "/content/" + s.manifest(id).Root().String() }
	s.tellNode("app")
	s.tellNode("extra")
	until(s.t, "the node knows its folder", func() bool {
		code, _ := s.ask(http.MethodHead, path("extra"))
		return code == http.StatusOK
	})
	s.take("extra", path("extra"))
	p.awaits(fmt.Sprintf("dunlin_prefetched_bytes_total >= bool %d", len(s.content["app"])), 1)
	s.take("app", path("app"))
	s.take("app", path("app"))
	if code, b := s.ask(http.MethodGet, path("app"), "User-Agent", "dunlin/test", "Range", "bytes=0-999999"); code != http.StatusPartialContent || len(b) != 1000000 {
		s.t.Errorf("a range: %d with %d bytes", code, len(b))
	}
	if code, _ := s.ask(http.MethodGet, "/content/"+strings.Repeat("0", 64)); code != http.StatusNotFound {
		s.t.Errorf("unknown content: %d", code)
	}
}

func (s *site) take(id, path string) {
	s.t.Helper()
	if code, b := s.ask(http.MethodGet, path); code != http.StatusOK || !bytes.Equal(b, s.content[id]) {
		s.t.Errorf("%s: %d with %d bytes that are not the content", id, code, len(b))
	}
}

// delivered is what devices have received in the end: each agent both updates, and clients without one what takeByHTTP takes.
func (s *site) delivered() int {
	return (devices+2)*len(s.content["app"]) + devices*len(s.content["driver"]) + len(s.content["extra"])
}

func (s *site) approve(id string) {
	s.t.Helper()
	s.run("depot", "approve", "--dir", s.path("depot"), "--ring", "pilot", "acme/"+id+"@1.0")
}

// logged stops the agents, the node and the origin, which waits for connections that are kept, and returns what it and the depot sent of content, by their logs, and whether every answer was sent whole.
func (s *site) logged() (sum int64, whole bool) {
	s.t.Helper()
	for _, cmd := range s.running {
		_ = cmd.Process.Kill()
	}
	whole = true
	for id := range s.content {
		n, lines := s.origin.Log("content/" + s.manifest(id).Root().String())
		sum += n
		whole = whole && loop.Whole(lines)
	}
	records, err := demo.ReadAccessLog(s.path("depot.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range records {
		if strings.HasPrefix(r.Path, "/content/") {
			sum += r.DepotBytes
		}
	}
	return sum, whole
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came to that: %s", what)
		}
	}
}
