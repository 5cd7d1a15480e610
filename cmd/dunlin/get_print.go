package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/dunlin-project/dunlin/fetch"
)

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
	sum := ""
	if d.SHA256 != nil {
		sum = fmt.Sprintf("  sha256 %v\n", d.SHA256)
	}
	_, err := fmt.Fprintf(v.out, "%s: %s in %.1f s (%s)\n%s  root   %v\n", d.File, sizeText(d.Bytes), d.Seconds, from, sum, d.Root)
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
