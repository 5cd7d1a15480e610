package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
)

// How often progress is shown: on a terminal, and in lines.
const (
	barEvery   = 200 * time.Millisecond
	lineEvery  = 5 * time.Second
	eventEvery = time.Second
)

// getView shows what happens: as events, as lines, or as a bar. It belongs to one goroutine at a time.
type getView interface {
	listening(addrs []string) error
	checked(done int64)         // a file that is there is being hashed
	progress(stats fetch.Stats) // about ten times a second
	done(d getDone) error
	ended(served int64) error
	close()
}

// getDone is the event of a file that is there.
type getDone struct {
	Event   string          `json:"event"`
	File    string          `json:"file"`
	Bytes   int64           `json:"bytes"`
	Seconds float64         `json:"seconds"`
	SHA256  *piecehash.Hash `json:"sha256,omitempty"` // nil where it was not computed
	Root    piecehash.Root  `json:"root"`
	From    fetch.From      `json:"from"`   // every byte that arrived, waste included
	Waste   int64           `json:"waste"`  // of these, what was not needed
	Served  int64           `json:"served"` // to peers, until now
}

func newGetView(out io.Writer, stderr *os.File, asJSON bool) getView {
	switch {
	case asJSON:
		return &eventView{out: out, pace: pace{every: eventEvery}}
	case isTerminal(stderr):
		return &barView{lineView: lineView{out: out, err: stderr, pace: pace{every: barEvery}}}
	default:
		return &lineView{out: out, err: stderr, pace: pace{every: lineEvery}}
	}
}

// pace lets one thing through in each interval, and measures the rate in between.
type pace struct {
	every time.Duration
	last  time.Time
	bytes int64
	rate  float64 // bytes per second, smoothed
}

// step reports whether it is time to show that so many bytes have arrived.
func (p *pace) step(now time.Time, bytes int64) bool {
	switch gap := now.Sub(p.last); {
	case p.last.IsZero():
		p.last, p.bytes = now, bytes
		return false
	case gap < p.every:
		return false
	default:
		rate := float64(bytes-p.bytes) / gap.Seconds()
		if p.rate == 0 {
			p.rate = rate
		}
		keep := 1 / (1 + gap.Seconds()/2) // about two seconds of memory
		p.rate = keep*p.rate + (1-keep)*rate
		p.last, p.bytes = now, bytes
		return true
	}
}

// have is how much of the content is there.
func have(s fetch.Stats) int64 { return s.Resumed + s.Useful() }

// eta is the time that the rest takes at a rate, or "?".
func eta(left int64, rate float64) string {
	if rate < 1 {
		return "?"
	}
	return time.Duration(float64(left) / rate * float64(time.Second)).Round(time.Second).String()
}

// describe says how fast, how long, and from where.
func describe(s fetch.Stats, rate float64) string {
	parts := []string{sizeText(int64(rate)) + "/s", "ETA " + eta(s.Content-have(s), rate)}
	for _, f := range []struct {
		name  string
		bytes int64
	}{{"origin", s.From.Origin}, {"cache", s.From.Cache}, {"peers", s.From.Peers}} {
		if f.bytes > 0 {
			parts = append(parts, f.name+" "+sizeText(f.bytes))
		}
	}
	return strings.Join(parts, ", ")
}

// sizeText writes bytes for people.
func sizeText(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB"}
	for _, u := range units[:3] {
		if f /= 1 << 10; f < 1000 {
			return fmt.Sprintf("%.1f %s", f, u)
		}
	}
	return fmt.Sprintf("%.1f %s", f/(1<<10), units[3])
}

// quiet keeps records below a warning from the log: get shows how it goes by itself.
func quiet(log *slog.Logger, verbose bool) *slog.Logger {
	if verbose {
		return log
	}
	return slog.New(warnings{log.Handler()})
}

type warnings struct{ slog.Handler }

func (w warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (w warnings) WithAttrs(a []slog.Attr) slog.Handler         { return warnings{w.Handler.WithAttrs(a)} }

func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
