package cache_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/e2e/loop"
)

// TestTwelveClientsOneCopy: twelve who ask for content that nobody has yet cost the origin one copy, and a thirteenth nothing.
func TestTwelveClientsOneCopy(t *testing.T) {
	t.Parallel()
	need(t)
	web := t.TempDir()
	n := programs.StartNginx(t, web, "512k")
	c := newContent(t, web, 24<<20+777, n.URL("update.bin"))
	node := startCache(t, nodeDir(t), c)
	var waits []func()
	for range 12 {
		waits = append(waits, curl(t, c, node.url))
	}
	for _, wait := range waits {
		wait()
	}
	stored := node.AwaitEvent("stored")
	curl(t, c, node.url)()
	ended := node.Stop()
	total, lines := n.Log("update.bin")
	t.Logf("12 clients: %.4f copies from the origin in %d requests, %d bytes by HTTP", float64(total)/float64(len(c.data)), len(lines), ended.Sent)
	if total != int64(len(c.data)) || stored.From.Origin != total || stored.Waste != 0 || !loop.Whole(lines) {
		t.Errorf("the access log says %d bytes, the node %+v, the content has %d; no connection broke: %v", total, stored.From, len(c.data), loop.Whole(lines))
	}
	if ended.Sent != 13*int64(len(c.data)) {
		t.Errorf("%d bytes went out by HTTP, want 13 x %d", ended.Sent, len(c.data))
	}
}

// TestDeviceTakesFromTheCache: a device beside a node that has the content takes all of it from there, and counts it so.
func TestDeviceTakesFromTheCache(t *testing.T) {
	t.Parallel()
	need(t)
	web := t.TempDir()
	n := programs.StartNginx(t, web, "0")
	c := newContent(t, web, 12<<20, n.URL("update.bin"))
	node := startCache(t, nodeDir(t), c, "--prefetch")
	node.AwaitEvent("stored")
	dir := t.TempDir()
	g := programs.Start(t, "get", "--json", "--listen", programs.Loopback()+":7680", "--peer", node.addr, "-o", dir, c.torrent)
	done := g.AwaitEvent("done")
	if done.From.Cache != int64(len(c.data)) || done.From.Origin != 0 || done.Waste != 0 {
		t.Errorf("done: %+v", done)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "update.bin")); err != nil || string(got) != string(c.data) {
		t.Errorf("the file is not the content: %v", err)
	}
	ended := node.Stop()
	total, _ := n.Log("update.bin")
	if total != int64(len(c.data)) || ended.Served != total {
		t.Errorf("the origin gave %d bytes, the node served %d, the content has %d", total, ended.Served, len(c.data))
	}
}

// TestDeviceAndClientsTogether: a cold node that is asked by HTTP and a device with an agent share the work, and the site
// still pays about once.
func TestDeviceAndClientsTogether(t *testing.T) {
	t.Parallel()
	need(t)
	web := t.TempDir()
	n := programs.StartNginx(t, web, "512k")
	c := newContent(t, web, 24<<20, n.URL("update.bin"))
	node := startCache(t, nodeDir(t), c)
	g := programs.Start(t, "get", "--json", "--listen", programs.Loopback()+":7680", "--peer", node.addr, "-o", t.TempDir(), "--seed", "1h", c.torrent)
	waits := []func(){curl(t, c, node.url), curl(t, c, node.url)}
	done := g.AwaitEvent("done")
	for _, wait := range waits {
		wait()
	}
	stored := node.AwaitEvent("stored")
	g.Stop()
	node.Stop()
	total, _ := n.Log("update.bin")
	t.Logf("%.3f copies; the device took %+v, the node %+v", float64(total)/float64(len(c.data)), done.From, stored.From)
	if total > int64(len(c.data))*12/10 {
		t.Errorf("the site drew %.3f copies, at most 1.2 are allowed", float64(total)/float64(len(c.data)))
	}
}

// TestKillAndRestart: kill -9 in the middle of a fetch loses little, what is there is served after the restart, and the fetch
// goes on without being asked for.
func TestKillAndRestart(t *testing.T) {
	t.Parallel()
	need(t)
	web, dir := t.TempDir(), nodeDir(t)
	n := programs.StartNginx(t, web, "0")
	c := newContent(t, web, 40<<20, n.URL("update.bin"))
	node := startCache(t, dir, c, "--max-download", "5M")
	resp, err := http.Get(node.url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	node.Await("half", func(e loop.Event) bool { return e.Event == "progress" && e.Have > 20<<20 })
	node.Kill()
	if got, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the answer ended well with %d of %d bytes", len(got), len(c.data))
	}
	again := startCache(t, dir, c)
	wait := curl(t, c, again.url)
	stored := again.AwaitEvent("stored")
	wait()
	curl(t, c, "-r", "0-", again.url)()
	again.Stop()
	total, _ := n.Log("update.bin")
	lost := stored.From.Origin + stored.Resumed - int64(len(c.data))
	t.Logf("kept %d of %d bytes, fetched %d; %.3f copies in all", stored.Resumed, len(c.data), stored.From.Origin, float64(total)/float64(len(c.data)))
	if stored.Resumed == 0 || lost != 0 {
		t.Errorf("%+v: what was kept and what was fetched are not the content", stored)
	}
	// At most what was not yet synced (16 MiB and two seconds), and what was on its way.
	if total > int64(len(c.data))+32<<20 {
		t.Errorf("%d bytes were drawn for %d", total, len(c.data))
	}
}

// TestWarm fills the store of a node that does not run, and of one that does; an unreachable origin is said.
func TestWarm(t *testing.T) {
	t.Parallel()
	need(t)
	web, dir := t.TempDir(), nodeDir(t)
	n := programs.StartNginx(t, web, "0")
	c := newContent(t, web, 5<<20, n.URL("update.bin"))
	warm := func() (loop.Event, int) {
		p := programs.Start(t, "cache", "warm", "--json", "--listen", programs.Loopback()+":7680", "--dir", dir, "--reserve", "1M", c.torrent)
		code := p.End()
		return p.Last(), code
	}
	if last, code := warm(); code != 0 || last.Event != "warm" || last.Bytes != int64(len(c.data)) {
		t.Fatalf("exit code %d, %+v", code, last)
	}
	node := startCache(t, dir, c)
	curl(t, c, node.url)()
	if last, code := warm(); code != 0 || last.Event != "warm" {
		t.Errorf("beside a node: exit code %d, %+v", code, last)
	}
	if total, _ := n.Log("update.bin"); total != int64(len(c.data)) {
		t.Errorf("the origin gave %d bytes", total)
	}
	node.Stop()
	p := programs.Start(t, "cache", "warm", "--json", "--listen", programs.Loopback()+":7680", "--dir", nodeDir(t), "--reserve", "1M", c.torrent)
	if code := p.End(); code != 3 || !strings.Contains(p.Stderr.String(), "no source delivers it") {
		t.Errorf("without an origin: exit code %d\n%s", code, p.Stderr.String())
	}
}
