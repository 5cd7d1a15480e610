package page

import (
	"math"
	"slices"
	"time"
)

// chart is the geometry of one chart: stacked bars of what came in, by kind of source, and marks of what was delivered.
type chart struct {
	ID            string
	Title         string
	Summary       string // in words
	Empty         bool
	Width, Height int
	Bars          []chartBar
	Rows          []chartRow // those in which something came or went, newest first
	Labels        []string   // of the upright axis, the largest first
	Times         []string   // of the level axis, from left to right
	Delivered     string     // what the mark stands for
}

type chartBar struct {
	X, W  float64
	Parts []chartPart
	// The mark of what was delivered, a little wider than the bar, if anything was.
	Marked             bool
	MarkX, MarkW, Mark float64
	Text               string
}

// chartRow is one row of the table of figures.
type chartRow struct {
	When string
	Sum
}

type chartPart struct {
	Kind string
	Y, H float64
}

const (
	chartWidth  = 720
	chartHeight = 160
	barShare    = 0.72 // of its place
)

// newChart draws bars; times are the words below it.
func newChart(id, title string, bars []Bar, k Kind, when func(Bar) string, times []string) chart {
	c := chart{
		ID: id, Title: title, Width: chartWidth, Height: chartHeight, Times: times, Delivered: "Delivered here",
	}
	if k == Node {
		c.Delivered = "Given out"
	}
	var most int64
	var sum Sum
	for _, b := range bars {
		most = max(most, b.In(), b.Delivered)
		sum.Origin, sum.Cache, sum.Peers = sum.Origin+b.Origin, sum.Cache+b.Cache, sum.Peers+b.Peers
		sum.Delivered += b.Delivered
	}
	c.Empty = most == 0
	top := roundUp(most)
	c.Labels = []string{SizeText(top), SizeText(top / 2), "0"}
	c.Summary = "From the origin " + SizeText(sum.Origin) + ", from cache nodes " + SizeText(sum.Cache) +
		", from devices " + SizeText(sum.Peers) + "; " + c.deliveredWord() + " " + SizeText(sum.Delivered) + "."
	place := float64(chartWidth) / float64(len(bars))
	for i, b := range bars {
		c.Bars = append(c.Bars, barOf(b, float64(i)*place, place, top, when(b)))
		if b.In() > 0 || b.Delivered > 0 {
			c.Rows = append(c.Rows, chartRow{when(b), b.Sum})
		}
	}
	slices.Reverse(c.Rows)
	return c
}

// Half is the height of the middle line.
func (c chart) Half() int { return c.Height / 2 }

func (c chart) deliveredWord() string {
	if c.Delivered == "Given out" {
		return "given out"
	}
	return "delivered here"
}

func barOf(b Bar, x, place float64, top int64, when string) chartBar {
	out := chartBar{X: round2(x + place*(1-barShare)/2), W: round2(place * barShare)}
	out.Text = when + ": origin " + SizeText(b.Origin) + ", cache nodes " + SizeText(b.Cache) + ", devices " + SizeText(b.Peers) +
		"; delivered " + SizeText(b.Delivered)
	height := func(n int64) float64 { return float64(n) / float64(top) * chartHeight }
	y := float64(chartHeight)
	for _, part := range []struct {
		kind string
		n    int64
	}{{"origin", b.Origin}, {"cache", b.Cache}, {"peer", b.Peers}} {
		if part.n == 0 {
			continue
		}
		h := height(part.n)
		y -= h
		out.Parts = append(out.Parts, chartPart{part.kind, round2(y), round2(h)})
	}
	if b.Delivered > 0 {
		out.Marked, out.MarkX, out.MarkW, out.Mark = true, round2(x), round2(place), round2(chartHeight-height(b.Delivered))
	}
	return out
}

func round2(f float64) float64 { return math.Round(f*100) / 100 }

// roundUp returns the next number of bytes that is 1, 2 or 5 times a power of ten of its unit, at least 1 KiB.
func roundUp(n int64) int64 {
	unit := int64(1 << 10)
	for unit < 1<<40 && n > 500*unit {
		unit <<= 10
	}
	for step := unit; ; step *= 10 {
		for _, f := range []int64{1, 2, 5} {
			if step*f >= n {
				return step * f
			}
		}
	}
}

// charts are the two of the page.
func (s Snapshot) charts() []chart {
	clock := func(t time.Time) string { return t.Format("15:04") }
	day := func(t time.Time) string { return t.Format("2 Jan") }
	spread := func(bars []Bar, word func(time.Time) string, now string) []string {
		return []string{word(bars[0].From), word(bars[len(bars)/3].From), word(bars[2*len(bars)/3].From), now}
	}
	return []chart{
		newChart("hours", "Last 6 hours", s.Minutes, s.Kind, func(b Bar) string { return clock(b.From) }, spread(s.Minutes, clock, "now")),
		newChart("days", "Last 30 days", s.Days, s.Kind, func(b Bar) string { return day(b.From) }, spread(s.Days, day, "today")),
	}
}
