package cache

import "fmt"

// row is one line of the table.
type row struct {
	name string // as in -only
	says string
	site bool // needs the network
	// wants is what is to be reached, by the measures in the order of outcome.values.
	wants   []want
	measure func(b *bench) outcome
	// timed rows say nothing when the processors had nothing left: then the machine was measured. A ratio of two programs that
	// take turns on a busy machine is none of these.
	timed bool
}

// want is a bound of one measure.
type want struct {
	unit  string // "x nginx"
	bound float64
	least bool // the bound is the least that is to be reached, not the most
}

func (w want) reached(v float64) bool {
	v = round3(v)
	return w.least && v >= w.bound || !w.least && v <= w.bound
}

func (w want) String() string {
	sign := "<="
	if w.least {
		sign = ">="
	}
	return fmt.Sprintf("%s %.4g %s", sign, w.bound, w.unit)
}

// outcome is one turn of one row.
type outcome struct {
	Values []float64 `json:"values"`
	Idle   float64   `json:"idle"` // share of the machine's processor time
	Note   string    `json:"note"`
}

// starved is the idle share below which the machine, and not the node, is measured.
const starved = 0.10

func (r row) judged(o outcome) bool { return !r.timed || o.Idle >= starved }

// rows are all of the table.
func rows() []row {
	return []row{
		{
			name: "hit", says: "hit, 8 clients, loopback",
			wants: []want{{"x nginx", 0.9, true}}, measure: (*bench).hit,
		},
		{
			name: "cold", says: "cold, 1 client", site: true, timed: true,
			wants: []want{{"x curl", 0.97, true}, {"copies", 1, false}}, measure: (*bench).coldOne,
		},
		{
			name: "many", says: "cold, 12 clients at once", site: true,
			wants: []want{{"copies", 1, false}}, measure: (*bench).coldMany,
		},
		{
			name: "agents", says: "12 agents and a node", site: true, timed: true,
			wants: []want{{"copies", 1.01, false}, {"x one curl", 1.06, false}}, measure: (*bench).agents,
		},
		{
			name: "killed", says: "node killed at half time", site: true, timed: true,
			wants: []want{{"copies", 1.10, false}, {"agents without the file", 0, false}}, measure: (*bench).killed,
		},
		{
			name: "count", says: "origin bytes, said against logged", site: true,
			wants: []want{{"bytes apart, nothing broken", 0, false}}, measure: (*bench).count,
		},
		{
			name: "memory", says: "200 clients at line rate", site: true,
			wants: []want{{"MiB of peak RSS", 200, false}}, measure: (*bench).memory,
		},
	}
}

func names() (out []string) {
	for _, r := range rows() {
		out = append(out, r.name)
	}
	return out
}

// round3 is a figure as it is judged.
func round3(f float64) float64 { return float64(int64(f*1000+0.5)) / 1000 }
