package member

import (
	"fmt"
	"testing"
	"time"
)

func TestScheduleIsTheDevicesOwnAndStable(t *testing.T) {
	t.Parallel()
	s := NewSchedule("a", time.Hour)
	now := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	first := s.Next(now, 0)
	if first.Sub(now) <= 0 || first.Sub(now) > time.Hour {
		t.Errorf("the first is at %v", first)
	}
	for i, at := 1, first; i < 5; i++ {
		at = s.Next(at.Add(time.Minute), 0)
		if want := first.Add(time.Duration(i) * time.Hour); !at.Equal(want) {
			t.Errorf("cycle %d at %v, want %v", i, at, want)
		}
	}
	if again := NewSchedule("a", time.Hour).Next(now, 0); !again.Equal(first) {
		t.Errorf("after a restart: %v, want %v", again, first)
	}
}

func TestScheduleSpreadsAFleet(t *testing.T) {
	t.Parallel()
	const devices, slots = 6000, 6
	var count [slots]int
	now := time.Unix(1_800_000_000, 0)
	for i := range devices {
		wait := NewSchedule(fmt.Sprint("device ", i), time.Hour).Next(now, 0).Sub(now)
		count[min(slots-1, int(wait/(time.Hour/slots)))]++
	}
	for slot, n := range count {
		if n < devices/slots*8/10 || n > devices/slots*12/10 {
			t.Errorf("%d of %d devices in slot %d of %d", n, devices, slot, slots)
		}
	}
}

func TestAfterAFailureTheNextCycleComesSooner(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	for _, interval := range []time.Duration{time.Second, time.Minute, time.Hour, 30 * 24 * time.Hour} {
		for device := range 50 {
			s := NewSchedule(fmt.Sprint(device), interval)
			last := time.Duration(0)
			for failures := 1; failures < 40; failures++ {
				wait, after := s.Next(now, failures).Sub(now), s.retryAfter(failures)
				if wait <= 0 || wait > interval || after < min(interval, firstRetry) || after > interval {
					t.Fatalf("interval %v, failure %d: wait %v, retry after %v", interval, failures, wait, after)
				}
				if after < last {
					t.Errorf("interval %v, failure %d: retry after %v, before it %v", interval, failures, after, last)
				}
				last = after
			}
			if last != interval && interval < 24*time.Hour {
				t.Errorf("interval %v: never backs off to it, %v", interval, last)
			}
		}
	}
}

// TestStableHashNeverChanges: devices of all versions must agree on who is in a rollout.
func TestStableHashNeverChanges(t *testing.T) {
	t.Parallel()
	for want, parts := range map[uint64][]string{
		0xe3b0c44298fc1c14: nil,
		0x3b196fd4907bedf5: {"a"},
		0x3c9d591045bc8876: {"a", "b"},
		0x9caccc24b5d7e06c: {"ab"},
	} {
		if got := StableHash(parts...); got != want {
			t.Errorf("%q: %#x, want %#x", parts, got, want)
		}
	}
}
