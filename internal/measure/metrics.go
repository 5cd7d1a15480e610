package measure

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Scopes of Sent and Peers: whom bytes went to.
const (
	// LAN is other devices and cache nodes of the site, over their own links.
	LAN = "lan"
	// HTTP is clients of a cache node's HTTP face that run no Dunlin.
	HTTP = "http"
	// HTTPDevice is clients of it that do: they count what they receive themselves.
	HTTPDevice = "http_device"
)

// KindUnknown stands for the kind of content that no catalogue has described.
const KindUnknown = "unknown"

// Content returns the counter of content that was delivered to devices, with a series for each of the kinds.
func Content(kinds ...string) *prometheus.CounterVec {
	return counters("dunlin_content_bytes_total",
		"Bytes of content that were delivered to devices, each once, by the kind of update: checked and kept by an agent, or sent by a cache node to a client that runs none.",
		"kind", kinds...)
}

// Sent returns the counter of content that was sent to a scope. Several may be in one registry.
func Sent(scope string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: "dunlin_sent_bytes_total", Help: "Bytes of content that were sent, before compression, by whom they went to.",
		ConstLabels: prometheus.Labels{"scope": scope},
	})
}

// Peers returns the gauge of connections to a scope.
func Peers(scope string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "dunlin_peers", Help: "Devices and cache nodes with an authenticated connection, by where they are.",
		ConstLabels: prometheus.Labels{"scope": scope},
	})
}

// Active returns the gauge of transfers of one kind that are under way.
func Active(kind string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "dunlin_active_transfers", Help: "Transfers of content that are under way: downloads, and answers by HTTP.",
		ConstLabels: prometheus.Labels{"kind": kind},
	})
}

// Build returns the series that says what runs: part is "agent" or "cache".
func Build(part, version string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "dunlin_build_info", Help: "Always 1; the labels say what this program is.",
		ConstLabels: prometheus.Labels{"part": part, "version": version, "go_version": runtime.Version()},
	})
	g.Set(1)
	return g
}

// Expiry says until when signed metadata holds.
type Expiry struct{ vec *prometheus.GaugeVec }

// NewExpiry returns the gauge with no series: what nobody has read yet has no end.
func NewExpiry() Expiry {
	return Expiry{prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "dunlin_metadata_expiry_timestamp_seconds",
		Help: "When the signed metadata runs out, by its role; of several catalogues the first to run out.",
	}, []string{"role"})}
}

// Collector is what to register.
func (e Expiry) Collector() prometheus.Collector { return e.vec }

// Set says when a role runs out: "approvals" or "catalogue".
func (e Expiry) Set(role string, t time.Time) { e.vec.WithLabelValues(role).Set(float64(t.Unix())) }

// counters makes a counter with one label. Every series exists from the start, so that a rate over the first event is right.
func counters(name, help, label string, values ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	for _, x := range values {
		v.WithLabelValues(x)
	}
	return v
}
