package page

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// maxFlows is how many are drawn on each side; the others become one.
const maxFlows = 6

// flow is one who gives to this machine, or takes from it.
type flow struct {
	Kind  string // origin, cache, peer, http: a class of the style sheet
	Label string
	Rate  int64 // bytes per second
	Bytes int64 // over this connection, or since the start
	order int   // the origin is first, and so on
}

// Text is what stands below the label.
func (f flow) Text() string {
	if f.Rate > 0 {
		return rateText(f.Rate)
	}
	return "idle, " + SizeText(f.Bytes) + " so far"
}

// flows returns who gives and who takes, those that move most first.
func (s Snapshot) flows() (in, out []flow) {
	in = append(in, flow{Kind: "origin", Label: "Origin", Rate: s.Now.Origin, Bytes: s.Total.Origin})
	if f, ok := s.byHTTP(); ok {
		in = append(in, f)
	}
	for _, p := range s.Peers {
		kind, label, order := "peer", "Device ", 2
		if p.Role != "device" {
			kind, label, order = "cache", "Cache node ", 1
		}
		label += shortID(p.ID)
		if p.Received > 0 || kind == "cache" && s.Kind == Device {
			in = append(in, flow{kind, label, p.In, p.Received, order})
		}
		if p.Sent > 0 {
			out = append(out, flow{kind, label, p.Out, p.Sent, order})
		}
	}
	if s.Kind == Node {
		out = append(out, flow{Kind: "http", Label: "By HTTP", Rate: s.Now.HTTP, Bytes: s.Total.HTTP})
	}
	return fewer(in), fewer(out)
}

// byHTTP is what cache nodes give that are asked by HTTP: what came from nodes and not over their connections. It is there
// while a transfer knows of any.
func (s Snapshot) byHTTP() (flow, bool) {
	f := flow{Kind: "cache", Label: "Nodes by HTTP", Rate: s.Now.Cache, order: 1}
	for _, t := range s.Transfers {
		if t.Sources != nil {
			f.Bytes += t.Sources.Caches
		}
	}
	for _, p := range s.Peers {
		if p.Role != "device" {
			f.Rate -= p.In
		}
	}
	f.Rate = max(0, f.Rate)
	return f, f.Bytes > 0
}

// fewer keeps maxFlows, the last of which is all the rest.
func fewer(all []flow) []flow {
	slices.SortStableFunc(all, func(a, b flow) int {
		if a.order != b.order && (a.order == 0 || b.order == 0) {
			return a.order - b.order
		}
		return int(min(1, max(-1, b.Rate-a.Rate)))
	})
	if len(all) <= maxFlows {
		return all
	}
	rest := flow{Kind: "peer", Label: fmt.Sprintf("%d others", len(all)-maxFlows+1)}
	for _, f := range all[maxFlows-1:] {
		rest.Rate += f.Rate
		rest.Bytes += f.Bytes
	}
	return append(all[:maxFlows-1:maxFlows-1], rest)
}

// picture is the geometry of who gives to whom, in the units of an SVG.
type picture struct {
	Class         string
	Width, Height int
	Self          box
	Boxes         []box
	Lines         []line
	Alt           string
}

// box is a named place; X and Y are its upper left corner.
type box struct {
	X, Y, W, H  int
	Kind        string
	Label, Text string
}

// line leads from one place to another, in the direction of the bytes.
type line struct {
	Path  string
	Head  string // the points of the arrow's head
	Width float64
	Kind  string
	Idle  bool
}

const (
	boxHeight = 48
	boxGap    = 12
	wideBox   = 216
	wideSelf  = 210
	wideWidth = 820
	tallWidth = 330
	tallBox   = 216
)

