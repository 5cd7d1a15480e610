package httpfallback

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/fetch"
)

// metrics belong to one gate. No label holds a name of content, host or peer.
type metrics struct {
	bytes    *prometheus.CounterVec // reason, use
	metadata prometheus.Counter
	requests *prometheus.CounterVec // outcome
	streams  prometheus.Gauge
	dropped  prometheus.Counter
}

// The outcomes of a request for content.
const (
	outcomeDone    = "done"    // all of the range arrived
	outcomeCut     = "cut"     // we ended it: cancelled, or the sink refused a piece
	outcomeRefused = "refused" // the server did not answer with the range
	outcomeBroken  = "broken"  // no connection, or it broke or stalled
)

func newMetrics() metrics {
	m := metrics{
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_origin_bytes_total",
			Help: "Bytes of content fetched from origins, by why they were asked for and whether their piece was accepted.",
		}, []string{"reason", "use"}),
		metadata: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_origin_metadata_bytes_total",
			Help: "Bytes of piece layers and metainfo files fetched by HTTP; they are not content.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_origin_requests_total",
			Help: "Requests for content to origins, by how they ended.",
		}, []string{"outcome"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dunlin_origin_streams",
			Help: "Requests for content that are under way.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_origin_mirrors_dropped_total",
			Help: "Mirrors that were dropped because they sent a piece that did not check out.",
		}),
	}
	for _, why := range fetch.Reasons() {
		m.bytes.WithLabelValues(why.String(), "useful")
		m.bytes.WithLabelValues(why.String(), "waste")
	}
	for _, o := range []string{outcomeDone, outcomeCut, outcomeRefused, outcomeBroken} {
		m.requests.WithLabelValues(o)
	}
	return m
}

func (m metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.bytes, m.metadata, m.requests, m.streams, m.dropped}
}
