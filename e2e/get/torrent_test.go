package get_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dunlin-project/dunlin/e2e/lab"
)

const python = "/usr/bin/python3"

// makeTorrent is what libtorrent does: FLAG SOURCE OUT URL.
const makeTorrent = `
import sys, os, libtorrent as lt
flag, source, out, url = sys.argv[1:5]
fs = lt.file_storage()
lt.add_files(fs, source)
kind = {"v1": lt.create_torrent.v1_only, "v2": lt.create_torrent.v2_only, "hybrid": 0}[flag]
t = lt.create_torrent(fs, 16384, kind)
if url: t.add_url_seed(url)
lt.set_piece_hashes(t, os.path.dirname(source))
open(out, "wb").write(lt.bencode(t.generate()))
`

// libtorrent makes a metainfo file of a file or folder.
func libtorrent(t *testing.T, kind, source, url string) string {
	t.Helper()
	lab.Need(t, python)
	if out, err := exec.Command(python, "-c", "import libtorrent").CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("needs python3-libtorrent: %s", out)
		}
		t.Skipf("needs python3-libtorrent: %s", out)
	}
	path := filepath.Join(t.TempDir(), kind+".torrent")
	if out, err := exec.Command(python, "-c", makeTorrent, kind, source, path, url).CombinedOutput(); err != nil {
		t.Fatalf("libtorrent: %v\n%s", err, out)
	}
	return path
}

// TestTorrentsOfLibtorrent: v2 and hybrid ones work, v1-only ones and folders are refused with a reason.
func TestTorrentsOfLibtorrent(t *testing.T) {
	t.Parallel()
	web := t.TempDir()
	c := newContent(t, web, 1<<20+77, 0)
	n := programs.StartNginx(t, web, "0")
	for _, kind := range []string{"v2", "hybrid"} {
		dir := t.TempDir()
		d := get(t, libtorrent(t, kind, c.path, n.URL(c.name)), "-o", dir, "--sha256").done()
		c.isThere(t, dir)
		if d.Root != c.m.Root() || d.SHA256 != c.sum {
			t.Errorf("%s: %+v", kind, d)
		}
	}
	dir := t.TempDir()
	get(t, libtorrent(t, "v1", c.path, n.URL(c.name)), "-o", dir).fails(5, "refused", "v1")

	folder := filepath.Join(t.TempDir(), "folder")
	for _, name := range []string{"one", "two"} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	get(t, libtorrent(t, "v2", folder, n.URL("")), "-o", dir).fails(5, "refused")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("a refused torrent left %v", entries)
	}
}

// TestTorrentOfHash: what "dunlin hash" writes works, and libtorrent reads it the same way.
func TestTorrentOfHash(t *testing.T) {
	t.Parallel()
	web, dir := t.TempDir(), t.TempDir()
	c := newContent(t, web, 3<<20+5, 0)
	n := programs.StartNginx(t, web, "0")
	torrent := filepath.Join(t.TempDir(), "made.torrent")
	if out, err := exec.Command(programs.Path, "hash", c.path, "-o", torrent, "--url", n.URL("")).CombinedOutput(); err != nil {
		t.Fatalf("hash: %v\n%s", err, out)
	}
	if d := get(t, torrent, "-o", dir).done(); d.SHA256 != c.sum || d.Root != c.m.Root() {
		t.Errorf("done event: %+v", d)
	}
	c.isThere(t, dir)
}
