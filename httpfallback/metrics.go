package httpfallback

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/fetch"
)

// metrics belong to one gate. No label holds a name of content, host or peer.
type metrics struct {
	bytes    *prometheus.CounterVec // reason
	metadata prometheus.Counter
	requests *prometheus.CounterVec // outcome
	turns    *prometheus.CounterVec // reason
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
			Help: "Bytes that origins have sent for content, needed or not, error pages included, by why they were asked for.",
		}, []string{"reason"}),
		metadata: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_origin_metadata_bytes_total",
			Help: "Bytes of piece layers and metainfo files fetched by HTTP; they are not content.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_origin_requests_total",
			Help: "Requests for content to origins, by how they ended.",
		}, []string{"outcome"}),
		turns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_fallbacks_total",
			Help: "Ranges that were asked of an origin because the site did not deliver them, by the reason.",
		}, []string{"reason"}),
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
		m.bytes.WithLabelValues(why.String())
		if why != fetch.Own {
			m.turns.WithLabelValues(why.String())
		}
	}
	for _, o := range []string{outcomeDone, outcomeCut, outcomeRefused, outcomeBroken} {
		m.requests.WithLabelValues(o)
	}
	return m
}

// begun counts a range that is asked for. One that is this device's turn is no fallback.
func (m metrics) begun(why fetch.Reason) {
	if why != fetch.Own {
		m.turns.WithLabelValues(why.String()).Inc()
	}
}

func (m metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.bytes, m.metadata, m.requests, m.turns, m.streams, m.dropped}
}
