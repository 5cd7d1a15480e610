package cache_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/piecehash"
)

// binaryEnv names a command that is built already.
const binaryEnv = "DUNLIN_BIN"

// binary is the command under test; TestMain sets it once.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if binary = os.Getenv(binaryEnv); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "dunlin-cache-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "dunlin")
	cmd := exec.Command("go", "build", "-o", binary, "../../cmd/dunlin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// patience bounds how long a test waits for anything; it is no measure of speed.
const patience = 120 * time.Second

// hosts numbers the loopback addresses of the tests, so that all can run at once with the same port.
var hosts atomic.Int32

// loopback returns an address of its own.
func loopback() string {
	n := hosts.Add(1)
	return fmt.Sprintf("127.77.%d.%d", n/200, 1+n%200)
}

// event is any line that "cache run --json" or "get --json" prints.
type event struct {
	Event   string   `json:"event"`
	Addrs   []string `json:"addrs"`
	HTTP    string   `json:"http"`
	Bytes   int64    `json:"bytes"`
	Have    int64    `json:"have"`
	Resumed int64    `json:"resumed"`
	From    struct{ Origin, Cache, Peers int64 }
	Waste   int64  `json:"waste"`
	Served  int64  `json:"served"`
	Sent    int64  `json:"sent"`
	Error   string `json:"error"`
}

// process is one dunlin that prints events.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	events chan event // closed at the end of its output
	stderr lockedBuffer
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, events: make(chan event, 1<<16)}
	p.cmd = exec.Command(binary, args...)
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(out)
	t.Cleanup(func() { p.cmd.Process.Kill() })
	return p
}

func (p *process) read(out io.Reader) {
	defer close(p.events)
	for s := bufio.NewScanner(out); s.Scan(); {
		var e event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			p.t.Errorf("output %q: %v", s.Text(), err)
		}
		p.events <- e
	}
}

// await returns the next event that ok likes.
func (p *process) await(what string, ok func(event) bool) event {
	p.t.Helper()
	late := time.After(patience)
	for {
		select {
		case e, more := <-p.events:
			if !more {
				p.t.Fatalf("no %s\n%s", what, p.stderr.String())
			}
			if ok(e) {
				return e
			}
		case <-late:
			p.t.Fatalf("no %s in time\n%s", what, p.stderr.String())
		}
	}
}

func (p *process) awaitEvent(name string) event {
	p.t.Helper()
	return p.await(name, func(e event) bool { return e.Event == name })
}

// end waits for the exit, and returns the last event and the exit code.
func (p *process) end() (last event, code int) {
	p.t.Helper()
	late := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	for e := range p.events {
		last = e
	}
	_ = p.cmd.Wait()
	return last, p.cmd.ProcessState.ExitCode()
}

// stop ends it gently, which it must do well.
func (p *process) stop() event {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	last, code := p.end()
	if code != 0 || last.Event != "ended" {
		p.t.Errorf("exit code %d, last event %q\n%s", code, last.Event, p.stderr.String())
	}
	return last
}

// kill ends it in the middle of everything.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.end()
}

type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// content is a file on the origin, and its metainfo file in a folder.
type content struct {
	data    []byte
	m       *piecehash.Manifest
	folder  string
	torrent string
}

// newContent writes n random bytes into web, from where url serves it.
func newContent(t *testing.T, web string, n int, url string) content {
	t.Helper()
	c := content{data: make([]byte, n), folder: t.TempDir()}
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(c.data)
	if err := os.WriteFile(filepath.Join(web, "update.bin"), c.data, 0o644); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.m, _, err = piecehash.Sum(t.Context(), bytes.NewReader(c.data), 0); err != nil {
		t.Fatal(err)
	}
	var urls []string
	if url != "" {
		urls = []string{url}
	}
	b, err := (&piecehash.Metainfo{Name: "update.bin", Manifest: c.m, URLs: urls}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	c.torrent = filepath.Join(c.folder, "update.torrent")
	if err := os.WriteFile(c.torrent, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return c
}

// nodeDir names a folder for a node to make.
func nodeDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "node")
}

// cacheNode is one "dunlin cache run --json".
type cacheNode struct {
	*process
	url  string // of the content
	addr string // for devices
}

// startCache starts a node that knows the content, on addresses of its own.
func startCache(t *testing.T, dir string, c content, args ...string) cacheNode {
	t.Helper()
	host := loopback()
	p := start(t, append([]string{
		"cache", "run", "--json", "--dir", dir, "--content", c.folder, "--reserve", "1M",
		"--listen", host + ":7680", "--http", host + ":7681",
	}, args...)...)
	e := p.awaitEvent("listening")
	return cacheNode{p, "http://" + e.HTTP + "/content/" + c.m.Root().String(), e.Addrs[0]}
}

// curl starts one client; the function returned waits for it and checks what it got.
func curl(t *testing.T, c content, args ...string) (wait func()) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	cmd := exec.Command("curl", append([]string{"-fsS", "-o", out, "--max-time", "110"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := cmd.Wait(); err != nil {
			t.Errorf("curl: %v %s", err, stderr.String())
			return
		}
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, c.data) {
			t.Errorf("curl got %d bytes that are not the content (%v)", len(got), err)
		}
	}
}

// need skips the test where it cannot run.
func need(t *testing.T) {
	t.Helper()
	lab.Need(t, nginxPath, "curl")
}
