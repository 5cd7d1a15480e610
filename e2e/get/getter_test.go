package get_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
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
	dir, err := os.MkdirTemp("", "dunlin-get-")
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

// event is any line that "get --json" prints.
type event struct {
	Event  string         `json:"event"`
	Addrs  []string       `json:"addrs"`
	File   string         `json:"file"`
	Bytes  int64          `json:"bytes"`
	Of     int64          `json:"of"`
	SHA256 piecehash.Hash `json:"sha256"`
	Root   piecehash.Root `json:"root"`
	From   struct{ Origin, Cache, Peers int64 }
	Waste  int64 `json:"waste"`
	Served int64 `json:"served"`
	fetch.View

	at time.Time // when it was read
}

// getter is one "dunlin get --json".
type getter struct {
	t      *testing.T
	cmd    *exec.Cmd
	events chan event // closed at the end of its output
	seen   []event    // taken from events so far
	stderr lockedBuffer
}

// get starts a getter on a loopback address of its own.
func get(t *testing.T, args ...string) *getter {
	t.Helper()
	g := &getter{t: t, events: make(chan event, 1<<16)}
	g.cmd = exec.Command(binary, append([]string{"get", "--json", "--listen", loopback() + ":7680"}, args...)...)
	g.cmd.Stderr = &g.stderr
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go g.read(out)
	t.Cleanup(func() { g.cmd.Process.Kill() })
	return g
}

func (g *getter) read(out io.Reader) {
	defer close(g.events)
	for s := bufio.NewScanner(out); s.Scan(); {
		var e event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			g.t.Errorf("output %q: %v", s.Text(), err)
		}
		e.at = time.Now()
		g.events <- e
	}
}

// patience bounds how long a test waits for anything; it is no measure of speed.
const patience = 120 * time.Second

// await returns the first event that ok likes.
func (g *getter) await(what string, ok func(event) bool) event {
	g.t.Helper()
	late := time.After(patience)
	for {
		select {
		case e, more := <-g.events:
			if !more {
				g.t.Fatalf("no %s; it said %+v\n%s", what, g.seen, g.stderr.String())
			}
			g.seen = append(g.seen, e)
			if ok(e) {
				return e
			}
		case <-late:
			g.t.Fatalf("no %s in time; it said %+v\n%s", what, g.seen, g.stderr.String())
		}
	}
}

func (g *getter) awaitEvent(name string) event {
	g.t.Helper()
	return g.await(name, func(e event) bool { return e.Event == name })
}

// addr waits until it listens and returns its multiaddr.
func (g *getter) addr() string {
	g.t.Helper()
	return g.awaitEvent("listening").Addrs[0]
}

// end waits for the exit and returns its code.
func (g *getter) end() int {
	g.t.Helper()
	late := time.AfterFunc(patience, func() { g.cmd.Process.Kill() })
	defer late.Stop()
	for e := range g.events {
		g.seen = append(g.seen, e)
	}
	err := g.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		g.t.Fatal(err)
	}
	return g.cmd.ProcessState.ExitCode()
}

// done is the end of a getter that must succeed.
func (g *getter) done() event {
	g.t.Helper()
	if code := g.end(); code != 0 {
		g.t.Fatalf("exit code %d\n%s", code, g.stderr.String())
	}
	last := g.seen[len(g.seen)-1]
	if g.seen[0].Event != "listening" || last.Event != "done" {
		g.t.Fatalf("first event %q, last %q", g.seen[0].Event, last.Event)
	}
	return last
}

// fails is the end of a getter that must fail with the code and say all the words.
func (g *getter) fails(code int, words ...string) {
	g.t.Helper()
	if got := g.end(); got != code {
		g.t.Errorf("exit code %d, want %d\n%s", got, code, g.stderr.String())
	}
	for _, e := range g.seen {
		if e.Event == "done" {
			g.t.Error("it said that it was done")
		}
	}
	for _, w := range append(words, "try:") {
		if !strings.Contains(g.stderr.String(), w) {
			g.t.Errorf("it does not say %q:\n%s", w, g.stderr.String())
		}
	}
}

func (g *getter) signal(s syscall.Signal) { g.cmd.Process.Signal(s) }

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

// content is a file to fetch, and what is known of it.
type content struct {
	name string
	path string
	data []byte
	sum  piecehash.Hash
	m    *piecehash.Manifest
}

// newContent writes a file of n random bytes into dir.
func newContent(t *testing.T, dir string, n int, pieceLength int64) content {
	t.Helper()
	c := content{name: "update.bin", path: filepath.Join(dir, "update.bin"), data: make([]byte, n)}
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(c.data)
	c.sum = sha256.Sum256(c.data)
	if err := os.WriteFile(c.path, c.data, 0o644); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.m, _, err = piecehash.SumFile(context.Background(), bytes.NewReader(c.data), int64(n), pieceLength, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

// torrent writes a metainfo file for the content and returns its path.
func (c content) torrent(t *testing.T, urls ...string) string {
	t.Helper()
	return writeTorrent(t, &piecehash.Metainfo{Name: c.name, Manifest: c.m, SHA256: &c.sum, URLs: urls})
}

func writeTorrent(t *testing.T, m *piecehash.Metainfo) string {
	t.Helper()
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), m.Name+".torrent")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// isThere checks that dir holds the content and nothing of the download.
func (c content) isThere(t *testing.T, dir string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, c.name))
	if err != nil || !bytes.Equal(b, c.data) {
		t.Errorf("%s is not the content: %d bytes, %v", filepath.Join(dir, c.name), len(b), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%s holds %v, want the file alone: %v", dir, entries, err)
	}
}

// isNotShown checks that no file has the content's name.
func (c content) isNotShown(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(dir, c.name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not whole has its name (%v)", err)
	}
}
