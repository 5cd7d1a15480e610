package cachehost

import (
	"context"
	"log/slog"
	"time"
)

// A node that gives less than crawl for crawlFor is no help, and may mean to be none: whoever announces himself could hold up a
// site's updates by a trickle. Then one range comes from the origin instead. If that is more than twice as quick, the node is
// left alone for this content; else the line is thin, and the node's bytes are the site's only ones.
const (
	crawl     = 32 << 10 // bytes per second
	crawlFor  = 15 * time.Second
	trialTime = time.Minute
	slowFor   = 10 * time.Minute
)

// crawls judges a node by what it gave in a time, without what our own limits have held back. It reports whether the origin is to
// be tried.
func (v *Via) crawls(p *place, n int64, d time.Duration) bool {
	rate := float64(n) / d.Seconds()
	if v.origin == nil || n == 0 || d < crawlFor || rate >= crawl {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if p.fair || p.slow > 0 {
		return false
	}
	p.slow = rate
	v.pause(p, trialTime)
	return true
}

// isTried reports whether the origin is being tried in place of a node.
func (v *Via) isTried(p *place) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return p.slow > 0
}

// compare ends the trials: rate is what the origin has given, in bytes per second.
func (v *Via) compare(ctx context.Context, rate float64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range v.places {
		switch {
		case p.slow == 0:
			continue
		case rate > 2*p.slow:
			v.pause(p, slowFor)
			v.log.WarnContext(ctx, "caching node is left alone for a content: it is far slower than the origin", slog.String("host", p.base),
				slog.Int64("bytes_per_second", int64(p.slow)), slog.Int64("origin", int64(rate)))
		default:
			p.fair, p.until = true, time.Time{}
		}
		p.slow = 0
	}
}
