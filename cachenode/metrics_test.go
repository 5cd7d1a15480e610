package cachenode

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/measure/measuretest"
)

var update = flag.Bool("update", false, "write testdata anew")

func (w *world) values() map[string]float64 {
	w.t.Helper()
	return measuretest.Values(w.t, w.node.Metrics()...)
}

func (w *world) awaitStored() {
	for len(w.told(Stored)) == 0 {
		time.Sleep(time.Millisecond)
	}
}

// measures waits until the metrics are these: an answer is counted when its last byte is out, which the client may know first.
func (w *world) measures(want map[string]float64) {
	w.t.Helper()
	var wrong []string
	for range 500 {
		wrong = nil
		got := w.values()
		for name, want := range want {
			if v, ok := got[name]; v != want || !ok {
				wrong = append(wrong, fmt.Sprintf("%s is %v, want %v", name, v, want))
			}
		}
		if len(wrong) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Error(wrong)
}

// joined is the catalogue of a node that follows an organisation.
type joined struct {
	catalogue
	until time.Time
}

func (j joined) Expires() time.Time { return j.until }

// TestTheFirstToRunOut of several catalogues is what counts; one that holds for ever, or has learnt nothing yet, does not.
func TestTheFirstToRunOut(t *testing.T) {
	t.Parallel()
	early, late := time.Unix(1000, 0), time.Unix(2000, 0)
	if got := (Union{catalogue{}, joined{}, joined{until: late}, joined{until: early}}).Expires(); !got.Equal(early) {
		t.Errorf("%v", got)
	}
	if got := (Union{catalogue{}, joined{}}).Expires(); !got.IsZero() {
		t.Errorf("of none that run out: %v", got)
	}
}

// TestMetricNames: dashboards and alert rules hang on them. They are those of a node that has joined, fetched and served.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5*pieceLength)
	w.line(1 << 30)
	until := time.Unix(1_800_000_000, 0)
	w.run(func(c *Config) { c.Catalogue = joined{c.Catalogue.(catalogue), until} })
	wants(t, "cold", w.ask(http.MethodGet, w.m.Root()), http.StatusOK, w.data)
	w.measures(map[string]float64{`dunlin_metadata_expiry_timestamp_seconds{role="approvals"}`: float64(until.Unix())})
	w.stop()
	const file = "testdata/metrics.golden"
	got := measuretest.Text(t, append(w.node.Metrics(), w.node.cfg.Gate.Metrics()...)...)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v; -update writes %s:\n%s", err, file, got)
	}
}

// TestHitsAndMisses: what was there is a hit, what a client waited for is a miss, and each byte is delivered once: to a client
// that runs no engine here, to one that does by its own count.
func TestHitsAndMisses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 8*pieceLength)
	w.line(1 << 30)
	w.run(nil)
	size := float64(len(w.data))
	wants(t, "cold", w.ask(http.MethodGet, w.m.Root()), http.StatusOK, w.data)
	w.awaitStored()
	w.measures(map[string]float64{
		`dunlin_cache_requests_total{result="miss"}`:                1,
		`dunlin_cache_requests_total{result="hit"}`:                 0,
		`dunlin_content_bytes_total{kind="unknown"}`:                size,
		`dunlin_prefetched_bytes_total`:                             0,
		`dunlin_received_bytes_total{source="origin",use="useful"}`: size,
		`dunlin_piece_checks_total{result="good"}`:                  8,
	})
	if got := w.values(); got[`dunlin_cache_served_bytes_total{result="miss"}`] < pieceLength ||
		got[`dunlin_cache_served_bytes_total{result="miss"}`]+got[`dunlin_cache_served_bytes_total{result="hit"}`] != size {
		t.Errorf("%v", got)
	}
	before := w.values()
	wants(t, "warm", w.ask(http.MethodGet, w.m.Root(), "Range", "bytes=10-99"), http.StatusPartialContent, w.data[10:100])
	wants(t, "by an engine", w.ask(http.MethodGet, w.m.Root(), "User-Agent", "dunlin/1.0"), http.StatusOK, w.data)
	wants(t, "head", w.ask(http.MethodHead, w.m.Root()), http.StatusOK, nil)
	res := w.ask(http.MethodGet, w.m.Root(), "Range", "bytes=99999999-")
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	w.measures(map[string]float64{
		`dunlin_cache_requests_total{result="miss"}`:      1,
		`dunlin_cache_requests_total{result="hit"}`:       2,
		`dunlin_cache_requests_total{result="other"}`:     1,
		`dunlin_cache_requests_total{result="refused"}`:   1,
		`dunlin_cache_served_bytes_total{result="miss"}`:  before[`dunlin_cache_served_bytes_total{result="miss"}`],
		`dunlin_cache_served_bytes_total{result="hit"}`:   before[`dunlin_cache_served_bytes_total{result="hit"}`] + 90 + size,
		`dunlin_content_bytes_total{kind="unknown"}`:      size + 90,
		`dunlin_sent_bytes_total{scope="http"}`:           size + 90,
		`dunlin_sent_bytes_total{scope="http_device"}`:    size,
		`dunlin_active_transfers{kind="answer"}`:          0,
		`dunlin_cache_contents{state="whole"}`:            1,
		`dunlin_stored_piece_checks_total{result="good"}`: 0,
	})
}

// TestPrefetchIsNoContent: what nobody has asked for is not delivered.
func TestPrefetchIsNoContent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4*pieceLength)
	w.line(1 << 30)
	w.run(func(c *Config) { c.Prefetch.On = true })
	w.awaitStored()
	size := float64(len(w.data))
	w.measures(map[string]float64{
		`dunlin_prefetched_bytes_total`:                             size,
		`dunlin_received_bytes_total{source="origin",use="useful"}`: size,
		`dunlin_content_bytes_total{kind="unknown"}`:                0,
	})
	wants(t, "prefetched", w.ask(http.MethodGet, w.m.Root()), http.StatusOK, w.data)
	w.measures(map[string]float64{
		`dunlin_cache_requests_total{result="hit"}`:  1,
		`dunlin_content_bytes_total{kind="unknown"}`: size,
	})
}

// TestDamageIsCounted: a stored piece that has rotted is noticed before it leaves.
func TestDamageIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4*pieceLength)
	w.line(1 << 30)
	w.fill()
	rot(t, filepath.Join(w.dir, "sealed", w.m.Root().String()), w.m.Offset(2)+17)
	w.run(nil)
	wants(t, "damaged", w.ask(http.MethodGet, w.m.Root()), http.StatusOK, w.data)
	w.measures(map[string]float64{
		`dunlin_stored_piece_checks_total{result="damaged"}`:        1,
		`dunlin_received_bytes_total{source="origin",use="useful"}`: pieceLength,
		`dunlin_cache_requests_total{result="miss"}`:                1,
	})
}
