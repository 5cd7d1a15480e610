package fetch

import "time"

const (
	meterSlot  = 200 * time.Millisecond
	meterSlots = 10
)

// meter measures a rate over the last two seconds. The zero value is ready.
type meter struct {
	slot  [meterSlots]int64
	at    int64 // number of the newest slot
	begin time.Duration
	any   bool
}

func (m *meter) add(now time.Duration, n int64) {
	if !m.any {
		m.any, m.begin = true, now
	}
	m.roll(now)
	m.slot[m.at%meterSlots] += n
}

// sub takes back what another meter, whose bytes were added here too, has measured lately.
func (m *meter) sub(now time.Duration, o *meter) {
	if !o.any {
		return
	}
	m.roll(now)
	o.roll(now)
	for i := range m.slot {
		m.slot[i] = max(0, m.slot[i]-o.slot[i])
	}
	*o = meter{}
}

// lived reports whether the meter has measured for so long.
func (m *meter) lived(now, d time.Duration) bool { return m.any && now-m.begin >= d }

// rate returns bytes per second; 0 until something was measured for one slot.
func (m *meter) rate(now time.Duration) float64 {
	if !m.any {
		return 0
	}
	m.roll(now)
	var sum int64
	for _, n := range m.slot {
		sum += n
	}
	// The newest slot is only partly over, and at the start not all slots have been lived through.
	window := min(now-m.begin, (meterSlots-1)*meterSlot+now%meterSlot)
	if window < meterSlot {
		return 0
	}
	return float64(sum) / window.Seconds()
}

// proven is the rate over the last two seconds, or over the first: what had so little time to show it counts for less.
func (m *meter) proven(now time.Duration) float64 {
	if !m.any {
		return 0
	}
	m.roll(now)
	var sum int64
	for _, n := range m.slot {
		sum += n
	}
	window := min(max(now-m.begin, time.Second), (meterSlots-1)*meterSlot+now%meterSlot)
	return float64(sum) / window.Seconds()
}

func (m *meter) roll(now time.Duration) {
	at := int64(now / meterSlot)
	if at-m.at >= meterSlots {
		m.slot = [meterSlots]int64{}
		m.at = at
	}
	for ; m.at < at; m.at++ {
		m.slot[(m.at+1)%meterSlots] = 0
	}
}
