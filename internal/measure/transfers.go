package measure

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Transfers measures all that one process fetches. Its methods are safe for concurrent use.
type Transfers struct {
	received *prometheus.CounterVec // source, use
	checks   *prometheus.CounterVec // result
	took     prometheus.Histogram
	active   prometheus.Gauge
}

// Words of the labels of dunlin_received_bytes_total and dunlin_piece_checks_total.
const (
	sourceOrigin = "origin"
	sourceCache  = "cache"
	sourcePeer   = "peer"

	useUseful    = "useful"
	useDuplicate = "duplicate"
	useCorrupt   = "corrupt"
	useCut       = "cut"

	checkGood      = "good"
	checkDuplicate = "duplicate" // right, and there already
	checkCorrupt   = "corrupt"
)

// NewTransfers returns measures that all stand at zero.
func NewTransfers() *Transfers {
	t := &Transfers{
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_received_bytes_total",
			Help: "Bytes of content that arrived, by the kind of source and by what became of them; all but useful ones are waste.",
		}, []string{"source", "use"}),
		checks: counters("dunlin_piece_checks_total", "Received pieces that were checked against their hash, by the result.",
			"result", checkGood, checkDuplicate, checkCorrupt),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dunlin_download_duration_seconds", Help: "Time from the start to the end of a download that succeeded.",
			Buckets: prometheus.ExponentialBuckets(0.5, 2, 16), NativeHistogramBucketFactor: 1.1,
		}),
		active: Active("download"),
	}
	for _, source := range []string{sourceOrigin, sourceCache, sourcePeer} {
		for _, use := range []string{useUseful, useDuplicate, useCorrupt, useCut} {
			t.received.WithLabelValues(source, use)
		}
	}
	return t
}

// Collectors are what to register.
func (t *Transfers) Collectors() []prometheus.Collector {
	return []prometheus.Collector{t.received, t.checks, t.took, t.active}
}

// Begin measures one fetch, to whose end End must be called. useful, which may be nil, is told how many bytes more of the
// content have been stored.
func (t *Transfers) Begin(useful func(n int64)) *Transfer {
	t.active.Inc()
	return &Transfer{all: t, useful: useful}
}

// Transfer follows one fetch and counts what has come since it was last told. It belongs to the goroutine of the fetch.
type Transfer struct {
	all    *Transfers
	useful func(n int64)
	last   fetch.UsesBy
}

// Update counts what has come. What is on its way looks as if it had been cut, so that is counted at the end only.
func (t *Transfer) Update(s fetch.Stats) {
	u := s.Uses
	u.Origin.Cut, u.Cache.Cut, u.Peers.Cut = 0, 0, 0
	t.count(u)
}

// End counts what is left of a fetch that has ended, with err if it failed.
func (t *Transfer) End(s fetch.Stats, err error) {
	t.count(s.Uses)
	t.all.active.Dec()
	if err == nil {
		t.all.took.Observe(s.Elapsed.Seconds())
	}
}

func (t *Transfer) count(now fetch.UsesBy) {
	fresh := t.add(sourceOrigin, now.Origin, t.last.Origin) + t.add(sourceCache, now.Cache, t.last.Cache) +
		t.add(sourcePeer, now.Peers, t.last.Peers)
	t.last = now
	if fresh > 0 && t.useful != nil {
		t.useful(fresh)
	}
}

// add counts one kind of source, and returns how much of it was useful.
func (t *Transfer) add(source string, now, last fetch.Uses) (useful int64) {
	for use, n := range map[string]int64{
		useUseful: now.Useful - last.Useful, useDuplicate: now.Duplicate - last.Duplicate,
		useCorrupt: now.Corrupt - last.Corrupt, useCut: now.Cut - last.Cut,
	} {
		t.all.received.WithLabelValues(source, use).Add(float64(n))
	}
	return now.Useful - last.Useful
}

// Part counts what becomes of the pieces that are put into a part.
func (t *Transfers) Part(p fetch.Part) fetch.Part { return checkedPart{p, t.checks} }

type checkedPart struct {
	fetch.Part
	checks *prometheus.CounterVec
}

// Put implements fetch.Part.
func (p checkedPart) Put(i int, b []byte) (bool, error) {
	fresh, err := p.Part.Put(i, b)
	switch {
	case errors.As(err, new(*piecehash.Mismatch)):
		p.checks.WithLabelValues(checkCorrupt).Inc()
	case err != nil:
	case fresh:
		p.checks.WithLabelValues(checkGood).Inc()
	default:
		p.checks.WithLabelValues(checkDuplicate).Inc()
	}
	return fresh, err
}
