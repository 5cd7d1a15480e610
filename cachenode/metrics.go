package cachenode

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/internal/measure"
	"github.com/dunlin-project/dunlin/internal/publicweb"
	"github.com/dunlin-project/dunlin/store/room"
)

// metrics are those of one node. No label holds a name of content, of a device or of a host. The names are in
// testdata/metrics.golden.
type metrics struct {
	transfers  *measure.Transfers
	content    prometheus.Counter
	contents   prometheus.Collector // has content
	prefetched prometheus.Counter
	http       prometheus.Counter // sent to clients without an engine
	devices    prometheus.Counter // and to those with one
	requests   *prometheus.CounterVec
	hit, miss  prometheus.Counter // bytes
	bytes      prometheus.Collector
	answers    prometheus.Gauge
	checks     *prometheus.CounterVec
	expiry     expiry
	build      prometheus.Gauge
}

// The results of a request, and those of a check of a stored piece.
const (
	resultHit     = "hit"     // all that was asked for was there
	resultMiss    = "miss"    // some of it was fetched while the client waited
	resultOther   = "other"   // no content was asked for, or the client had it: HEAD, a piece layer, 304
	resultRefused = "refused" // 4xx
	resultFailed  = "failed"  // 5xx

	checkGood    = "good"
	checkDamaged = "damaged"
)

func newMetrics(cfg Config) *metrics {
	counters := func(name, help string, results ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"result"})
		for _, r := range results {
			v.WithLabelValues(r)
		}
		return v
	}
	contents := measure.Content(measure.KindUnknown)
	bytes := counters("dunlin_cache_served_bytes_total",
		"Bytes of content that were sent by HTTP, by whether they were there when it was their turn or had to be waited for.",
		resultHit, resultMiss)
	return &metrics{
		transfers: measure.NewTransfers(),
		content:   contents.WithLabelValues(measure.KindUnknown), contents: contents,
		prefetched: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_prefetched_bytes_total", Help: "Bytes of content that were fetched before anybody had asked for them by HTTP; they are not delivered yet.",
		}),
		http: measure.Sent(measure.HTTP), devices: measure.Sent(measure.HTTPDevice),
		requests: counters("dunlin_cache_requests_total", "Requests by HTTP that were answered, by the result.",
			resultHit, resultMiss, resultOther, resultRefused, resultFailed),
		hit: bytes.WithLabelValues(resultHit), miss: bytes.WithLabelValues(resultMiss), bytes: bytes,
		answers: measure.Active("answer"),
		checks: counters("dunlin_stored_piece_checks_total", "Stored pieces that were hashed before they left for the first time, by the result.",
			checkGood, checkDamaged),
		expiry: expiry{cfg.Catalogue, measure.NewExpiry()}, build: measure.Build("cache", cfg.Version),
	}
}

// Metrics returns the collectors of the node, for the caller to register; its gate and its swarm have their own.
func (n *Node) Metrics() []prometheus.Collector {
	m := n.metrics
	return append(m.transfers.Collectors(),
		m.contents, m.prefetched, m.http, m.devices, m.requests, m.bytes, m.answers, m.checks, m.expiry, m.build, newFullness(n))
}

// seen is what one answer by HTTP was made of.
type seen struct {
	m       *metrics
	device  bool  // the client runs an engine of its own, and counts what it receives
	missed  bool  // a piece had to be waited for
	missing int   // the newest of those; -1 for none
	content int64 // bytes of content that were sent
}

// enginePrefix is how the User-Agent of a gate begins: agents, "dunlin get" and other nodes.
const enginePrefix = "dunlin"

// ServeHTTP answers GET and HEAD of /content/ROOT and of /layer/ROOT, which is the piece layer of the content: an agent that
// knows the node as an origin may need it to begin. It never writes a word of the request back.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.metrics.answers.Inc()
	out := publicweb.NewWriter(w)
	s := &seen{m: n.metrics, device: strings.HasPrefix(r.UserAgent(), enginePrefix), missing: -1}
	defer func() {
		n.metrics.answers.Dec()
		n.metrics.requests.WithLabelValues(s.result(out.Status())).Inc()
	}()
	n.handle(out, r, s)
}

func (s *seen) result(status int) string {
	switch {
	case status >= http.StatusInternalServerError:
		return resultFailed
	case status >= http.StatusBadRequest:
		return resultRefused
	case s.missed:
		return resultMiss
	case s.content > 0:
		return resultHit
	default:
		return resultOther
	}
}

// sent counts n bytes of content, of which the first come from piece i, whose rest is so many bytes.
func (s *seen) sent(i int, n, rest int64) {
	waited := int64(0)
	if i == s.missing {
		waited = min(n, rest)
	}
	s.give(n-waited, waited)
}

// give counts bytes of content that were sent: what was there, and what had to be waited for.
func (s *seen) give(hit, miss int64) {
	n := hit + miss
	s.content += n
	s.m.hit.Add(float64(hit))
	s.m.miss.Add(float64(miss))
	if s.device {
		s.m.devices.Add(float64(n))
		return
	}
	s.m.http.Add(float64(n))
	s.m.content.Add(float64(n))
}

// expiry says when the approvals run out that a node follows. One that follows none has no such series.
type expiry struct {
	catalogue Catalogue
	gauge     measure.Expiry
}

// Describe implements prometheus.Collector.
func (e expiry) Describe(ch chan<- *prometheus.Desc) { e.gauge.Collector().Describe(ch) }

// Collect implements prometheus.Collector.
func (e expiry) Collect(ch chan<- prometheus.Metric) {
	if c, ok := e.catalogue.(Expirer); ok {
		if t := c.Expires(); !t.IsZero() {
			e.gauge.Set("approvals", t)
		}
	}
	e.gauge.Collector().Collect(ch)
}

// fullness says how full the store is, and what became of it.
type fullness struct {
	node                               *Node
	bytes, capacity, contents, removed *prometheus.Desc
	trouble                            *prometheus.Desc
}

func newFullness(n *Node) *fullness {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &fullness{
		node:     n,
		bytes:    desc("dunlin_cache_bytes", "Bytes of the disk that the store takes."),
		capacity: desc("dunlin_cache_capacity_bytes", "Bytes of the disk that the store may take: what it takes, and what is free beyond the reserve, up to its limit."),
		contents: desc("dunlin_cache_contents", "Contents in the store, by their state.", "state"),
		removed:  desc("dunlin_cache_removed_bytes_total", "Bytes of the disk that content had which was deleted to make room, or because nobody used it."),
		trouble:  desc("dunlin_cache_trouble", "Whether the store, or what is kept by URL, can take no more for now: 1 for why, when it is full or its disk is broken.", "trouble"),
	}
}

// Describe implements prometheus.Collector.
func (f *fullness) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{f.bytes, f.capacity, f.contents, f.removed, f.trouble} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (f *fullness) Collect(ch chan<- prometheus.Metric) {
	s, urls := f.node.keeper.Status(), f.node.urlTrouble()
	gauge := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	gauge(f.bytes, s.Bytes)
	gauge(f.capacity, s.Capacity())
	gauge(f.contents, int64(s.Contents), "whole")
	gauge(f.contents, int64(s.Partial), "partial")
	ch <- prometheus.MustNewConstMetric(f.removed, prometheus.CounterValue, float64(s.Removed.Bytes))
	for _, t := range []room.Trouble{room.Full, room.Broken} {
		on := int64(0)
		if s.Trouble == t || urls == t {
			on = 1
		}
		gauge(f.trouble, on, string(t))
	}
}
