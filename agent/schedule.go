package agent

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Times between cycles after a failure. The first is doubled with each further failure, up to the interval.
const firstRetry = 30 * time.Second

// schedule says when a device's cycles begin. It is pure: the same device has the same moments, whatever it was doing.
type schedule struct {
	interval time.Duration
	offset   time.Duration // of this device within the interval
}

// newSchedule spreads devices evenly over the interval by their ids, so that a fleet that starts together does not ask
// together for ever after.
func newSchedule(deviceID string, interval time.Duration) schedule {
	return schedule{interval, time.Duration(stableHash("cycle", deviceID) % uint64(interval))}
}

// next returns when the cycle after one that ended now begins; failures is how many in a row have failed.
func (s schedule) next(now time.Time, failures int) time.Time {
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

// retryAfter differs from device to device, or a depot that comes back would be met by all at once.
func (s schedule) retryAfter(failures int) time.Duration {
	wait := firstRetry << min(failures-1, 12)
	wait += time.Duration(float64(wait) / 4 * float64(s.offset) / float64(s.interval))
	return min(wait, s.interval)
}

// stableHash is the same on every device and for ever: rollouts depend on it.
func stableHash(parts ...string) uint64 {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}
