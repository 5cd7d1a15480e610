package site

import (
	"slices"
	"sync"
	"syscall"
	"time"
)

// patience is how long a device may need for its file.
const patience = 15 * time.Minute

// warmUp is how long devices have to find each other before the download starts, when they are to be connected by then.
func warmUp(devices int) time.Duration {
	return 2*time.Second + time.Duration(devices)*100*time.Millisecond
}

// turn lets a client fetch the file on all hosts at once. Warm: the devices run already, and begin to fetch at one instant.
func (w *network) turn(c client, warm bool) outcome {
	t := w.t
	t.Helper()
	hosts := w.hosts
	if c.name == bound {
		hosts, warm = hosts[:1], false // one download alone
	}
	m := w.settle()
	at := time.Time{}
	if warm {
		at = time.Now().Add(warmUp(len(hosts)))
	}
	var devices []*device
	for _, h := range hosts {
		devices = append(devices, c.lineUp(w, h, at, nil))
	}
	for _, d := range devices {
		d.letGo(t)
	}
	cpu, start := cpuNow(t), devices[0].start
	if warm {
		time.Sleep(time.Until(at))
		cpu, start = cpuNow(t), at
	}
	for _, d := range devices {
		if err := d.wait(patience); err != nil {
			t.Error(err)
		}
	}
	idle := cpu.idleSince(t)
	stopAll(devices)
	counted := w.since(m)
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
func last(devices []*device) time.Time {
	return slices.MaxFunc(devices, func(a, b *device) int { return a.done.Compare(b.done) }).done
}

// stopAll ends the devices, all at once.
func stopAll(devices []*device) {
	var wg sync.WaitGroup
	for _, d := range devices {
		wg.Go(func() { d.stop(syscall.SIGTERM) })
	}
	wg.Wait()
}

// checkCount holds what the devices report against what the origin has logged: the same to the byte when nothing was
// broken off, and never more. Every byte of them has a reason.
func (w *network) checkCount(c client, o outcome) {
	w.t.Helper()
	if c.word != ours {
		return
	}
	if o.Reported > o.Logged || o.Broken == 0 && o.Reported != o.Logged {
		w.t.Errorf("the devices report %d bytes from the origin, it has logged %d (%d answers broken off)", o.Reported, o.Logged, o.Broken)
	}
	reasons := int64(0)
	for _, n := range o.Because {
		reasons += n
	}
	if reasons != o.Logged {
		w.t.Errorf("%d bytes from the origin have a reason in a device's log, of %d that it has logged", reasons, o.Logged)
	}
}

// trace prints what was drawn twice, when that is asked for.
func (w *network) trace(c count, devices []*device, start time.Time) {
	if !*traceTwice {
		return
	}
	for _, line := range w.twice(c, devices, start) {
		say("    twice %s", line)
	}
}
