package get_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/loop"
	"github.com/dunlin-project/dunlin/piecehash"
)

// TestOne: alone with its origin, every byte is fetched once.
func TestOne(t *testing.T) {
	t.Parallel()
	web, dir := t.TempDir(), t.TempDir()
	c := newContent(t, web, 20<<20+12345, 0)
	n := programs.StartNginx(t, web, "0")
	d := get(t, c.torrent(t, n.URL("")), "-o", dir).done()
	c.isThere(t, dir)
	total, lines := n.Log(c.name)
	if d.From.Origin != total || total != int64(len(c.data)) || !loop.Whole(lines) {
		t.Errorf("from the origin %d, access log %d, content %d, no connection broke: %v", d.From.Origin, total, len(c.data), loop.Whole(lines))
	}
	if d.SHA256 != c.sum || d.Root != c.m.Root() || d.Waste != 0 || d.From.Peers != 0 || d.File != filepath.Join(dir, c.name) || d.Bytes != total {
		t.Errorf("done event: %+v", d)
	}
}

func TestTwoShare(t *testing.T)   { share(t, 2) }
func TestThreeShare(t *testing.T) { share(t, 3) }

// share: devices that start together pay for little more than one copy, and the sum of what they say they took from the
// origin is what the origin's log says, to the byte.
func share(t *testing.T, devices int) {
	t.Parallel()
	web := t.TempDir()
	c := newContent(t, web, 24<<20, 0)
	n := programs.StartNginx(t, web, "512k")
	torrent := c.torrent(t, n.URL(c.name))

	var getters []*getter
	var dirs, peers []string
	for range devices {
		dirs = append(dirs, t.TempDir())
		args := []string{torrent, "-o", dirs[len(dirs)-1], "--seed", "1h"}
		for _, p := range peers {
			args = append(args, "--peer", p)
		}
		g := get(t, args...)
		getters, peers = append(getters, g), append(peers, g.addr())
	}
	var origin, peer, waste int64
	for i, g := range getters {
		d := g.AwaitEvent("done")
		t.Logf("device %d: origin %d, peers %d, waste %d", i, d.From.Origin, d.From.Peers, d.Waste)
		c.isThere(t, dirs[i])
		if useful := d.From.Origin + d.From.Peers + d.From.Cache - d.Waste; useful != int64(len(c.data)) {
			t.Errorf("device %d: useful %d bytes, the content has %d", i, useful, len(c.data))
		}
		origin, peer, waste = origin+d.From.Origin, peer+d.From.Peers, waste+d.Waste
	}
	var served int64
	for _, g := range getters {
		g.Signal(syscall.SIGTERM)
		if code := g.End(); code != 0 {
			t.Errorf("exit code %d after SIGTERM while it seeds", code)
		}
		last := g.Seen[len(g.Seen)-1]
		if last.Event != "ended" {
			t.Errorf("last event %q", last.Event)
		}
		served += last.Served
	}
	total, lines := n.Log(c.name)
	t.Logf("%d devices: %.3f copies from the origin, %d bytes from peers, %d served, %d wasted; the log exceeds what arrived by %d",
		devices, float64(total)/float64(len(c.data)), peer, served, waste, total-origin)
	switch over := total - origin; {
	case loop.Whole(lines) && over != 0:
		t.Errorf("the devices took %d bytes from the origin, its log says %d", origin, total)
	case over < 0 || over > int64(devices)*8<<20:
		t.Errorf("the log exceeds what the devices took by %d bytes though only single ranges broke", over)
	}
	if served < peer {
		t.Errorf("%d bytes came from peers, %d were served", peer, served)
	}
	if total > int64(len(c.data))*12/10 {
		t.Errorf("the site drew %.3f copies, at most 1.2 are allowed", float64(total)/float64(len(c.data)))
	}
}

