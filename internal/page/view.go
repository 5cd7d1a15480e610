package page

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// view is a snapshot as the templates want it.
type view struct {
	Snapshot
	Charts []chart
	assets *assets
}

func newView(s Snapshot, a *assets) view { return view{s, s.charts(), a} }

// Asset returns the path of an embedded file.
func (v view) Asset(name string) string { return v.assets.path(name) }

// Say is the line under the title.
func (v view) Say() string { return v.say() }

// Pictures are the same picture for wide and for narrow screens.
func (v view) Pictures() []picture { return []picture{v.widePicture(), v.tallPicture()} }

// Heading is what sort of machine this is.
func (v view) Heading() string {
	if v.Kind == Node {
		return "Dunlin cache node"
	}
	return "Dunlin device"
}

// Title names the machine for a tab.
func (v view) Title() string { return v.Heading() + " " + v.Name }

// ItemsTitle is the heading over the items.
func (v view) ItemsTitle() string {
	if v.Kind == Node {
		return "Content"
	}
	return "Updates"
}

// ItemsCaption says what the items are.
func (v view) ItemsCaption() string {
	if v.Kind == Node {
		return "Content that this node has, fetches or knows of"
	}
	return "Updates that this device knows of, and why each is as it is"
}

// MarkWord is what the mark in a chart stands for.
func (v view) MarkWord() string {
	if v.Kind == Node {
		return "given out"
	}
	return "delivered here"
}

// tile is a sum in front of the charts.
type tile struct {
	Word, Delivered string
	Sum             Sum
}

// DayTile and MonthTile are the sums in front of the charts.
func (v view) DayTile() tile { return tile{"last 24 hours", v.MarkWord(), v.Day} }

// MonthTile is the longer one.
func (v view) MonthTile() tile { return tile{"last 30 days", v.MarkWord(), v.Month} }

// InnerW is the width of a box within its frame.
func (b box) InnerW() int { return b.W - 2 }

// InnerH is the height of a box within its frame.
func (b box) InnerH() int { return b.H - 2 }

// LabelY is where the first line of a box stands.
func (b box) LabelY() int { return b.H/2 - 4 }

// ValueY is where the second line of a box stands.
func (b box) ValueY() int { return b.H/2 + 15 }

// functions are what the templates may call.
func functions() template.FuncMap {
	return template.FuncMap{
		"size": SizeText, "rate": rateText, "percent": percent, "ago": agoText, "why": why, "left": leftText, "lower": strings.ToLower,
		"short":   func(id fetch.PeerID) string { return shortID(id) },
		"iso":     func(t time.Time) string { return t.Format(time.RFC3339) },
		"clock":   func(t time.Time) string { return t.Format(time.TimeOnly) },
		"seconds": func(s float64) string { return fmt.Sprintf("%.1f s", s) },
		"rtt": func(s float64) string {
			if s <= 0 {
				return "–"
			}
			return fmt.Sprintf("%.1f ms", 1000*s)
		},
	}
}
