package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

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
	Event   string         `json:"event"`
	File    string         `json:"file"`
	Bytes   int64          `json:"bytes"`
	Seconds float64        `json:"seconds"`
	SHA256  piecehash.Hash `json:"sha256"`
	Root    piecehash.Root `json:"root"`
	From    fetch.From     `json:"from"`   // every byte that arrived, waste included
	Waste   int64          `json:"waste"`  // of these, what was not needed
	Served  int64          `json:"served"` // to peers, until now
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

// eventView prints one JSON object a line.
type eventView struct {
	out io.Writer
	pace
}

func (v *eventView) listening(addrs []string) error {
	return printJSON(v.out, struct {
		Event string   `json:"event"`
		Addrs []string `json:"addrs"`
	}{"listening", addrs})
}

func (v *eventView) checked(int64) {}

func (v *eventView) progress(s fetch.Stats) {
	if !v.step(time.Now(), have(s)) {
		return
	}
	_ = printJSON(v.out, struct { // a reader that went away is noticed at the end
		Event string     `json:"event"`
		Bytes int64      `json:"bytes"` // that are there
		Of    int64      `json:"of"`
		Rate  int64      `json:"rate"` // bytes per second
		From  fetch.From `json:"from"`
		Peers int        `json:"members"` // devices that share the content now
	}{"progress", have(s), s.Content, int64(v.rate), s.From, s.Members})
}

func (v *eventView) done(d getDone) error { return printJSON(v.out, d) }

func (v *eventView) ended(served int64) error {
	return printJSON(v.out, struct {
		Event  string `json:"event"`
		Served int64  `json:"served"`
	}{"ended", served})
}

func (v *eventView) close() {}

// lineView prints plain lines: what was done on out, how it goes on err.
type lineView struct {
	out, err io.Writer
	pace
}

func (v *lineView) listening(addrs []string) error {
	for _, a := range addrs {
		fmt.Fprintln(v.err, "listening on", a)
	}
	return nil
}

func (v *lineView) checked(int64) {}

func (v *lineView) progress(s fetch.Stats) {
	if v.step(time.Now(), have(s)) {
		fmt.Fprintf(v.err, "%3d%% of %s, %s\n", 100*have(s)/max(1, s.Content), sizeText(s.Content), describe(s, v.rate))
	}
}

func (v *lineView) done(d getDone) error {
	from := "was there already"
	if d.From.Total() > 0 {
		from = fmt.Sprintf("origin %s, cache %s, peers %s, waste %s", sizeText(d.From.Origin), sizeText(d.From.Cache), sizeText(d.From.Peers), sizeText(d.Waste))
	}
	_, err := fmt.Fprintf(v.out, "%s: %s in %.1f s (%s)\n  sha256 %v\n  root   %v\n", d.File, sizeText(d.Bytes), d.Seconds, from, d.SHA256, d.Root)
	return err
}

func (v *lineView) ended(served int64) error {
	_, err := fmt.Fprintf(v.out, "served %s\n", sizeText(served))
	return err
}

func (v *lineView) close() {}

// barView draws a bar, and is a lineView in all else.
type barView struct {
	lineView
	bar *progressbar.ProgressBar
}

func (v *barView) progress(s fetch.Stats) {
	if !v.step(time.Now(), have(s)) {
		return
	}
	if v.bar == nil {
		v.bar = progressbar.NewOptions64(s.Content,
			progressbar.OptionSetWriter(v.err), progressbar.OptionSetWidth(24), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetElapsedTime(false), progressbar.OptionSetPredictTime(false),
			progressbar.OptionShowDescriptionAtLineEnd())
	}
	v.bar.Describe(describe(s, v.rate)) // rate and ETA are ours: the bar's would count what was there before
	_ = v.bar.Set64(have(s))
}

func (v *barView) done(d getDone) error {
	v.close()
	return v.lineView.done(d)
}

func (v *barView) close() {
	if v.bar != nil {
		_ = v.bar.Clear()
		v.bar = nil
	}
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
