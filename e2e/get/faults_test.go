package get_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/e2e/loop"
	"github.com/dunlin-project/dunlin/piecehash"
)

// TestKillAndResume: after kill -9 nothing that was there is fetched again.
func TestKillAndResume(t *testing.T) {
	t.Parallel()
	for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(how.String(), func(t *testing.T) {
			t.Parallel()
			web, dir := t.TempDir(), t.TempDir()
			c := newContent(t, web, 12<<20+7, 0)
			n := programs.StartNginx(t, web, "256k")
			torrent := c.torrent(t, n.URL(""))
			first := get(t, torrent, "-o", dir)
			there := first.Await("progress", func(e loop.Event) bool { return e.Event == "progress" && e.Bytes > 5<<20 })
			first.Signal(how)
			if code := first.End(); how == syscall.SIGTERM && code != 3 {
				t.Errorf("exit code %d after SIGTERM", code)
			}
			c.isNotShown(t, dir)
			if _, err := os.Stat(filepath.Join(dir, c.name+".part")); err != nil {
				t.Error(err)
			}
			d := get(t, torrent, "-o", dir).done()
			c.isThere(t, dir)
			t.Logf("%d bytes were there, %d came after", there.Bytes, d.From.Origin)
			if left := int64(len(c.data)) - there.Bytes; d.From.Origin > left || d.From.Origin == 0 || d.Waste != 0 {
				t.Errorf("after the restart %d bytes came from the origin, %d were missing at most; waste %d", d.From.Origin, left, d.Waste)
			}
		})
	}
}

// TestDamagedPart: what rotted on disk between two runs is fetched again, and only that.
func TestDamagedPart(t *testing.T) {
	t.Parallel()
	web, dir := t.TempDir(), t.TempDir()
	c := newContent(t, web, 8<<20, 256<<10)
	n := programs.StartNginx(t, web, "256k")
	torrent := c.torrent(t, n.URL(""))
	first := get(t, torrent, "-o", dir)
	first.Await("progress", func(e loop.Event) bool { return e.Event == "progress" && e.Bytes > 4<<20 })
	first.Signal(syscall.SIGTERM)
	first.End()
	part := filepath.Join(dir, c.name+".part")
	b, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		if b[i] == c.data[i] && i%(1<<20) == 1000 {
			b[i] ^= 1
		}
	}
	if err := os.WriteFile(part, b, 0o600); err != nil {
		t.Fatal(err)
	}
	get(t, torrent, "-o", dir).done()
	c.isThere(t, dir)
}

// TestOnlyOriginGone is unavailable; when it is back the same command goes on.
func TestOnlyOriginGone(t *testing.T) {
	t.Parallel()
	web, dir := t.TempDir(), t.TempDir()
	c := newContent(t, web, 6<<20, 0)
	n := programs.StartNginx(t, web, "256k")
	torrent := c.torrent(t, n.URL(c.name))
	g := get(t, torrent, "-o", dir)
	there := g.Await("progress", func(e loop.Event) bool { return e.Event == "progress" && e.Bytes > 1<<20 })
	n.Kill()
	g.fails(3, "unavailable", "refused")
	c.isNotShown(t, dir)
	n.Start()
	d := get(t, torrent, "-o", dir).done()
	c.isThere(t, dir)
	if d.From.Origin > int64(len(c.data))-there.Bytes {
		t.Errorf("%d bytes came again", d.From.Origin+there.Bytes-int64(len(c.data)))
	}
}

// TestFlippedBitAtOnlyOrigin is untrusted, and the next good run succeeds without help.
func TestFlippedBitAtOnlyOrigin(t *testing.T) {
	t.Parallel()
	web, dir := t.TempDir(), t.TempDir()
	c := newContent(t, web, 3<<20, 0)
	bad := bytes.Clone(c.data)
	bad[2<<20+77] ^= 0x20
	if err := os.WriteFile(c.path, bad, 0o644); err != nil {
		t.Fatal(err)
	}
	n := programs.StartNginx(t, web, "0")
	torrent := c.torrent(t, n.URL(""))
	get(t, torrent, "-o", dir).fails(4, "untrusted", "not what the root promises")
	c.isNotShown(t, dir)
	if err := os.WriteFile(c.path, c.data, 0o644); err != nil {
		t.Fatal(err)
	}
	get(t, torrent, "-o", dir).done()
	c.isThere(t, dir)
}

