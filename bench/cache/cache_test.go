package cache

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/bench/line"
	"github.com/dunlin-project/dunlin/e2e/lab"
)

var (
	runs     = flag.Int("runs", 5, "how many rounds there are; in each every row has its turn; 1 with -short")
	size     = flag.Int64("mib", 256, "size of the content in MiB; 8 with -short")
	only     = flag.String("only", "", "which rows, comma-separated: "+strings.Join(names(), " ")+" (default all)")
	rowsFile = flag.String("json", "", "file for what each round has measured, a JSON object a line (default ../out/TestCache.jsonl)")
)

// scale is what the short form makes smaller.
type scale struct {
	size    int64 // of the content, bytes
	mbit    int   // of the origin's line
	clients int   // that ask the node at once, and agents beside it
	crowd   int   // clients behind one address
	slice   int64 // what each of these takes, bytes
	passes  int   // how often each client of a hit takes the file
}

func scaleOf() scale {
	if testing.Short() {
		return scale{size: 8 << 20, mbit: 50, clients: 4, crowd: 200, slice: 64 << 10, passes: 2}
	}
	return scale{size: *size << 20, mbit: 100, clients: 12, crowd: 200, slice: 8 << 20, passes: 2}
}

// bench is one run of the table.
type bench struct {
	t   *testing.T
	bin string
	scale
	*line.Network         // the node's host is the first; nil until a row needs it
	bound         float64 // seconds that one curl straight from the origin took in this round; 0: not yet

	hits   *hits  // nil until a row needs it
	differ []turn // of this round, for the row that holds counts against each other
}

// TestCache prints the table of the cache node.
func TestCache(t *testing.T) {
	lab.Need(t, "ip", "tc", "nginx", "curl", "pgrep", "cmp")
	b := &bench{t: t, bin: lab.Binary(t), scale: scaleOf()}
	rounds := *runs
	if testing.Short() {
		rounds = 1
	}
	out := line.OpenRows(t, *rowsFile)
	results := make(map[string][]outcome)
	var maker lab.Maker
	for round := range rounds {
		b.bound = 0
		for _, r := range rows() {
			if *only != "" && !slices.Contains(strings.Split(*only, ","), r.name) {
				continue
			}
			if r.site && b.Network == nil {
				b.Network = line.Build(t, &maker, line.Shape{Devices: 1 + b.clients, Size: b.size, Mbit: b.mbit})
			}
			o := r.measure(b)
			results[r.name] = append(results[r.name], o)
			sayRound(round, r, o)
			add(t, out, r, round, o)
		}
	}
	b.sayTable(rounds, results)
}

// fail reports what must hold on any machine.
func (b *bench) fail(format string, args ...any) {
	b.t.Helper()
	b.t.Errorf(format, args...)
}

// must ends the test at an error.
func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// write makes a file of the test's.
func (b *bench) write(name string, data []byte) {
	b.t.Helper()
	b.must(os.WriteFile(name, data, 0o644))
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
