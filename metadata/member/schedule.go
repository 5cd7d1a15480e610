package member

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Times between tries after a failure. The first is doubled with each further failure, up to the interval.
const firstRetry = 30 * time.Second

// Schedule says when a machine asks again. It is pure: the same machine has the same moments, whatever it was doing.
type Schedule struct {
	interval time.Duration
	offset   time.Duration // of this machine within the interval
}

// NewSchedule spreads machines evenly over the interval, which is not 0, by their ids, so that a fleet that starts together
// does not ask together for ever after.
func NewSchedule(id string, interval time.Duration) Schedule {
	return Schedule{interval, time.Duration(StableHash("cycle", id) % uint64(interval))}
}

// Next returns when to ask after a time that ended now; failures is how many in a row have failed.
func (s Schedule) Next(now time.Time, failures int) time.Time {
	start := now.Truncate(s.interval).Add(s.offset)
	if !start.After(now) {
		start = start.Add(s.interval)
	}
	if failures == 0 {
		return start
	}
	retry := now.Add(s.retryAfter(failures))
	if retry.Before(start) {
		return retry
	}
	return start
}

// retryAfter differs from machine to machine, or a depot that comes back would be met by all at once.
func (s Schedule) retryAfter(failures int) time.Duration {
	wait := firstRetry << min(failures-1, 12)
	wait += time.Duration(float64(wait) / 4 * float64(s.offset) / float64(s.interval))
	return min(wait, s.interval)
}

// StableHash is the same on every device and for ever: rollouts depend on it.
func StableHash(parts ...string) uint64 {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}