// TestOneBadMirror of two is dropped, loudly, and costs no more than what it sent.
func TestOneBadMirror(t *testing.T) {
	t.Parallel()
	web, lies, dir := t.TempDir(), t.TempDir(), t.TempDir()
	c := newContent(t, web, 4<<20, 0)
	if err := os.WriteFile(filepath.Join(lies, c.name), bytes.Repeat([]byte("x"), len(c.data)), 0o644); err != nil {
		t.Fatal(err)
	}
	good, bad := programs.StartNginx(t, web, "0"), programs.StartNginx(t, lies, "0")
	g := get(t, c.torrent(t, bad.URL(""), good.URL("")), "-o", dir)
	d := g.done()
	c.isThere(t, dir)
	if total, _ := good.Log(c.name); total != int64(len(c.data)) || d.Waste == 0 {
		t.Errorf("the good mirror sent %d bytes, waste %d", total, d.Waste)
	}
	if !strings.Contains(g.Stderr.String(), "dropped") {
		t.Errorf("nothing was said about the liar:\n%s", g.Stderr.String())
	}
}

// TestOtherFileInTheWay is never overwritten.
func TestOtherFileInTheWay(t *testing.T) {
	t.Parallel()
	web, dir := t.TempDir(), t.TempDir()
	c := newContent(t, web, 1<<20, 0)
	n := programs.StartNginx(t, web, "0")
	torrent := c.torrent(t, n.URL(""))
	mine := bytes.Clone(c.data)
	mine[500_000] ^= 1
	path := filepath.Join(dir, c.name)
	for _, b := range [][]byte{mine, []byte("a letter"), {}} {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		get(t, torrent, "-o", dir).fails(5, "refused", path)
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, b) {
			t.Errorf("the file was changed: %v", err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	get(t, torrent, "-o", dir).done()
	c.isThere(t, dir)
}

// TestMetainfoContradictsItself: root and SHA-256 name different files.
func TestMetainfoContradictsItself(t *testing.T) {
	t.Parallel()
	web, dir := t.TempDir(), t.TempDir()
	c := newContent(t, web, 1<<20, 0)
	n := programs.StartNginx(t, web, "0")
	wrong := c.sum
	wrong[0] ^= 1
	torrent := writeTorrent(t, &piecehash.Metainfo{Name: c.name, Manifest: c.m, SHA256: &wrong, URLs: []string{n.URL("")}})
	get(t, torrent, "-o", dir).fails(4, "contradicts itself")
	c.isNotShown(t, dir)
	get(t, torrent, "-o", web).fails(4, "contradicts itself") // a file that is there stays
	c.isThere(t, web)
}

// TestBusyPort is a clear error.
func TestBusyPort(t *testing.T) {
	t.Parallel()
	web := t.TempDir()
	c := newContent(t, web, 1000, 0)
	l, err := net.Listen("tcp", programs.Loopback()+":7680")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	get(t, c.torrent(t), "-o", web, "--listen", l.Addr().String()).fails(3, l.Addr().String(), "in use")
}

// TestDiskFull is unavailable, and the next run with room succeeds.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	lab.Need(t, "mount", "umount")
	web, dir := t.TempDir(), t.TempDir()
	c := newContent(t, web, 12<<20, 0)
	n := programs.StartNginx(t, web, "0")
	torrent := c.torrent(t, n.URL(""))
	mount := func(size string, args ...string) {
		t.Helper()
		args = append(args, "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir)
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			t.Fatalf("mount: %v\n%s", err, out)
		}
	}
	mount("8m")
	t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
	get(t, torrent, "-o", dir).fails(3, "unavailable")
	c.isNotShown(t, dir)
	if out, err := exec.Command("mount", "-o", "remount,size=64m", dir).CombinedOutput(); err != nil {
		t.Fatalf("remount: %v\n%s", err, out)
	}
	get(t, torrent, "-o", dir).done()
	c.isThere(t, dir)
}