// widePicture has givers on the left, this machine in the middle, takers on the right.
func (s Snapshot) widePicture() picture {
	in, out := s.flows()
	rows := max(len(in), len(out), 2)
	p := picture{Class: "wide", Width: wideWidth, Height: rows*(boxHeight+boxGap) + boxGap, Alt: s.pictureText(in, out)}
	middle := p.Height / 2
	p.Self = box{wideWidth/2 - wideSelf/2, middle - 36, wideSelf, 72, "self", "This " + string(s.Kind), s.selfText()}
	place := func(all []flow, x int, giving bool) {
		top := middle - (len(all)*(boxHeight+boxGap)-boxGap)/2
		for i, f := range all {
			y := top + i*(boxHeight+boxGap)
			p.Boxes = append(p.Boxes, box{x, y, wideBox, boxHeight, f.Kind, f.Label, f.Text()})
			from, to := point{wideBox, y + boxHeight/2}, point{p.Self.X, middle + spread(i, len(all))}
			if !giving {
				from, to = point{p.Self.X + p.Self.W, middle + spread(i, len(all))}, point{x, y + boxHeight/2}
			}
			p.Lines = append(p.Lines, across(from, to, f))
		}
	}
	place(in, 0, true)
	place(out, wideWidth-wideBox, false)
	return p
}

// tallPicture has givers above, takers below: for a narrow screen.
func (s Snapshot) tallPicture() picture {
	in, out := s.flows()
	p := picture{Class: "tall", Width: tallWidth, Alt: s.pictureText(in, out)}
	x, y := tallWidth-tallBox, boxGap
	p.Self = box{x - 20, y + len(in)*(boxHeight+boxGap), tallBox + 20, 56, "self", "This " + string(s.Kind), s.selfText()}
	middle := p.Self.Y + p.Self.H/2
	for i, f := range in {
		p.Boxes = append(p.Boxes, box{x, y, tallBox, boxHeight, f.Kind, f.Label, f.Text()})
		p.Lines = append(p.Lines, around(point{x, y + boxHeight/2}, point{p.Self.X, middle - 6}, (len(in)-i)*12, f))
		y += boxHeight + boxGap
	}
	y = p.Self.Y + p.Self.H + boxGap
	for i, f := range out {
		p.Boxes = append(p.Boxes, box{x, y, tallBox, boxHeight, f.Kind, f.Label, f.Text()})
		p.Lines = append(p.Lines, around(point{p.Self.X, middle + 6}, point{x, y + boxHeight/2}, (i+1)*12, f))
		y += boxHeight + boxGap
	}
	p.Height = y
	return p
}

func (s Snapshot) selfText() string {
	return rateText(s.Now.In()) + " in, " + rateText(s.Now.Out()) + " out"
}

type point struct{ x, y int }

// spread keeps lines apart where they meet.
func spread(i, n int) int { return (2*i - (n - 1)) * 4 }

const headLength = 10

// across is a line from left to right.
func across(from, to point, f flow) line {
	end, bend := to.x-headLength, (to.x-from.x)/2
	return f.line(fmt.Sprintf("M%d %dC%d %d %d %d %d %d", from.x, from.y, from.x+bend, from.y, end-bend+headLength, to.y, end, to.y), to)
}

// around is a line that leaves to the left, goes down and comes back.
func around(from, to point, reach int, f flow) line {
	left := min(from.x, to.x) - reach
	end := to.x - headLength
	return f.line(fmt.Sprintf("M%d %dC%d %d %d %d %d %d", from.x, from.y, left, from.y, left, to.y, end, to.y), to)
}

func (f flow) line(path string, to point) line {
	l := line{Path: path, Kind: f.Kind, Idle: f.Rate == 0, Width: lineWidth(f.Rate)}
	half := int(math.Ceil(l.Width/2)) + 3
	l.Head = fmt.Sprintf("%d,%d %d,%d %d,%d", to.x, to.y, to.x-headLength, to.y-half, to.x-headLength, to.y+half)
	return l
}

// lineWidth grows with the logarithm: from 10 KiB/s to 1 GiB/s all can be told apart.
func lineWidth(rate int64) float64 {
	if rate <= 0 {
		return 1.5
	}
	w := 2 + 2*math.Log10(float64(rate)/(10<<10))
	return math.Round(10*min(12, max(2, w))) / 10
}

// pictureText says in words what the picture shows.
func (s Snapshot) pictureText(in, out []flow) string {
	text := func(all []flow, verb string) string {
		var parts []string
		for _, f := range all {
			if f.Rate > 0 {
				parts = append(parts, f.Label+" "+rateText(f.Rate))
			}
		}
		if len(parts) == 0 {
			return "Nothing " + verb + "."
		}
		return strings.Join(parts, ", ") + " " + verb + "."
	}
	return text(in, "comes in") + " " + text(out, "goes out")
}
