package swarm

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/dunlin-project/dunlin/internal/measure/measuretest"
)

var update = flag.Bool("update", false, "write testdata anew")

// TestMetricNames holds the names, labels and their values, on which dashboards and alerts rely, to a file.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	n, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	got := measuretest.Text(t, n.Metrics()...)
	const file = "testdata/metrics.golden"
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v; -update writes %s:\n%s", err, file, got)
	}
}
