package site

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/bench/line"
)

var (
	devices    = flag.String("devices", "", "numbers of devices, comma-separated (default 1,4,12; 12 for disturbances)")
	sizes      = flag.String("mib", "", "sizes of the content in MiB, comma-separated (default 64; 256 for disturbances)")
	rates      = flag.String("mbit", "", "rates of the origin's line in Mbit/s, comma-separated (default 100)")
	clients    = flag.String("clients", "dunlin,libtorrent,tuned,aria2", "who takes turns: dunlin, libtorrent, tuned, aria2; the bound, a curl, always does")
	runs       = flag.Int("runs", 0, "how many rounds there are; in each the bound and every client take a turn (default 5; 1 for disturbances)")
	others     = flag.Int("others", 2, "in how many of these rounds the clients of others take part")
	only       = flag.String("scenes", "", "which disturbances, comma-separated: "+sceneNames()+" (default all)")
	warmStart  = flag.Bool("warm", false, "the devices are connected to each other when the download starts (dunlin only)")
	keepLog    = flag.String("logs", "", "folder that gets what the clients print")
	traceTwice = flag.Bool("twice", false, "list what the origin has sent more than once to dunlin, to which device, why and when")
	rowsFile   = flag.String("json", "", "file for the rows of the table, a JSON object a line (default ../out/TEST.jsonl)")
)

// plan is one table: one network with one content.
type plan struct {
	line.Shape
	warm    bool
	clients []string // without the bound
}

// plans returns what to measure: what the flags say; with FULL=1 the whole sweep, with -short a small one.
func plans(t *testing.T) (out []plan) {
	t.Helper()
	switch {
	case testing.Short():
		return []plan{{Shape: line.Shape{Devices: 3, Size: 8 << 20, Mbit: 50}, clients: []string{"dunlin"}}}
	case os.Getenv("FULL") == "1":
		return fullPlans()
	}
	names := strings.Split(*clients, ",")
	for _, mbit := range numbers(t, *rates, 100) {
		for _, mib := range numbers(t, *sizes, 64) {
			for _, n := range numbers(t, *devices, 1, 4, 12) {
				p := plan{Shape: line.Shape{Devices: n, Size: int64(mib) << 20, Mbit: mbit}, warm: *warmStart, clients: names}
				if n == 1 || p.warm { // others have nothing to show alone, and no such start
					p.clients = []string{"dunlin"}
				}
				out = append(out, p)
			}
		}
	}
	return out
}

// fullPlans is the sweep. From 16 devices on the line has 50 Mbit/s: at twice the rate two processors are the limit.
func fullPlans() (out []plan) {
	add := func(n, mib, mbit int, warm bool, clients ...string) {
		s := line.Shape{Devices: n, Size: int64(mib) << 20, Mbit: mbit}
		out = append(out, plan{Shape: s, warm: warm, clients: append([]string{"dunlin"}, clients...)})
	}
	all := []string{"libtorrent", "tuned", "aria2"}
	for _, mib := range []int{64, 256} {
		add(1, mib, 100, false)
		for _, n := range []int{2, 8} {
			add(n, mib, 100, false)
		}
		for _, n := range []int{4, 12} {
			add(n, mib, 50, false)
			add(n, mib, 100, false, all...)
			add(n, mib, 500, false)
		}
		for _, n := range []int{16, 32} {
			add(n, mib, 50, false, all...)
		}
	}
	for _, n := range []int{4, 12} {
		add(n, 64, 500, true)
	}
	return out
}

// numbers reads a flag; usual is what it means when it is not there.
func numbers(t *testing.T, list string, usual ...int) (out []int) {
	t.Helper()
	if list == "" {
		return usual
	}
	for s := range strings.SplitSeq(list, ",") {
		var n int
		if _, err := fmt.Sscan(s, &n); err != nil || n < 1 {
			t.Fatalf("%q is no list of numbers", list)
		}
		out = append(out, n)
	}
	return out
}

// first is the only number of a flag that has one.
func first(t *testing.T, list string, usual int) int {
	t.Helper()
	return numbers(t, list, usual)[0]
}

// rounds is how many there are.
func rounds(usual int) int {
	switch {
	case testing.Short():
		return 1
	case *runs > 0:
		return *runs
	default:
		return usual
	}
}

// goal is what a turn of Dunlin is to reach, 0 for none.
type goal struct {
	copies, perBound float64
	peak             int64 // bytes, of the worst device
}

// goal of the undisturbed cases that have one.
func (p plan) goal() goal {
	mib := int(p.Size >> 20)
	few := p.Devices <= 12 && p.Mbit == 100
	many := p.Devices > 12 && p.Devices <= 32 && p.Mbit == 50
	switch {
	case p.Devices == 1 && mib >= 256:
		return goal{1, 1.03, 64 << 20}
	case p.warm && p.Mbit == 500 && mib == 64:
		return goal{1.05, 1.15, 0}
	case p.Devices == 12 && p.Mbit == 100 && mib == 64:
		return goal{1.03, 1.10, 0}
	case p.Devices > 1 && mib == 256 && (few || many):
		return goal{1.02, 1.06, 0}
	}
	return goal{}
}

// verdict says whether an outcome reaches the goal. It fails nothing: what is reached depends on the machine.
func (g goal) verdict(o outcome) string {
	if g == (goal{}) {
		return ""
	}
	want, reached := fmt.Sprintf("to reach %.2f", g.copies), round3(o.Copies) <= g.copies
	if g.perBound > 0 {
		want += fmt.Sprintf(", %.2f", g.perBound)
		reached = reached && round3(o.PerBound) <= g.perBound
	}
	if g.peak > 0 {
		want += ", " + mib(g.peak)
		reached = reached && o.Peak <= g.peak
	}
	want += ": "
	switch {
	case !o.judged():
		return want + "not judged"
	case reached:
		return want + "reached"
	default:
		return want + "MISSED"
	}
}

// round3 is a figure as the table shows it.
func round3(f float64) float64 { return float64(int64(f*1000+0.5)) / 1000 }
