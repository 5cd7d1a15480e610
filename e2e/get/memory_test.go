package get_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dunlin-project/dunlin/e2e/loop"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Bounds of the memory, in bytes. From a peer pieces come that are under way together, and windows that grow.
const (
	maxRSS         = 64 << 20
	maxRSSFromPeer = 96 << 20
)

// TestMemory: however large the file, from an origin and from a peer, memory stays small. DUNLIN_E2E=1 takes a file of
// 4 GiB; otherwise 256 MiB, which shows what grows with the file all the same.
func TestMemory(t *testing.T) {
	t.Parallel()
	size := int64(256 << 20)
	if os.Getenv("DUNLIN_E2E") != "" {
		size = 4 << 30
	}
	web, dir, third := t.TempDir(), t.TempDir(), t.TempDir()
	m, sum := sparse(t, filepath.Join(web, "big.bin"), size)
	n := programs.StartNginx(t, web, "0")
	first := get(t, writeTorrent(t, &piecehash.Metainfo{Name: "big.bin", Manifest: m, SHA256: &sum, URLs: []string{n.URL("")}}), "-o", dir, "--seed", "1h")
	addr := first.addr()
	d := first.AwaitEvent("done")
	fetched := peakRSS(t, first)
	second := get(t, writeTorrent(t, &piecehash.Metainfo{Name: "big.bin", Manifest: m, SHA256: &sum}), "-o", third, "--peer", addr, "--seed", "1h")
	second.AwaitEvent("done")
	served, taken := peakRSS(t, first), peakRSS(t, second)
	t.Logf("%d MiB: peak RSS from the origin %d MiB, then serving %d MiB, from a peer %d MiB", size>>20, fetched>>20, served>>20, taken>>20)
	for _, c := range []struct {
		what      string
		rss, most int64
	}{
		{"fetching from the origin", fetched, maxRSS},
		{"serving", served, maxRSS},
		{"fetching from a peer", taken, maxRSSFromPeer},
	} {
		if c.rss >= c.most {
			t.Errorf("%s took %d MiB, the bound is %d", c.what, c.rss>>20, c.most>>20)
		}
	}
	for _, g := range []*getter{first, second} {
		g.Signal(syscall.SIGTERM)
		g.End()
	}
	if total, lines := n.Log("big.bin"); total != d.From.Origin || total != size || !loop.Whole(lines) {
		t.Errorf("the access log says %d, the device %d, the file has %d", total, d.From.Origin, size)
	}
}

// sparse writes a file in which every 16th MiB is random and the others are zero.
func sparse(t *testing.T, path string, size int64) (*piecehash.Manifest, piecehash.Hash) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, random := make([]byte, 1<<20), rand.NewChaCha8(sha256.Sum256([]byte(path)))
	for off := int64(0); off < size; off += 16 << 20 {
		random.Read(b)
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	m, sum, err := piecehash.SumFile(context.Background(), f, size, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m, sum
}

// peakRSS returns the most memory that the process has ever had in RAM, in bytes.
func peakRSS(t *testing.T, g *getter) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
