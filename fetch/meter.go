package fetch

import (
	"math"
	"time"
)

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

// start begins to measure, if that has not begun.
func (m *meter) start(now time.Duration) {
	if !m.any {
		m.any, m.begin = true, now
	}
}

func (m *meter) add(now time.Duration, n int64) {
	m.start(now)
	m.roll(now)
	m.slot[m.at%meterSlots] += n
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

// fadeTime is the time in which what a pace has measured counts for a third: longer than the gaps between the bytes of a thin line
// that many share, which come in lumps.
const fadeTime = 3 * time.Second

// pace is the rate of a claimer as its progress shows it: that of the last few seconds, the newest counting most. It is smaller
// than a meter, because a large site has thousands of claims. The zero value is ready.
type pace struct {
	sum   float64 // bytes, faded
	at    time.Duration
	begin time.Duration
	any   bool
}

func (p *pace) add(now time.Duration, n int64) {
	if !p.any {
		p.any, p.begin, p.at = true, now, now
	}
	p.fade(now)
	p.sum += float64(n)
}

// sub takes back what another pace, whose bytes were added here too, has measured.
func (p *pace) sub(now time.Duration, o *pace) {
	p.fade(now)
	o.fade(now)
	p.sum = max(0, p.sum-o.sum)
	*o = pace{}
}

func (p *pace) fade(now time.Duration) {
	if now > p.at {
		p.sum *= math.Exp(-float64(now-p.at) / float64(fadeTime))
		p.at = now
	}
}

// rate returns bytes per second. What had less than a second to show it counts for less.
func (p *pace) rate(now time.Duration) float64 {
	if !p.any {
		return 0
	}
	p.fade(now)
	age := float64(max(now-p.begin, time.Second))
	return p.sum / (fadeTime.Seconds() * -math.Expm1(-age/float64(fadeTime)))
}
