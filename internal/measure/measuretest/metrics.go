// Package measuretest holds the metrics of a program to a golden file: their names, types, helps, label names and label values,
// on which dashboards and alert rules rely. Start reading at Text.
package measuretest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// Prefix begins the name of every metric of ours.
const Prefix = "dunlin_"

// Text describes what the collectors show: a line for each metric, and below it one for each of its series, values left out.
// It fails the test for names that Prometheus' own linter does not like, and for helps that are no sentences.
func Text(t *testing.T, all ...prometheus.Collector) []byte {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(all...)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	var b strings.Builder
	for _, f := range families {
		help := f.GetHelp()
		if !strings.HasPrefix(f.GetName(), Prefix) || !strings.HasSuffix(help, ".") || help[:1] != strings.ToUpper(help[:1]) {
			t.Errorf("%s is not ours, or its help is no sentence: %q", f.GetName(), help)
		}
		fmt.Fprintf(&b, "%s %s %s\n", f.GetName(), strings.ToLower(f.GetType().String()), help)
		var series []string
		for _, m := range f.GetMetric() {
			series = append(series, labelSet(m.GetLabel()))
		}
		slices.Sort(series)
		for _, s := range slices.Compact(series) {
			fmt.Fprintf(&b, "\t%s\n", s)
		}
	}
	return []byte(b.String())
}

// labelSet writes labels as Prometheus does. Versions are left out.
func labelSet[L interface {
	GetName() string
	GetValue() string
}](labels []L,
) string {
	var out []string
	for _, l := range labels {
		value := l.GetValue()
		if l.GetName() == "version" || l.GetName() == "go_version" {
			value = "..."
		}
		out = append(out, fmt.Sprintf("%s=%q", l.GetName(), value))
	}
	return "{" + strings.Join(out, ",") + "}"
}

// Values are all samples that the collectors show, by name and labels as in Prometheus' text: dunlin_x_total{a="b"}. A
// histogram is its count.
func Values(t *testing.T, all ...prometheus.Collector) map[string]float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(all...)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName() + labelSet(m.GetLabel())
			out[strings.TrimSuffix(name, "{}")] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}
