package agent

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/measure/measuretest"
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

// TestMetricNames: dashboards and alert rules hang on them. They are those of an agent that has gone through a cycle.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := payload(1, 50_000)
	w.offer("app", "1.0", 1, app)
	a := w.device(nil).agent()
	if err := a.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	golden(t, "metrics.golden", measuretest.Text(t, a.Metrics()...))
	got := measuretest.Values(t, a.Metrics()...)
	for name, want := range map[string]float64{
		`dunlin_received_bytes_total{source="origin",use="useful"}`: float64(len(app)),
		`dunlin_content_bytes_total{kind="app"}`:                    float64(len(app)),
		`dunlin_origin_bytes_total{reason="no_peers"}`:              float64(len(app)),
		`dunlin_jobs_total{action="install",outcome="ok"}`:          1,
		`dunlin_updates{state="installed"}`:                         1,
		`dunlin_download_duration_seconds`:                          1,
		`dunlin_active_transfers{kind="download"}`:                  0,
	} {
		if v, ok := got[name]; v != want || !ok {
			t.Errorf("%s is %v, want %v", name, v, want)
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
	if err != nil || !strings.Contains(string(body), `dunlin_build_info{`) || !strings.Contains(string(body), `dunlin_content_bytes_total{kind="app"} 0`) {
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
