package finding

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/e2e/loop"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/metadatatest"
	"github.com/dunlin-project/dunlin/piecehash"
)

// originEnv makes this test binary the origin: "ADDR,FOLDER,LOG".
const originEnv = "DUNLIN_TEST_ORIGIN"

// programs hold the command under test.
var programs loop.Programs

// labs makes the networks.
var labs lab.Maker

func TestMain(m *testing.M) {
	if v := os.Getenv(originEnv); v != "" {
		fmt.Fprintln(os.Stderr, origin(v))
		os.Exit(1)
	}
	os.Exit(programs.Main(m))
}

// origin is a web server that notes, a line each, how many bytes of content it has sent.
func origin(v string) error {
	at := strings.Split(v, ",")
	log, err := os.OpenFile(at[2], os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	files := http.FileServer(http.Dir(at[1]))
	return http.ListenAndServe(at[0], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		files.ServeHTTP(&noting{w, log}, r)
	}))
}

type noting struct {
	http.ResponseWriter
	log io.Writer
}

func (n *noting) Write(b []byte) (int, error) {
	k, err := n.ResponseWriter.Write(b)
	fmt.Fprintln(n.log, k)
	return k, err
}

// site is an organisation with one approved update, its origin, and a network that hosts are added to.
type site struct {
	t      *testing.T
	net    *lab.Lab
	org    *metadatatest.Org
	data   []byte
	root   piecehash.Root
	dir    string
	origin *lab.Host
}

