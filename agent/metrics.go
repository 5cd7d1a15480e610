package agent

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/measure"
	"github.com/dunlin-project/dunlin/metadata"
)

// metrics are those of one agent. No label holds a name of a device, of content or of an update. The names are in
// testdata/metrics.golden.
type metrics struct {
	transfers *measure.Transfers
	content   *prometheus.CounterVec // kind
	sources   *prometheus.GaugeVec   // state
	origin    *prometheus.GaugeVec   // state
	queue     prometheus.Histogram
	jobs      *prometheus.CounterVec // action, outcome
	cycles    *prometheus.CounterVec // outcome
	lastGood  prometheus.Gauge
	expiry    measure.Expiry
	updates   *prometheus.GaugeVec // state
	build     prometheus.Gauge

	counted counted // the same bytes, for the page
}

// outcomeOK stands beside the words of fault.Kind.
const outcomeOK = "ok"

func outcome(err error) string {
	if err == nil {
		return outcomeOK
	}
	return fault.Of(err).String()
}

func outcomes() []string {
	out := []string{outcomeOK}
	for _, k := range []fault.Kind{fault.Internal, fault.Unavailable, fault.Untrusted, fault.Refused, fault.Install} {
		out = append(out, k.String())
	}
	return out
}

// kinds are the words of metadata.Kind. No other gets past the check of a catalogue.
func kinds() (out []string) {
	for _, k := range []metadata.Kind{
		metadata.KindOS, metadata.KindApp, metadata.KindDriver, metadata.KindDefinition, metadata.KindStore,
	} {
		out = append(out, string(k))
	}
	return out
}

func newMetrics(version string) *metrics {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauges := func(name, help, label string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		transfers: measure.NewTransfers(),
		content:   measure.Content(kinds()...),
		sources: gauges("dunlin_sources",
			"Devices and caches that are sources of the download that runs, by why no more is asked of them.", "state"),
		origin: gauges("dunlin_origin_state",
			"1 for how the origin stands in the download that runs: why no more is asked of it.", "state"),
		queue: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "dunlin_source_queue_seconds",
			Help:    "How long what is asked of a source takes at its rate; each second one value for each source that is asked.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 8), NativeHistogramBucketFactor: 1.1,
		}),
		jobs:   counters("dunlin_jobs_total", "Jobs that have ended, by what was to be done and how it ended.", "action", "outcome"),
		cycles: counters("dunlin_cycles_total", "Cycles that have ended, by the worst that happened in them.", "outcome"),
		lastGood: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dunlin_last_good_cycle_timestamp_seconds", Help: "When the last cycle ended in which nothing went wrong; 0 if none has.",
		}),
		expiry:  measure.NewExpiry(),
		updates: gauges("dunlin_updates", "Updates that this device knows of, by their state.", "state"),
		build:   measure.Build("agent", version),
	}
	m.showZeros()
	return m
}

// showZeros makes every series exist from the start, so that a rate over the first event is right.
func (m *metrics) showZeros() {
	for _, o := range outcomes() {
		m.cycles.WithLabelValues(o)
		m.jobs.WithLabelValues(string(metadata.ActionInstall), o)
		m.jobs.WithLabelValues(string(metadata.ActionRemove), o)
	}
	for _, s := range States() {
		m.updates.WithLabelValues(string(s))
	}
	m.showSources(fetch.View{})
}

func (m *metrics) collectors() []prometheus.Collector {
	return append(m.transfers.Collectors(),
		m.content, m.sources, m.origin, m.queue, m.jobs, m.cycles, m.lastGood, m.expiry.Collector(), m.updates, m.build)
}

// showSources counts how the members of the download that runs stand, and says how the origin does. After its end there is
// nothing to say.
func (m *metrics) showSources(v fetch.View) {
	count := make(map[fetch.Standing]int)
	for _, s := range v.Sources {
		if v.Final {
			break
		}
		count[s.Standing]++
		if s.InFlight > 0 && s.Queue > 0 {
			m.queue.Observe(s.Queue)
		}
	}
	for _, s := range fetch.Standings() {
		m.sources.WithLabelValues(string(s)).Set(float64(count[s]))
	}
	for _, s := range fetch.OriginStandings() {
		now := 0.0
		if s == v.Origin.Standing && !v.Final {
			now = 1
		}
		m.origin.WithLabelValues(string(s)).Set(now)
	}
}

// transfer measures one fetch of a job. What is fetched again because the disk has damaged it was delivered before.
func (m *metrics) transfer(w *work) *measure.Transfer {
	if w.mending {
		return m.transfers.Begin(nil)
	}
	content := m.content.WithLabelValues(string(w.Update.Kind))
	return m.transfers.Begin(func(n int64) { content.Add(float64(n)) })
}

// showStatus sets the gauges that say what the status says.
func (m *metrics) showStatus(s Status) {
	count := make(map[State]int)
	for _, u := range s.Updates {
		count[u.State]++
	}
	for _, state := range States() {
		m.updates.WithLabelValues(string(state)).Set(float64(count[state]))
	}
	first := make(map[string]time.Time)
	for _, e := range s.Expires {
		if t, ok := first[e.Role]; !ok || e.Expires.Before(t) {
			first[e.Role] = e.Expires
		}
	}
	for role, t := range first {
		m.expiry.Set(role, t)
	}
}

// Metrics returns the collectors of the agent and of its origin gate, for the caller to register.
func (a *Agent) Metrics() []prometheus.Collector {
	return append(a.metrics.collectors(), a.gate.Metrics()...)
}

// serveMetrics answers GET /metrics until ctx ends.
func (a *Agent) serveMetrics(ctx context.Context) error {
	if a.cfg.Metrics == Off || a.opt.Gatherer == nil {
		return nil
	}
	l, err := measure.Listen(ctx, a.cfg.Metrics)
	if err != nil {
		return err
	}
	if a.metricsUp != nil {
		a.metricsUp(l.Addr().String())
	}
	return measure.Serve(ctx, l, a.opt.Gatherer)
}
