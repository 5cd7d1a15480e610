package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/bench/line"
	"github.com/dunlin-project/dunlin/e2e/loop"
)

// hitClients is how many take the file at once.
const hitClients = 8

// hits is a node that has the content, and an nginx that serves the very file out of the node's store.
type hits struct {
	node, nginx server
	first       float64 // MB/s of the first pass after the node's start
}

// server is one of the two.
type server struct {
	pid int
	url string
}

// hit lets both serve in turn, each once first and once second, so that neither always comes behind the other.
func (b *bench) hit() outcome {
	b.t.Helper()
	if b.hits == nil {
		b.startHits()
	}
	h, cpu := b.hits, line.CPUNow(b.t)
	var seconds, cost [2]float64
	for _, i := range []int{0, 1, 1, 0} {
		s, c := b.pass([]server{h.node, h.nginx}[i], b.passes)
		seconds[i], cost[i] = seconds[i]+s, cost[i]+c
	}
	bytes := 2 * b.served(b.passes)
	rate, per := func(i int) float64 { return bytes / 1e6 / seconds[i] }, func(i int) float64 { return cost[i] / (bytes / (1 << 30)) }
	return outcome{[]float64{seconds[1] / seconds[0]}, cpu.IdleSince(b.t), fmt.Sprintf(
		"node %.0f MB/s, nginx %.0f MB/s; their CPU %.2f and %.2f s/GiB; first pass after a start %.0f MB/s", rate(0), rate(1), per(0), per(1), h.first)}
}

// served is how many bytes a pass sends.
func (b *bench) served(times int) float64 { return float64(hitClients*times) * float64(b.size) }

// startHits brings content into a store, and starts both on it.
func (b *bench) startHits() {
	b.t.Helper()
	p := loop.Programs{Net: 78, Path: b.bin}
	dir, web := b.t.TempDir(), b.t.TempDir()
	b.must(os.Chmod(dir, 0o755))
	name, node := filepath.Join(web, line.File), filepath.Join(dir, "node")
	b.must(random(name, b.size))
	origin := p.StartNginx(b.t, web, "0")
	torrent := filepath.Join(dir, "content.torrent")
	b.command(b.bin, "hash", name, "-o", torrent, "--url", origin.URL(line.File))
	b.command(b.bin, "cache", "warm", "--dir", node, "--reserve", "1M", torrent)
	sealed := filepath.Join(node, "content", "sealed")
	files, err := filepath.Glob(filepath.Join(sealed, "*.manifest"))
	if err != nil || len(files) != 1 {
		b.t.Fatalf("the store holds %v, %v", files, err)
	}
	root := strings.TrimSuffix(filepath.Base(files[0]), ".manifest")
	host := p.Loopback()
	run := p.Start(b.t, "cache", "run", "--json", "--dir", node, "--reserve", "1M", "--listen", host+":7680", "--http", host+":7681")
	run.AwaitEvent("listening")
	nginx := p.StartNginx(b.t, sealed, "0")
	b.hits = &hits{node: server{run.Cmd.Process.Pid, "http://" + host + ":7681/content/" + root}, nginx: server{nginx.Cmd.Process.Pid, nginx.URL(root)}}
	seconds, _ := b.pass(b.hits.node, 1)
	b.hits.first = b.served(1) / 1e6 / seconds
	b.pass(b.hits.nginx, 1)
	for _, s := range []server{b.hits.node, b.hits.nginx} {
		b.command("sh", "-c", fmt.Sprintf("curl -sf %s | cmp - %s", s.url, name))
	}
}

// pass lets all clients take the file so many times, and returns how long that took and how much of a processor it has cost the
// server, in seconds.
func (b *bench) pass(s server, times int) (seconds, cost float64) {
	b.t.Helper()
	var args []string
	for range times {
		args = append(args, "-o", "/dev/null", s.url)
	}
	before, begun := line.CPUOf(s.pid), time.Now()
	var wg sync.WaitGroup
	for range hitClients {
		wg.Go(func() {
			out, err := exec.Command("curl", append([]string{"-sf", "-w", "%{size_download}\n"}, args...)...).Output()
			if want := strings.Repeat(fmt.Sprintln(b.size), times); err != nil || string(out) != want {
				b.fail("a client got %q of %d bytes: %v", out, b.size, err)
			}
		})
	}
	wg.Wait()
	return time.Since(begun).Seconds(), line.CPUOf(s.pid) - before
}

func (b *bench) command(name string, args ...string) {
	b.t.Helper()
	if out, err := exec.CommandContext(context.Background(), name, args...).CombinedOutput(); err != nil {
		b.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// random writes a file of random bytes.
func random(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r, buf := rand.NewChaCha8([32]byte{}), make([]byte, 1<<20)
	for n := int64(0); n < size; n += int64(len(buf)) {
		r.Read(buf)
		if _, err := f.Write(buf[:min(int64(len(buf)), size-n)]); err != nil {
			return err
		}
	}
	return f.Close()
}