// newSite makes a site whose line to the origin has a rate, as tc writes it.
func newSite(t *testing.T, bytesOf int64, line string) *site {
	t.Helper()
	lab.Need(t, "ip", "tc")
	s := &site{t: t, net: labs.New(t), org: metadatatest.NewOrg(t, time.Now(), "pilot"), dir: t.TempDir()}
	s.data, _ = fetchtest.Content(uint64(bytesOf), bytesOf, piecehash.MinPieceLength)
	acme := s.org.Trust("acme")
	u := acme.Update("tool", "1", 1, s.data)
	u.Destination = "/opt/tool"
	acme.Add(u, s.data)
	s.root = u.Root
	s.org.Approve("pilot", acme, u, nil)
	s.origin = s.net.Host(lab.Options{Rate: line})
	s.sign(func(f *metadata.Fleet) {})
	s.write(filepath.Join(s.path("web"), "content", s.root.String()), s.data)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.origin.Start(t, []string{originEnv + "=" + s.origin.Addr + ":80," + s.path("web") + "," + s.path("log")}, self)
	m, _, err := piecehash.Sum(t.Context(), bytes.NewReader(s.data), u.PieceLength)
	if err != nil {
		t.Fatal(err)
	}
	b, err := (&piecehash.Metainfo{Name: "tool", Manifest: m, URLs: []string{s.originURL() + "/content/" + s.root.String()}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.write(filepath.Join(s.path("known"), "tool.torrent"), b)
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) originURL() string { return "http://" + s.origin.Addr }

func (s *site) write(name string, b []byte) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// sign publishes a changed fleet record.
func (s *site) sign(change func(*metadata.Fleet)) {
	s.t.Helper()
	f := metadata.Fleet{Origins: []string{s.originURL()}, Group: "lan"}
	change(&f)
	s.org.SetFleet(f)
	if err := os.RemoveAll(s.path("depot")); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Mkdir(s.path("depot"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.org.Write(s.path("depot"))
}

// paid is how many bytes the origin has sent.
func (s *site) paid() (n int64) {
	s.t.Helper()
	b, err := os.ReadFile(s.path("log"))
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		k, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		n += k
	}
	return n
}

// start runs the command under test on a host.
func start(t *testing.T, h *lab.Host, args ...string) *loop.Process {
	t.Helper()
	cmd := h.Command(context.Background(), programs.Path, args...)
	in := loop.Programs{Path: cmd.Path}
	return in.Start(t, cmd.Args[1:]...)
}

// node is "dunlin cache run" on a host of its own.
type node struct {
	*loop.Process
	host *lab.Host
}

func (n node) url() string { return "http://" + n.host.Addr + ":7681" }

// node starts one that knows the update.
func (s *site) node(args ...string) node {
	s.t.Helper()
	h := s.net.Host(lab.Options{Rate: "1gbit"})
	p := start(s.t, h, append([]string{
		"cache", "run", "--json", "--dir", s.path(h.Name), "--content", s.path("known"), "--reserve", "1M",
	}, args...)...)
	p.AwaitEvent("listening")
	return node{p, h}
}

// warm starts a node that has the update.
func (s *site) warm() node {
	s.t.Helper()
	n := s.node("--prefetch")
	n.AwaitEvent("stored")
	return n
}

// device is a host with an agent that has joined the organisation.
type device struct {
	s      *site
	host   *lab.Host
	config string
	got    chan result
}

// result is how a cycle ended.
type result struct {
	status agent.Status
	out    string
	err    error
}

// device makes one. settings are lines of agent.yaml.
func (s *site) device(settings string, o lab.Options) *device {
	s.t.Helper()
	h := s.net.Host(o)
	d := &device{s: s, host: h, config: s.path(h.Name + ".yaml"), got: make(chan result, 1)}
	err := agent.WriteConfig(d.config, agent.Enrolment{
		Depots: []string{"file://" + s.path("depot")}, ApprovalsRoot: s.org.Anchor(), Ring: "pilot", StateDir: s.path(h.Name),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := os.ReadFile(d.config)
	if err != nil {
		s.t.Fatal(err)
	}
	root := s.path(h.Name + "-root")
	s.write(filepath.Join(root, "opt", "there"), nil)
	s.write(d.config, fmt.Appendf(b, "root: %s\nmetrics: off\ncontrol: off\n%s\n", root, settings))
	return d
}

// begin starts one cycle.
func (d *device) begin() *device {
	go func() {
		var r result
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		cmd := d.host.Command(ctx, programs.Path, "agent", "run", "--once", "--json", "--config", d.config)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		r.out, r.err = string(out)+stderr.String(), err
		if err == nil {
			r.err = json.Unmarshal(out, &r.status)
		}
		d.got <- r
	}()
	return d
}

// end waits for the cycle, checks that the update is installed, and returns where it came from.
func (d *device) end() *agent.Transfer {
	d.s.t.Helper()
	r := <-d.got
	if r.err != nil {
		d.s.t.Fatalf("%s: %v\n%s", d.host.Name, r.err, r.out)
	}
	b, err := os.ReadFile(d.s.path(d.host.Name + "-root/opt/tool"))
	if err != nil || !bytes.Equal(b, d.s.data) {
		d.s.t.Fatalf("%s: what is installed is not the update: %v\n%s", d.host.Name, err, r.out)
	}
	if len(r.status.Updates) != 1 || r.status.Updates[0].Transfer == nil {
		d.s.t.Fatalf("%s: no transfer in its status\n%s", d.host.Name, r.out)
	}
	if d.s.t.Failed() {
		d.s.t.Logf("%s:\n%s", d.host.Name, r.out)
	}
	return r.status.Updates[0].Transfer
}

// received is how many bytes have come to the device's link.
func (d *device) received() int64 {
	d.s.t.Helper()
	out, err := d.host.Run(d.s.t.Context(), nil, "cat", "/sys/class/net/eth0/statistics/rx_bytes")
	if err != nil {
		d.s.t.Fatalf("%v: %s", err, out)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		d.s.t.Fatal(err)
	}
	return n
}

// half waits until half of the update has come to the device.
func (d *device) half() {
	d.s.t.Helper()
	for end := time.Now().Add(time.Minute); d.received() < int64(len(d.s.data))/2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			d.s.t.Fatalf("%s has got nothing", d.host.Name)
		}
	}
}
