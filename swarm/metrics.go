package swarm

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/swarm/wire"
)

// metrics belong to one node. None has an id as label.
type metrics struct {
	served atomic.Int64

	payload    prometheus.Counter
	wireBytes  prometheus.Counter
	late       prometheus.Counter
	peers      prometheus.Gauge
	bans       prometheus.Counter
	handshakes *prometheus.CounterVec
	found      *prometheus.CounterVec
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Subsystem: "swarm", Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Subsystem: "swarm", Name: name, Help: help}, []string{label})
	}
	return &metrics{
		payload:   counter("sent_payload_bytes_total", "Bytes of pieces sent to peers, before compression."),
		wireBytes: counter("sent_wire_bytes_total", "Bytes of pieces sent to peers, compressed where they were, with their framing."),
		late:      counter("late_payload_bytes_total", "Bytes of pieces that came after their request was cancelled."),
		peers: prometheus.NewGauge(prometheus.GaugeOpts{
			Subsystem: "swarm", Name: "peers", Help: "Peers with an authenticated connection.",
		}),
		bans:       counter("bans_total", "Peers banned for a piece that was provably wrong."),
		handshakes: vec("failed_connections_total", "Connections that did not become links, by side and reason.", "reason"),
		found:      vec("discovered_total", "Announcements of peers, by what became of them.", "outcome"),
	}
}

// Metrics returns the node's collectors, to be registered with a prefix.
func (n *Node) Metrics() []prometheus.Collector {
	m := n.metrics
	return []prometheus.Collector{m.payload, m.wireBytes, m.late, m.peers, m.bans, m.handshakes, m.found}
}

func (m *metrics) sent(payload, onWire int) {
	m.served.Add(int64(payload))
	m.payload.Add(float64(payload))
	m.wireBytes.Add(float64(onWire))
}

// failed counts a connection that did not come to be. The reasons are few and our own.
func (m *metrics) failed(side string, err error) {
	reason := "handshake"
	var op *net.OpError
	switch {
	case errors.Is(err, errDenied):
		reason = "denied"
	case errors.Is(err, wire.ErrMalformed):
		reason = "malformed"
	case errors.As(err, &op) && op.Op == "dial":
		reason = "unreachable"
	}
	m.handshakes.WithLabelValues(side + "_" + reason).Inc()
}
