package site

import (
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/dunlin-project/dunlin/bench/line"
)

// patience is how long a device may need for its file.
const patience = 15 * time.Minute

// warmUp is how long devices have to find each other before the download starts, when they are to be connected by then.
func warmUp(devices int) time.Duration {
	return 2*time.Second + time.Duration(devices)*100*time.Millisecond
}

// turn lets a client fetch the file on all hosts at once. Warm: the devices run already, and begin to fetch at one instant.
func (w *network) turn(c client, warm bool) outcome {
	t := w.T
	t.Helper()
	hosts := w.Hosts
	if c.name == bound {
		hosts, warm = hosts[:1], false // one download alone
	}
	m := w.Settle()
	at := time.Time{}
	if warm {
		at = time.Now().Add(warmUp(len(hosts)))
	}
	var devices []*line.Device
	for _, h := range hosts {
		devices = append(devices, c.lineUp(w, h, at, nil))
	}
	for _, d := range devices {
		d.LetGo(t)
	}
	cpu, start := line.CPUNow(t), devices[0].Begun
	if warm {
		time.Sleep(time.Until(at))
		cpu, start = line.CPUNow(t), at
	}
	for _, d := range devices {
		if err := d.Wait(patience); err != nil {
			t.Error(err)
		}
	}
	idle := cpu.IdleSince(t)
	stopAll(devices)
	counted := w.Since(m)
	o := w.score(counted, devices)
	o.Idle, o.Seconds = idle, last(devices).Sub(start).Seconds()
	for _, d := range devices {
		if err := w.compare(d); err != nil {
			t.Error(err)
		}
		w.keep(c.name, d)
	}
	w.checkCount(c, o)
	if c.word == ours {
		w.trace(counted, devices, start)
	}
	return o
}

// last is when the last device had the file.
func last(devices []*line.Device) time.Time {
	return slices.MaxFunc(devices, func(a, b *line.Device) int { return a.Done.Compare(b.Done) }).Done
}

// stopAll ends the devices, all at once.
func stopAll(devices []*line.Device) {
	var wg sync.WaitGroup
	for _, d := range devices {
		wg.Go(func() { d.Stop(syscall.SIGTERM) })
	}
	wg.Wait()
}

// checkCount holds what the devices report against what the origin has logged: the same to the byte when nothing was
// broken off, and never more. Every byte of them has a reason.
func (w *network) checkCount(c client, o outcome) {
	w.T.Helper()
	if c.word != ours {
		return
	}
	if o.Reported > o.Logged || o.Broken == 0 && o.Reported != o.Logged {
		w.T.Errorf("the devices report %d bytes from the origin, it has logged %d (%d answers broken off)", o.Reported, o.Logged, o.Broken)
	}
	reasons := int64(0)
	for _, n := range o.Because {
		reasons += n
	}
	if reasons != o.Logged {
		w.T.Errorf("%d bytes from the origin have a reason in a device's log, of %d that it has logged", reasons, o.Logged)
	}
}

// trace prints what was drawn twice, when that is asked for.
func (w *network) trace(c line.Count, devices []*line.Device, start time.Time) {
	if !*traceTwice {
		return
	}
	for _, line := range w.twice(c, devices, start) {
		say("    twice %s", line)
	}
}