// TestFileThatIsThere is checked and served; nothing of it is fetched.
func TestFileThatIsThere(t *testing.T) {
	t.Parallel()
	web, dir := t.TempDir(), t.TempDir()
	c := newContent(t, web, 5<<20+1, 0)
	torrent := c.torrent(t) // no origin
	seeder := get(t, torrent, "-o", web, "--seed", "1h")
	addr := seeder.addr()
	if d := seeder.AwaitEvent("done"); d.SHA256 != c.sum || d.From.Origin+d.From.Peers+d.From.Cache != 0 {
		t.Errorf("done event: %+v", d)
	}
	d := get(t, torrent, "-o", dir, "--peer", addr).done()
	c.isThere(t, dir)
	if d.From.Peers != int64(len(c.data)) || d.From.Origin != 0 || d.Waste != 0 {
		t.Errorf("done event: %+v", d)
	}
	seeder.Signal(syscall.SIGTERM)
	if code := seeder.End(); code != 0 || seeder.Seen[len(seeder.Seen)-1].Served != d.From.Peers {
		t.Errorf("exit code %d, it served %d bytes, want %d", code, seeder.Seen[len(seeder.Seen)-1].Served, d.From.Peers)
	}
}

// TestSeedEnds by itself when the time is up.
func TestSeedEnds(t *testing.T) {
	t.Parallel()
	web := t.TempDir()
	c := newContent(t, web, 1000, 0)
	start := time.Now()
	g := get(t, c.torrent(t), "-o", web, "--seed", "300ms")
	if code := g.End(); code != 0 || g.Seen[len(g.Seen)-1].Event != "ended" || time.Since(start) < 300*time.Millisecond {
		t.Errorf("exit code %d after %v, events %+v", code, time.Since(start), g.Seen)
	}
}

// TestOriginGoneButPeerHas: the origin goes away halfway, a peer has the rest.
func TestOriginGoneButPeerHas(t *testing.T) {
	t.Parallel()
	web, dir, other := t.TempDir(), t.TempDir(), t.TempDir()
	c := newContent(t, web, 16<<20, 0)
	if err := os.Link(c.path, filepath.Join(other, c.name)); err != nil {
		t.Fatal(err)
	}
	n := programs.StartNginx(t, web, "512k")
	torrent := c.torrent(t, n.URL(c.name))
	g := get(t, torrent, "-o", dir, "--seed", "1h")
	addr := g.addr()
	g.Await("progress", func(e loop.Event) bool { return e.Event == "progress" && e.Bytes > 2<<20 })
	n.Kill()
	late := get(t, c.torrent(t), "-o", other, "--peer", addr, "--seed", "1h")
	d := g.AwaitEvent("done")
	c.isThere(t, dir)
	if d.From.Origin == 0 || d.From.Peers == 0 {
		t.Errorf("done event: %+v", d)
	}
	late.Signal(syscall.SIGTERM)
	late.End()
}

// TestMetainfoFromURL: the argument may be the URL of a metainfo file.
func TestMetainfoFromURL(t *testing.T) {
	t.Parallel()
	web, dir := t.TempDir(), t.TempDir()
	c := newContent(t, web, 300_000, piecehash.MinPieceLength)
	n := programs.StartNginx(t, web, "0")
	b, err := os.ReadFile(c.torrent(t, n.URL("")))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(web, "update.torrent"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	d := get(t, n.URL("update.torrent"), "-o", filepath.Join(dir, "new", "folder")).done()
	c.isThere(t, filepath.Join(dir, "new", "folder"))
	if d.From.Origin != int64(len(c.data)) {
		t.Errorf("the metainfo file is no content: %+v", d)
	}
	get(t, n.URL("nothing.torrent"), "-o", dir).fails(3, "404")
	get(t, n.URL(c.name), "-o", dir).fails(3, ".torrent")
}

// TestLimit holds for the whole download. A slow machine takes longer, never less.
func TestLimit(t *testing.T) {
	t.Parallel()
	web, dir := t.TempDir(), t.TempDir()
	c := newContent(t, web, 4<<20, 0)
	n := programs.StartNginx(t, web, "0")
	start := time.Now()
	get(t, c.torrent(t, n.URL("")), "-o", dir, "--limit", "2M").done()
	if took := time.Since(start); took < 1800*time.Millisecond {
		t.Errorf("4 MiB at 2 MiB/s took %v", took)
	}
}
