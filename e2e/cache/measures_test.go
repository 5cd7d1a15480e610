package cache_test

import (
	"bufio"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/e2e/loop"
)

// scrape reads the metrics of a node, and sums what it drew from origins.
func scrape(t *testing.T, addr string) (all map[string]float64, drawn int64) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all = make(map[string]float64)
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = v
			if strings.HasPrefix(name, "dunlin_origin_bytes_total{") {
				drawn += int64(v)
			}
		}
	}
	return all, drawn
}

// TestOriginBytesInTheMetrics: they are what the origin's access log says, to the byte, as long as no connection broke.
func TestOriginBytesInTheMetrics(t *testing.T) {
	t.Parallel()
	need(t)
	web := t.TempDir()
	n := programs.StartNginx(t, web, "0")
	c := newContent(t, web, 24<<20+77, n.URL("update.bin"))
	metrics := programs.Loopback() + ":9681"
	node := startCache(t, nodeDir(t), c, "--metrics", metrics)
	var waits []func()
	for range 3 {
		waits = append(waits, curl(t, c, node.url))
	}
	for _, wait := range waits {
		wait()
	}
	node.AwaitEvent("stored")
	all, drawn := scrape(t, metrics)
	total, lines := n.Log("update.bin")
	t.Logf("the metrics say %d bytes, the log %d in %d requests", drawn, total, len(lines))
	if !loop.Whole(lines) || drawn != total || total != int64(len(c.data)) {
		t.Errorf("the metrics say %d bytes, the log %d, the content has %d; no connection broke: %v", drawn, total, len(c.data), loop.Whole(lines))
	}
	delivered := 3 * float64(len(c.data))
	if got := all[`dunlin_content_bytes_total{kind="unknown"}`]; got != delivered {
		t.Errorf("%.0f bytes were delivered, want %.0f", got, delivered)
	}
	hit, miss := all[`dunlin_cache_served_bytes_total{result="hit"}`], all[`dunlin_cache_served_bytes_total{result="miss"}`]
	if hit+miss != delivered || miss == 0 {
		t.Errorf("%.0f bytes were there, %.0f were waited for, %.0f were sent", hit, miss, delivered)
	}
}

// mostInFlight is eight ranges of 8 MiB: more is not asked for at once.
const mostInFlight = 64 << 20

// TestOriginBytesWhenConnectionsBreak: what a node that reads slower than its origin sends had counted when it was killed is less
// than what the log says by what was on its way, and by no more.
func TestOriginBytesWhenConnectionsBreak(t *testing.T) {
	t.Parallel()
	need(t)
	web := t.TempDir()
	n := programs.StartNginx(t, web, "0")
	c := newContent(t, web, 128<<20, n.URL("update.bin"))
	metrics := programs.Loopback() + ":9681"
	node := startCache(t, nodeDir(t), c, "--metrics", metrics, "--prefetch", "--max-origin", "5M")
	node.Await("some of it", func(e loop.Event) bool { return e.Event == "progress" && e.Have > 6<<20 })
	_, drawn := scrape(t, metrics)
	node.Kill()
	total, _ := n.Log("update.bin") // to which an answer is whole that lies in the buffers of the kernel
	t.Logf("the metrics said %d bytes, the log says %d: %d were in flight", drawn, total, total-drawn)
	if over := total - drawn; drawn == 0 || over < 0 || over > mostInFlight {
		t.Errorf("the metrics said %d bytes, the log says %d, at most %d can be in flight", drawn, total, mostInFlight)
	}
}
