package fetch

import (
	"context"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// A limit lets through at once what it allows in burstTime, so that a timer that fires late costs no rate; and minBurst at
// least. More would be a transfer of several seconds that exceeds its limit.
const (
	burstTime = 100 * time.Millisecond
	minBurst  = 4 << 10 // bytes

	stepsOfBurst = 8
)

// Limit holds what passes it to a rate, for all who share it. A nil Limit does not limit. It is safe for concurrent use.
type Limit struct{ bucket *rate.Limiter }

// NewLimit returns a limit in bytes per second; 0 or less is none.
func NewLimit(bytesPerSecond int64) *Limit {
	l := &Limit{bucket: rate.NewLimiter(rate.Inf, minBurst)}
	l.Set(bytesPerSecond)
	return l
}

// Set changes the rate, in bytes per second; 0 or less is none. Who waits already waits on for what was its share.
func (l *Limit) Set(bytesPerSecond int64) {
	if bytesPerSecond <= 0 {
		l.bucket.SetLimit(rate.Inf)
		return
	}
	l.bucket.SetBurst(max(minBurst, int(float64(bytesPerSecond)*burstTime.Seconds())))
	l.bucket.SetLimit(rate.Limit(bytesPerSecond))
}

// Pass returns when n bytes may pass, or when ctx ends.
func (l *Limit) Pass(ctx context.Context, n int) {
	limits := []*Limit{l}
	for n > 0 && ctx.Err() == nil {
		k := step(n, limits)
		hold(ctx, k, limits)
		n -= k
	}
}

// Step returns how many of n bytes should be taken at once: few where the rate is low, so that all who share it move.
func (l *Limit) Step(n int) int { return step(n, []*Limit{l}) }

// exhausted reports whether somebody waits for this limit now.
func (l *Limit) exhausted(now time.Time) bool {
	return l != nil && l.bucket.Limit() != rate.Inf && l.bucket.TokensAt(now) < 0
}

// step is how many of n bytes may be taken from all the limits at once. Steps are small, so that those who share a limit take
// turns, and what each of them has counted and waits for is little.
func step(n int, limits []*Limit) int {
	for _, l := range limits {
		if l != nil && l.bucket.Limit() != rate.Inf {
			n = min(n, max(minBurst, l.bucket.Burst()/stepsOfBurst))
		}
	}
	return n
}

// hold takes n bytes, at most a step, from all the limits and waits until the last of them allows it, or ctx ends. What is
// taken is taken: the bytes have arrived. (WaitN would not wait at all when ctx has a deadline before its turn.)
func hold(ctx context.Context, n int, limits []*Limit) {
	var wait time.Duration
	now := time.Now()
	for _, l := range limits {
		if l == nil {
			continue
		}
		if r := l.bucket.ReserveN(now, n); r.OK() { // not when Set has just made the burst smaller than a step
			wait = max(wait, r.DelayFrom(now))
		}
	}
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Limits bound what arrives, by where it comes from. All fetches of a process share them: a limit of each file would be
// multiplied by their number. What comes from the origin alone is bounded by its gate.
type Limits struct {
	Total   *Limit // origin, devices and caches together
	Devices *Limit // other devices
	Caches  *Limit // LAN caching nodes
	// Own is of this one fetch, from wherever it comes. Unlike the others it is not shared.
	Own *Limit
}

// of returns the limits for what comes from a member of the role.
func (l Limits) of(r Role) []*Limit {
	if r == Cache {
		return only(l.Own, l.Total, l.Caches)
	}
	return only(l.Own, l.Total, l.Devices)
}

// only returns the limits that there are; of none, nothing is asked for each packet.
func only(limits ...*Limit) []*Limit {
	return slices.DeleteFunc(limits, func(l *Limit) bool { return l == nil })
}

// Limited says that the limit of the whole download holds this device back at this moment.
func (d *Core) Limited(now time.Duration) { d.heldAt = max(now, 1) }

// limited reports whether this device is as slow as it wants to be. Then the LAN is not what is slow (rule 11), and who drew
// from the origin what members have would only make the site pay twice.
func (d *Core) limited(now time.Duration) bool { return d.heldAt > 0 && now-d.heldAt < time.Second }
