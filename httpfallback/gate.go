package httpfallback

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/fault"
)

const defaultStreams = 8 // requests at once, over all content; and over all that is asked for without a manifest

// GateConfig configures a Gate. The zero value is a gate without a limit.
type GateConfig struct {
	// Rate is the most that all origins together may bring, in bytes per second; 0 is no limit.
	Rate int64
	// MaxStreams is how many requests for content may be under way at once; 0 is 8. The others wait.
	MaxStreams int
	// MaxAsks is how many requests of Ask may be under way at once; 0 is 8. The others wait. Neither kind of request ever
	// waits for the other.
	MaxAsks int
	// Near is a gate to servers of the local network: no proxy is asked, no redirect is followed, and who does not take a
	// connection within 2 s is not there.
	Near bool
	// Closed refuses every request: policy says that this device must not use an origin.
	Closed bool
	// UserAgent is sent with each request; empty is "dunlin".
	UserAgent string
	// Proxy says which proxy to use; nil asks the environment (http_proxy, https_proxy, no_proxy). A proxy resolves
	// names itself: the check of addresses then covers only addresses that stand in a URL.
	Proxy func(*http.Request) (*url.URL, error)
	// Resolver resolves names; nil is the system's.
	Resolver *net.Resolver
	// TLS is used for https URLs; nil trusts the system's authorities, TLS 1.2 and up.
	TLS *tls.Config
	// Log gets one record for each change of state of a mirror; nil logs nothing.
	Log *slog.Logger
}

// Gate is the one way of a process to its origins. Make it with NewGate; Close it when the process ends. Its methods
// are safe for concurrent use.
type Gate struct {
	closed  bool
	near    bool
	agent   string
	log     *slog.Logger
	slots   chan struct{} // holds one token for each request for content that is under way
	asks    chan struct{} // and this one for each Ask
	limit   *fetch.Limit
	ways    ways
	metrics metrics
	total   atomic.Int64
	tally   [4]tally // by fetch.Reason
}

// tally is what was fetched for one reason, in bytes.
type tally struct{ useful, waste atomic.Int64 }

// Count is origin bytes by what became of them. A byte is useful when the sink accepted the piece it belongs to.
type Count struct{ Useful, Waste int64 }

// NewGate makes a gate. It opens no connection.
func NewGate(cfg GateConfig) *Gate {
	if cfg.MaxStreams <= 0 {
		cfg.MaxStreams = defaultStreams
	}
	if cfg.MaxAsks <= 0 {
		cfg.MaxAsks = defaultStreams
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "dunlin"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Gate{
		closed:  cfg.Closed,
		near:    cfg.Near,
		agent:   cfg.UserAgent,
		log:     cfg.Log,
		slots:   make(chan struct{}, cfg.MaxStreams),
		asks:    make(chan struct{}, cfg.MaxAsks),
		limit:   fetch.NewLimit(cfg.Rate),
		ways:    newWays(cfg),
		metrics: newMetrics(),
	}
}

// SetRate changes the limit, in bytes per second; 0 is none.
func (g *Gate) SetRate(bytesPerSecond int64) { g.limit.Set(bytesPerSecond) }

// Total returns how many bytes of bodies have been read for content since the gate was made, error pages included.
// While requests run it is ahead of the sum of Counts by the pieces that are not whole yet.
func (g *Gate) Total() int64 { return g.total.Load() }

// Counts returns the bytes by the reason they were asked for.
func (g *Gate) Counts() map[fetch.Reason]Count {
	m := make(map[fetch.Reason]Count, len(g.tally))
	for _, why := range fetch.Reasons() {
		m[why] = Count{g.tally[why].useful.Load(), g.tally[why].waste.Load()}
	}
	return m
}

// Metrics returns the collectors of this gate, for the caller to register.
func (g *Gate) Metrics() []prometheus.Collector { return g.metrics.all() }

// Close lets go of idle connections. Requests under way are not touched.
func (g *Gate) Close() error {
	g.ways.close()
	return nil
}

// admit waits for a slot among those of a kind of request. The caller must call release when its request has ended.
func (g *Gate) admit(ctx context.Context, slots chan struct{}) (release func(), err error) {
	if g.closed {
		return nil, fault.WithHint(fault.New(fault.Refused, "policy does not allow this device to use an origin"),
			"let a cache node or another device fetch the content first, or change the policy")
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	g.metrics.streams.Inc()
	return func() {
		g.metrics.streams.Dec()
		<-slots
	}, nil
}

// arrived counts n bytes read from a body and waits until the limit allows to read on. The wait ends with ctx.
func (g *Gate) arrived(ctx context.Context, why fetch.Reason, n int) {
	g.came(why, n)
	g.limit.Pass(ctx, n)
}

// came counts n bytes read from a body, content or not.
func (g *Gate) came(why fetch.Reason, n int) {
	g.total.Add(int64(n))
	g.metrics.bytes.WithLabelValues(why.String()).Add(float64(n))
}

// judge books n bytes that have arrived as useful or as waste.
func (g *Gate) judge(why fetch.Reason, n int64, useful bool) {
	if n == 0 {
		return
	}
	t := &g.tally[why].waste
	if useful {
		t = &g.tally[why].useful
	}
	t.Add(n)
}
