package get_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/e2e/loop"
	"github.com/dunlin-project/dunlin/piecehash"
)

// programs are those of this package's tests.
var programs = loop.Programs{Net: 76}

func TestMain(m *testing.M) { os.Exit(programs.Main(m)) }

// getter is one "dunlin get --json".
type getter struct {
	*loop.Process
	t *testing.T
}

// get starts a getter on a loopback address of its own.
func get(t *testing.T, args ...string) *getter {
	t.Helper()
	args = append([]string{"get", "--json", "--listen", programs.Loopback() + ":7680"}, args...)
	return &getter{programs.Start(t, args...), t}
}

// addr waits until it listens and returns its multiaddr.
func (g *getter) addr() string {
	g.t.Helper()
	return g.AwaitEvent("listening").Addrs[0]
}

// done is the end of a getter that must succeed.
func (g *getter) done() loop.Event {
	g.t.Helper()
	if code := g.End(); code != 0 {
		g.t.Fatalf("exit code %d\n%s", code, g.Stderr.String())
	}
	last := g.Seen[len(g.Seen)-1]
	if g.Seen[0].Event != "listening" || last.Event != "done" {
		g.t.Fatalf("first event %q, last %q", g.Seen[0].Event, last.Event)
	}
	return last
}

// fails is the end of a getter that must fail with the code and say all the words.
func (g *getter) fails(code int, words ...string) {
	g.t.Helper()
	if got := g.End(); got != code {
		g.t.Errorf("exit code %d, want %d\n%s", got, code, g.Stderr.String())
	}
	for _, e := range g.Seen {
		if e.Event == "done" {
			g.t.Error("it said that it was done")
		}
	}
	for _, w := range append(words, "try:") {
		if !strings.Contains(g.Stderr.String(), w) {
			g.t.Errorf("it does not say %q:\n%s", w, g.Stderr.String())
		}
	}
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
