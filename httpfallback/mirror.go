package httpfallback

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Limits of trying again.
const (
	firstBackoff = 200 * time.Millisecond
	maxBackoff   = 30 * time.Second
	// forgiven is how long a mirror that failed stays behind those that did not.
	forgiven = 2 * time.Minute
	// wrongWait is the pause of a mirror that answers, but not with the content: asking again at once is of no use.
	wrongWait = 10 * time.Second
	// stallWait is that of one that stalls: it has cost a whole window already.
	stallWait = 30 * time.Second
	// minProgress is what an attempt must bring, in bytes, to count as progress: a server that breaks every connection
	// after a few bytes would otherwise be asked for ever.
	minProgress = 4 << 10
)

// mirror is one URL of a content. Fields below mu's line are guarded by Origin.mu, stream by turn.
type mirror struct {
	home  target // as configured
	name  string // for logs
	order int

	turn   chan struct{} // holds one token: of a server without ranges only one Fetch reads at a time
	stream *stream       // a server without ranges: the answer that is read on, at a piece's beginning

	// Guarded by Origin.mu.
	at         target    // where it answers now: home, or where its redirects led
	version    string    // its ETag or date of change, empty until the first answer
	sequential bool      // it answers a range with the whole file
	strikes    int       // failures not made good by a success
	failures   int       // in a row, each without progress
	failedAt   time.Time // the last one
	last       error     // the last one
	notBefore  time.Time
	dropped    error // it lied: never again for this content
}

// failure is the fault of a mirror that may pass.
type failure struct {
	err  error
	wait time.Duration // at least so long
	mild bool          // nothing to hold against the mirror: try at once
}

func (e *failure) Error() string { return e.err.Error() }
func (e *failure) Unwrap() error { return e.err }

// pick returns the best mirror that may be asked, and waits for one until the given time. A mirror that has sent half a
// piece goes on with it if it may be asked at all: half a piece is thrown away when another takes over.
func (o *Origin) pick(ctx context.Context, until time.Time, holder *mirror, half int) (*mirror, error) {
	for {
		now := time.Now()
		if half > 0 && o.isFree(holder, now) {
			return holder, nil
		}
		m, free, err := o.best(now)
		if err != nil || m != nil {
			return m, err
		}
		if free.After(until) {
			return nil, o.unavailable()
		}
		timer := time.NewTimer(free.Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
}

// best returns the mirror to ask now or, when all must wait, when the first of them is free.
func (o *Origin) best(now time.Time) (m *mirror, free time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var lies []error
	for _, c := range o.mirrors {
		switch {
		case c.dropped != nil:
			lies = append(lies, c.dropped)
		case c.notBefore.After(now):
			if free.IsZero() || c.notBefore.Before(free) {
				free = c.notBefore
			}
		case m == nil || c.before(m, now):
			m = c
		}
	}
	if len(lies) == len(o.mirrors) {
		return nil, free, fault.WithHint(
			fault.New(fault.Untrusted, "origin of %v: every mirror sent bytes that are not the content: %w", o.content.Root(), errors.Join(lies...)),
			"the file at the origin was changed or damaged, or something on the way changes it: compare its SHA-256 with the publisher's")
	}
	return m, free, nil
}

// before says whether m is to be asked before n: one that serves ranges, has failed less, was named earlier.
func (m *mirror) before(n *mirror, now time.Time) bool {
	strikes := func(m *mirror) int {
		if now.Sub(m.failedAt) > forgiven {
			return 0
		}
		return m.strikes
	}
	asInt := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(asInt(m.sequential), asInt(n.sequential)), cmp.Compare(strikes(m), strikes(n)), cmp.Compare(m.order, n.order)) < 0
}

// unavailable says what each mirror did last. The lies of dropped mirrors stand in the text only: their kind would hide
// that another mirror may come back.
func (o *Origin) unavailable() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var why error
	lies := 0
	for _, m := range slices.Backward(o.mirrors) {
		if m.dropped != nil {
			lies++
		} else if m.last != nil && (why == nil || m.failures > 0) {
			why = m.last
		}
	}
	if why == nil {
		why = errors.New("no mirror may be asked yet")
	}
	err := asFault(why)
	if lies > 0 {
		err = fault.New(fault.Of(err), "%w (%d other mirrors were dropped because they sent wrong bytes)", err, lies)
	}
	return fault.WithHint(fault.New(fault.Of(err), "origin of %v: %w", o.content.Root(), err),
		"%s", cmp.Or(fault.Hint(err), "check that "+o.mirrors[0].home.url.Host+" answers and has the file"))
}

// praise notes that a mirror brought all that it was asked for.
func (o *Origin) praise(m *mirror) {
	o.mu.Lock()
	defer o.mu.Unlock()
	m.strikes, m.failures = max(0, m.strikes-1), 0
}

// blame notes a failure. A mirror whose connection broke after progress may be asked again at once; any other waits,
// twice as long each time, with jitter so that a fleet does not come back as one.
func (o *Origin) blame(ctx context.Context, m *mirror, f *failure, moved bool) {
	if f.mild {
		return
	}
	o.mu.Lock()
	now := time.Now()
	m.last, m.failedAt, m.at = f.err, now, m.home
	m.strikes++
	wait := f.wait
	if moved {
		m.failures = 0
	} else {
		wait = max(wait, min(maxBackoff, backoff(m.failures)))
		m.failures++
	}
	m.notBefore = now.Add(wait/2 + rand.N(wait/2+1))
	if f.wait > 0 {
		m.notBefore = now.Add(wait + rand.N(wait/4+1)) // a server's own word is the least
	}
	again := m.notBefore.Sub(now)
	o.mu.Unlock()
	o.log.InfoContext(ctx, "origin failed", "source", m.name, "err", f.err, "again", again)
}

// backoff is the pause after so many failures in a row. It stays below a second for the first ten: most outages are short,
// and the next attempt should not come long after their end.
func backoff(failures int) time.Duration {
	const short = 2
	return firstBackoff << min(max(min(failures, short), failures-10), 10)
}

// drop gives a mirror up that sent a piece which is not the content's.
func (o *Origin) drop(ctx context.Context, m *mirror, err error) {
	o.mu.Lock()
	first := m.dropped == nil
	if first {
		m.dropped = sourced(m, err)
	}
	o.mu.Unlock()
	if first {
		o.gate.metrics.dropped.Inc()
		o.log.ErrorContext(ctx, "origin dropped: it sent bytes that are not the content", "source", m.name, "err", err)
	}
}

func (o *Origin) isDropped(m *mirror) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return m.dropped != nil
}

// isFree reports whether m may be asked now, and its last attempt brought something.
func (o *Origin) isFree(m *mirror, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return m.dropped == nil && m.failures == 0 && !m.notBefore.After(now)
}

// where returns the URL to ask: the configured one, or where that was seen to lead.
func (o *Origin) where(m *mirror) target {
	o.mu.Lock()
	defer o.mu.Unlock()
	return m.at
}

func (o *Origin) setWhere(m *mirror, at target) {
	o.mu.Lock()
	defer o.mu.Unlock()
	m.at = at
}

// strayed makes light of a failure at the end of remembered redirects: a signed URL may have run out. The next attempt
// asks the configured URL again.
func (o *Origin) strayed(m *mirror, at target, f *failure) *failure {
	o.mu.Lock()
	defer o.mu.Unlock()
	f.mild = at != m.home
	m.at = m.home
	return f
}

// setVersion notes the version of the object that m serves and reports whether it was another before.
func (o *Origin) setVersion(m *mirror, version string) (changed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	changed = m.version != "" && m.version != version
	m.version = version
	return changed
}
