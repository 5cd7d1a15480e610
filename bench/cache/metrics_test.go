package cache

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// originBytes is what the node's metrics say that origins have sent it. The node runs.
func (b *bench) originBytes() int64 {
	b.t.Helper()
	n, err := sumOf(b.Run(b.Hosts[0], "curl", "-sf", "http://127.0.0.1:9681/metrics"), "dunlin_origin_bytes_total")
	b.must(err)
	return n
}

// sumOf adds up the series of a counter. One that is not there is an error: its name has changed.
func sumOf(exposition, name string) (sum int64, err error) {
	series := 0
	for text := range strings.Lines(exposition) {
		if !strings.HasPrefix(text, name+"{") && !strings.HasPrefix(text, name+" ") {
			continue
		}
		f := strings.Fields(text)
		v, err := strconv.ParseFloat(f[len(f)-1], 64)
		if err != nil {
			return 0, fmt.Errorf("%q: %w", text, err)
		}
		sum += int64(v)
		series++
	}
	if series == 0 {
		return 0, fmt.Errorf("the metrics have no %s", name)
	}
	return sum, nil
}

func TestSumOf(t *testing.T) {
	t.Parallel()
	const text = "# HELP a_total Words.\na_total{reason=\"own\"} 5\na_total{reason=\"no peers\"} 1.048576e+06\na_total_more 9\nb_total 3\n"
	for name, want := range map[string]int64{"a_total": 5 + 1<<20, "b_total": 3} {
		if got, err := sumOf(text, name); err != nil || got != want {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	if _, err := sumOf(text, "c_total"); err == nil {
		t.Error("a counter that is not there has a sum")
	}
}
