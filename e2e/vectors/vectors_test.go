// Package vectors asks libtorrent again for everything that piecehash/testdata says it says, and lets it judge a metainfo
// file of ours. It trusts libtorrent. Start reading at make.py.
package vectors

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dunlin-project/dunlin/e2e/lab"
)

// python is Debian's own: it alone sees python3-libtorrent.
const python = "/usr/bin/python3"

func libtorrent(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(python, append([]string{"make.py"}, args...)...).CombinedOutput(); err != nil {
		t.Errorf("make.py %v: %v\n%s", args, err, out)
	}
}

// TestLibtorrentSaysTheSame: the committed vectors are what libtorrent makes today.
func TestLibtorrentSaysTheSame(t *testing.T) {
	lab.Need(t, python)
	libtorrent(t)
}

// TestLibtorrentTakesOurs: what "dunlin hash" writes is what libtorrent would write, for files of several shapes.
func TestLibtorrentTakesOurs(t *testing.T) {
	lab.Need(t, python)
	bin := lab.Binary(t)
	for _, size := range []int{1, 16385, 1 << 20, 3<<20 + 5, 20 << 20} {
		dir := t.TempDir()
		file := filepath.Join(dir, "content.bin")
		b := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(b)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		torrent := filepath.Join(dir, "content.torrent")
		if out, err := exec.Command(bin, "hash", file, "-o", torrent, "--url", "http://origin.example/content.bin").CombinedOutput(); err != nil {
			t.Fatalf("hash: %v\n%s", err, out)
		}
		libtorrent(t, "--check", torrent, file)
	}
}
