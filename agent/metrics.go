package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// metrics are those of one agent. No label holds a name of a device, of content or of an update. The names are in
// testdata/metrics.golden.
type metrics struct {
	received *prometheus.CounterVec // source
	wasted   prometheus.Counter
	content  prometheus.Counter
	checks   *prometheus.CounterVec // result
	download prometheus.Histogram
	sources  *prometheus.GaugeVec // state
	origin   *prometheus.GaugeVec // state
	queue    prometheus.Histogram
	jobs     *prometheus.CounterVec // action, outcome
	cycles   *prometheus.CounterVec // outcome
	lastGood prometheus.Gauge
	expiry   *prometheus.GaugeVec // role
	updates  *prometheus.GaugeVec // state
	build    prometheus.Gauge
}

// The results of a piece check.
const (
	checkGood      = "good"
	checkDuplicate = "duplicate" // right, and there already
	checkBad       = "bad"
)

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

func newMetrics(version string) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauges := func(name, help, label string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		received: counters("dunlin_received_bytes_total",
			"Bytes of content that arrived, waste included, by the kind of source.", "source"),
		wasted: counter("dunlin_wasted_bytes_total",
			"Bytes of content that arrived and were not needed: duplicates, bad pieces, pieces cut off in the middle."),
		content: counter("dunlin_content_bytes_total",
			"Bytes of content that this device has received, checked and kept."),
		checks: counters("dunlin_piece_checks_total",
			"Received pieces that were checked against their hash, by the result.", "result"),
		download: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dunlin_download_duration_seconds", Help: "Time from the start to the end of a download that succeeded.",
			Buckets: prometheus.ExponentialBuckets(0.5, 2, 16), NativeHistogramBucketFactor: 1.1,
		}),
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
		expiry: gauges("dunlin_metadata_expiry_timestamp_seconds",
			"When the metadata runs out, by its role; of several catalogues the first to run out.", "role"),
		updates: gauges("dunlin_updates", "Updates that this device knows of, by their state.", "state"),
		build: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dunlin_build_info", Help: "Always 1; the labels say what this program is.",
			ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
		}),
	}
	m.build.Set(1)
	m.showZeros()
	return m
}

// showZeros makes every series exist from the start, so that a rate over the first event is right.
func (m *metrics) showZeros() {
	for _, s := range []string{"origin", "cache", "peer"} {
		m.received.WithLabelValues(s)
	}
	for _, r := range []string{checkGood, checkDuplicate, checkBad} {
		m.checks.WithLabelValues(r)
	}
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
	return []prometheus.Collector{
		m.received, m.wasted, m.content, m.checks, m.download, m.sources, m.origin, m.queue, m.jobs, m.cycles, m.lastGood, m.expiry, m.updates, m.build,
	}
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

// transfer follows one fetch and counts what has come since it was last told.
type transferMeter struct {
	m    *metrics
	last fetch.Stats
}

func (t *transferMeter) update(s fetch.Stats) {
	t.m.received.WithLabelValues("origin").Add(float64(s.From.Origin - t.last.From.Origin))
	t.m.received.WithLabelValues("cache").Add(float64(s.From.Cache - t.last.From.Cache))
	t.m.received.WithLabelValues("peer").Add(float64(s.From.Peers - t.last.From.Peers))
	// What is on its way looks like waste until its piece is whole; both counters move at the end only.
	t.last.From = s.From
}

func (t *transferMeter) end(s fetch.Stats, err error) {
	t.update(s)
	t.m.wasted.Add(float64(s.Waste))
	t.m.content.Add(float64(s.Useful()))
	if err == nil {
		t.m.download.Observe(s.Elapsed.Seconds())
	}
}

// checkedPart counts what becomes of the pieces that are put into a part.
type checkedPart struct {
	fetch.Part
	checks *prometheus.CounterVec
}

func (p checkedPart) Put(i int, b []byte) (bool, error) {
	fresh, err := p.Part.Put(i, b)
	switch {
	case errors.As(err, new(*piecehash.Mismatch)):
		p.checks.WithLabelValues(checkBad).Inc()
	case err != nil:
	case fresh:
		p.checks.WithLabelValues(checkGood).Inc()
	default:
		p.checks.WithLabelValues(checkDuplicate).Inc()
	}
	return fresh, err
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
		m.expiry.WithLabelValues(role).Set(float64(t.Unix()))
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
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.cfg.Metrics)
	if err != nil {
		return fault.WithHint(fault.New(fault.Unavailable, "listen for metrics: %w", err),
			"choose another address with --metrics, or none with --metrics off")
	}
	if a.metricsUp != nil {
		a.metricsUp(l.Addr().String())
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.opt.Gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return serveHTTP(ctx, l, mux)
}
