package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// valueOf returns the value of a counter or gauge that has one series.
func valueOf(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || len(families[0].GetMetric()) != 1 {
		t.Fatalf("%d families: %v", len(families), err)
	}
	m := families[0].GetMetric()[0]
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

// TestMetricNames: dashboards and alert rules hang on them.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	a := &Agent{metrics: newMetrics("1.2.3"), gate: httpfallback.NewGate(httpfallback.GateConfig{})}
	a.metrics.showStatus(exampleStatus())
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(a.Metrics()...)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range families {
		if !strings.HasSuffix(f.GetHelp(), ".") || !strings.HasPrefix(f.GetName(), "dunlin_") {
			t.Errorf("%s: %q", f.GetName(), f.GetHelp())
		}
		series := make(map[string]bool)
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				value := l.GetValue()
				if l.GetName() == "go_version" || l.GetName() == "version" {
					value = "..."
				}
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), value))
			}
			series[f.GetName()+"{"+strings.Join(labels, ",")+"} "+strings.ToLower(f.GetType().String())] = true
		}
		for s := range series {
			lines = append(lines, s)
		}
	}
	slices.Sort(lines)
	golden(t, "metrics.golden", []byte(strings.Join(lines, "\n")+"\n"))
}

func TestTransferMeterCountsEachByteOnce(t *testing.T) {
	t.Parallel()
	m := newMetrics("")
	meter := transferMeter{m: m}
	meter.update(fetch.Stats{From: fetch.From{Origin: 10}, Waste: 10})
	meter.update(fetch.Stats{From: fetch.From{Origin: 20, Peers: 5}, Waste: 15})
	meter.end(fetch.Stats{From: fetch.From{Origin: 30, Peers: 5, Cache: 7}, Waste: 2, Elapsed: time.Second}, nil)
	for name, c := range map[string]struct {
		c    prometheus.Collector
		want float64
	}{
		"origin":  {m.received.WithLabelValues("origin"), 30},
		"peer":    {m.received.WithLabelValues("peer"), 5},
		"cache":   {m.received.WithLabelValues("cache"), 7},
		"wasted":  {m.wasted, 2},
		"content": {m.content, 40},
	} {
		if got := valueOf(t, c.c); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestPieceChecksAreCounted(t *testing.T) {
	t.Parallel()
	m := newMetrics("")
	b, manifest := fetchtest.Content(1, 50_000, 16<<10)
	p := checkedPart{fetchtest.NewPart(manifest), m.checks}
	piece := b[:16<<10]
	bad := append([]byte{b[0] ^ 1}, b[1:16<<10]...)
	for _, data := range [][]byte{bad, piece, piece, bad} {
		_, _ = p.Put(0, data)
	}
	for result, want := range map[string]float64{checkGood: 1, checkDuplicate: 1, checkBad: 2} {
		if got := valueOf(t, m.checks.WithLabelValues(result)); got != want {
			t.Errorf("%s: %v, want %v", result, got, want)
		}
	}
}

func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	a := &Agent{cfg: Config{Metrics: "127.0.0.1:0"}, opt: Options{Gatherer: reg}, metrics: newMetrics("9")}
	reg.MustRegister(a.metrics.collectors()...)
	ctx, cancel := context.WithCancel(t.Context())
	addr, done := make(chan string, 1), make(chan error, 1)
	a.metricsUp = func(s string) { addr <- s }
	go func() { done <- a.serveMetrics(ctx) }()
	res, err := http.Get("http://" + <-addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || !strings.Contains(string(body), `dunlin_build_info{`) || !strings.Contains(string(body), "dunlin_content_bytes_total 0") {
		t.Errorf("%v\n%s", err, body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestMetricsOnATakenAddress(t *testing.T) {
	t.Parallel()
	a := &Agent{cfg: Config{Metrics: "192.0.2.1:1"}, opt: Options{Gatherer: prometheus.NewRegistry()}}
	if err := a.serveMetrics(t.Context()); !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
		t.Errorf("%v", err)
	}
}

func TestOutcomeWords(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		nil, errors.New("x"), fault.New(fault.Unavailable, "x"), fault.New(fault.Untrusted, "x"),
		fault.New(fault.Refused, "x"), fault.New(fault.Install, "x"),
	} {
		if got := outcome(err); !slices.Contains(outcomes(), got) {
			t.Errorf("%v: %q has no series", err, got)
		}
	}
}

// TestOriginState: while a download runs, one state of the origin is shown, and none after it.
func TestOriginState(t *testing.T) {
	t.Parallel()
	m := newMetrics("1.2.3")
	shown := func() (states []string) {
		reg := prometheus.NewRegistry()
		reg.MustRegister(m.origin)
		families, err := reg.Gather()
		if err != nil || len(families) != 1 {
			t.Fatalf("%d families: %v", len(families), err)
		}
		for _, g := range families[0].GetMetric() {
			if g.GetGauge().GetValue() == 1 {
				states = append(states, g.GetLabel()[0].GetValue())
			}
		}
		return states
	}
	for _, s := range fetch.OriginStandings() {
		m.showSources(fetch.View{Origin: fetch.OriginView{Standing: s}})
		if got := shown(); !slices.Equal(got, []string{string(s)}) {
			t.Errorf("%s: %q are shown", s, got)
		}
	}
	m.showSources(fetch.View{Final: true, Origin: fetch.OriginView{Standing: fetch.Drawing}})
	if got := shown(); len(got) > 0 {
		t.Errorf("after its end %q are shown", got)
	}
}
