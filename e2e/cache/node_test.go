package cache_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/e2e/loop"
	"github.com/dunlin-project/dunlin/piecehash"
)

// programs are those of this package's tests.
var programs = loop.Programs{Net: 77}

func TestMain(m *testing.M) {
	if node := os.Getenv(crowdEnv); node != "" {
		if err := crowd(node); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(programs.Main(m))
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
	*loop.Process
	url  string // of the content
	addr string // for devices
}

// startCache starts a node that knows the content, on addresses of its own.
func startCache(t *testing.T, dir string, c content, args ...string) cacheNode {
	t.Helper()
	host := programs.Loopback()
	p := programs.Start(t, append([]string{
		"cache", "run", "--json", "--dir", dir, "--content", c.folder, "--reserve", "1M",
		"--listen", host + ":7680", "--http", host + ":7681",
	}, args...)...)
	e := p.AwaitEvent("listening")
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
	lab.Need(t, "curl")
}
