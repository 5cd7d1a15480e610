package get_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A limit is judged over a transfer of several seconds: never above it, and not below unless the machine was too busy.
const (
	limitRate = 4 << 20  // bytes per second
	limitFile = 28 << 20 // bytes
	limitMost = 1.05
	limitLow  = 0.95
	idleLeast = 0.10 // of all processors; with less, being below a limit says nothing
)

// TestLimitsHold measures each limit with real processes on loopback. They run one after the other, alone.
func TestLimitsHold(t *testing.T) {
	web := t.TempDir()
	c := newContent(t, web, limitFile, 0)
	n := programs.StartNginx(t, web, "0")
	rate := fmt.Sprint(limitRate)
	fromOrigin := func(t *testing.T, args ...string) []*getter {
		return []*getter{get(t, append([]string{c.torrent(t, n.URL("")), "-o", t.TempDir()}, args...)...)}
	}
	fromPeer := func(t *testing.T, seeder []string, getters int, args ...string) (gs []*getter) {
		s := get(t, append([]string{c.torrent(t), "-o", web, "--seed", "1h"}, seeder...)...)
		t.Cleanup(func() { s.Signal(syscall.SIGTERM); s.End() })
		addr := s.addr()
		for range getters {
			gs = append(gs, get(t, append([]string{c.torrent(t), "-o", t.TempDir(), "--peer", addr}, args...)...))
		}
		return gs
	}
	for _, l := range []struct {
		name  string
		start func(t *testing.T) []*getter
	}{
		{"max-origin", func(t *testing.T) []*getter { return fromOrigin(t, "--max-origin", rate) }},
		{"max-download, from the origin", func(t *testing.T) []*getter { return fromOrigin(t, "--max-download", rate) }},
		{"max-download, from a peer", func(t *testing.T) []*getter { return fromPeer(t, nil, 1, "--max-download", rate) }},
		{"max-lan", func(t *testing.T) []*getter { return fromPeer(t, nil, 1, "--max-lan", rate) }},
		{"max-upload, to one", func(t *testing.T) []*getter { return fromPeer(t, []string{"--max-upload", rate}, 1) }},
		{"max-upload, to two", func(t *testing.T) []*getter { return fromPeer(t, []string{"--max-upload", rate}, 2) }},
	} {
		t.Run(l.name, func(t *testing.T) {
			gs := l.start(t)
			before := cpuTimes(t)
			for _, g := range gs {
				g.done()
			}
			idle := cpuTimes(t).idleSince(before)
			got, window := rateOf(t, gs)
			ratio := got / limitRate
			t.Logf("%.3f of the limit over %v, processors idle %.0f %%", ratio, window.Round(10*time.Millisecond), 100*idle)
			if ratio > limitMost {
				t.Errorf("it passes %.3f of the limit", ratio)
			}
			if ratio < limitLow && idle >= idleLeast {
				t.Errorf("it lets only %.3f of the limit through", ratio)
			}
		})
	}
}

// rateOf returns the bytes per second that all the getters together received while each of them did.
func rateOf(t *testing.T, gs []*getter) (bytesPerSecond float64, window time.Duration) {
	t.Helper()
	var from, to time.Time
	for _, g := range gs {
		s := g.received()
		if first := s[0].at; first.After(from) {
			from = first
		}
		if last := s[len(s)-1].at; to.IsZero() || last.Before(to) {
			to = last
		}
	}
	if window = to.Sub(from); window < 3*time.Second {
		t.Fatalf("only %v are left to judge", window)
	}
	var sum float64
	for _, g := range gs {
		sum += bytesAt(g.received(), to) - bytesAt(g.received(), from)
	}
	return sum / window.Seconds(), window
}

// sample is how much had arrived at a moment.
type sample struct {
	at    time.Time
	bytes int64
}

// received is what a getter said of its progress, without the last word: the file is finished after the last byte.
func (g *getter) received() (out []sample) {
	for _, e := range g.Seen {
		if n := e.From.Origin + e.From.Cache + e.From.Peers; e.Event == "progress" && n > 0 {
			out = append(out, sample{e.At, n})
		}
	}
	return out
}

// bytesAt interpolates.
func bytesAt(s []sample, at time.Time) float64 {
	for i := 1; i < len(s); i++ {
		if a, b := s[i-1], s[i]; !b.at.Before(at) {
			share := float64(at.Sub(a.at)) / float64(b.at.Sub(a.at))
			return float64(a.bytes) + share*float64(b.bytes-a.bytes)
		}
	}
	return float64(s[len(s)-1].bytes)
}

// cpu is what the processors have done since the machine started, in ticks.
type cpu struct{ idle, all int64 }

func cpuTimes(t *testing.T) (c cpu) {
	t.Helper()
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line)[1:] {
		var n int64
		if _, err := fmt.Sscan(f, &n); err != nil {
			t.Fatal(err)
		}
		if c.all += n; i == 3 {
			c.idle = n
		}
	}
	return c
}

func (c cpu) idleSince(b cpu) float64 { return float64(c.idle-b.idle) / float64(max(1, c.all-b.all)) }
