package swarm

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/internal/measure"
	"github.com/dunlin-project/dunlin/swarm/discover"
	"github.com/dunlin-project/dunlin/swarm/group"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// metrics belong to one node. None has an id as label.
type metrics struct {
	served atomic.Int64

	payload   prometheus.Counter
	wireBytes prometheus.Counter
	late      prometheus.Counter
	peers     prometheus.Gauge
	bans      prometheus.Counter
	failures  *prometheus.CounterVec
	found     *prometheus.CounterVec
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	counters := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		for _, x := range values {
			v.WithLabelValues(x)
		}
		return v
	}
	return &metrics{
		payload: measure.Sent(measure.LAN),
		wireBytes: counter("dunlin_swarm_sent_wire_bytes_total",
			"Bytes of pieces sent to peers, compressed where they were, with their framing."),
		late:  counter("dunlin_swarm_late_payload_bytes_total", "Bytes of pieces that came after their request was cancelled."),
		peers: measure.Peers(measure.LAN),
		bans:  counter("dunlin_swarm_bans_total", "Peers banned for a piece or a piece layer that was provably wrong."),
		failures: counters("dunlin_swarm_failed_connections_total",
			"Connections that did not come to be, by who began them and why.", "reason",
			"accept_denied", "accept_handshake", "accept_malformed",
			"dial_denied", "dial_handshake", "dial_malformed", "dial_unreachable"),
		found: counters("dunlin_swarm_announcements_total", "Announcements of peers that were heard, by what became of them.",
			"outcome", discover.Outcomes()...),
	}
}

// Metrics returns the node's collectors, for the caller to register.
func (n *Node) Metrics() []prometheus.Collector {
	m := n.metrics
	return []prometheus.Collector{m.payload, m.wireBytes, m.late, m.peers, m.bans, m.failures, m.found}
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
	case errors.Is(err, group.ErrDenied):
		reason = "denied"
	case errors.Is(err, wire.ErrMalformed):
		reason = "malformed"
	case errors.As(err, &op) && op.Op == "dial":
		reason = "unreachable"
	}
	m.failures.WithLabelValues(side + "_" + reason).Inc()
}
