package boards

// Board is one dashboard.
type Board struct {
	File        string // name in deploy/grafana
	UID, Title  string
	Description string // a sentence
	Variables   []Variable
	Rows        []Row
}

// Variable is what people choose at the top of a board, besides the data source.
type Variable struct {
	Name, Label string
	Metric      string // a selector; its values of the label Name are offered
	All         bool   // several may be chosen, or all
}

// Row is panels side by side, as many to a line as fit.
type Row struct {
	Title  string
	Panels []Panel
}

// Kind is how a panel shows what it asks for.
type Kind string

// The kinds of panels, by Grafana's names.
const (
	Stat  Kind = "stat"       // one number
	Lines Kind = "timeseries" // over time
	Areas Kind = "areas"      // over time, one on the other
	Bars  Kind = "bargauge"   // one bar for each series
)

// Panel is one picture.
type Panel struct {
	Kind        Kind
	Title       string
	Description string // sentences
	Unit        string // Grafana's name
	Width       int    // of 24; 0 is what is usual for the kind
	Queries     []Query
}

// Query is one question in PromQL. Of $__range and $__rate_interval Grafana makes durations.
type Query struct {
	Expr   string
	Legend string // as Grafana has it: {{label}}
}

// Units that the boards use.
const (
	Bytes    = "bytes"
	Rate     = "Bps"
	Share    = "percentunit"
	Seconds  = "s"
	Count    = "short"
	PerSec   = "ops"
	YesOrNo  = "bool_yes_no"
	lineWide = 12
	statWide = 4
	barWide  = 8
)

func (p Panel) width() int {
	switch {
	case p.Width > 0:
		return p.Width
	case p.Kind == Stat:
		return statWide
	case p.Kind == Bars:
		return barWide
	default:
		return lineWide
	}
}

func (p Panel) height() int {
	if p.Kind == Stat {
		return 4
	}
	return 8
}

// All returns the boards.
func All() []Board { return []Board{site(), fleet(), device(), node()} }

// one is a panel's only question.
func one(expr string) []Query { return []Query{{Expr: expr}} }

// by is a question with many answers, told apart by a label.
func by(label, expr string) []Query { return []Query{{Expr: expr, Legend: "{{" + label + "}}"}} }
