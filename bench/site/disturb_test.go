package site

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/bench/line"
	"github.com/dunlin-project/dunlin/e2e/lab"
)

// TestDisturbances plays each scene. What a goal wants is printed; files, counts and what a scene says must never be are
// asserted.
func TestDisturbances(t *testing.T) {
	lab.Need(t, "ip", "tc", "bridge", "nginx", "curl", "pgrep")
	var maker lab.Maker
	all, rows := allClients(lab.Binary(t)), line.OpenRows(t, *rowsFile)
	size := line.Shape{Devices: first(t, *devices, 12), Size: int64(first(t, *sizes, 256)) << 20, Mbit: first(t, *rates, 100)}
	if testing.Short() {
		size = line.Shape{Devices: 3, Size: 8 << 20, Mbit: 50}
	}
	say("%s\n\n%d devices, %d MiB, %d Mbit/s; makespan: of the healthy, each from its own start", legend, size.Devices, size.Size>>20, size.Mbit)
	sayHead()
	for _, s := range scenes(testing.Short()) {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), s.name) {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			size := size
			size.Subnets = s.subnets
			s.measure(t, build(t, &maker, size), all, rows)
		})
	}
}

// measure plays the scene as often as is wanted, each time after a turn of the bound.
func (s scene) measure(t *testing.T, w *network, all map[string]client, rows line.Rows) {
	var outcomes []outcome
	rounds := rounds(1)
	for round := range rounds {
		one := w.turn(all[bound], false)
		o, st := s.play(w, all["dunlin"], time.Duration(one.Seconds*float64(time.Second)))
		o.PerBound = o.Seconds / one.Seconds
		outcomes = append(outcomes, o)
		sayOutcome(s.says, o, because(o)+st.note+s.within(one).verdict(o))
		w.trace(st.counted, st.honest, st.start)
		add(t, rows, row{Test: t.Name(), Case: s.name, Client: "dunlin", Devices: len(w.Hosts), MiB: w.Size >> 20, Mbit: w.Mbit, Round: round, outcome: o})
		checkSafe(t, o)
		if s.wrong != nil {
			if err := s.wrong(o, st); err != nil {
				t.Error(err)
			}
		}
	}
	if rounds > 1 {
		m, spread := middle(outcomes)
		sayOutcome("  median", m, fmt.Sprintf("of %d: %s", rounds, spread))
	}
}

// within is the goal with the pause that the scene takes, given the bound. The short form has none: its files are too small.
func (s scene) within(one outcome) goal {
	g := s.goal
	if testing.Short() {
		return goal{}
	}
	if g.perBound > 0 {
		g.perBound += s.pause.Seconds() / one.Seconds
	}
	return g
}

// stage is one play.
type stage struct {
	scene
	w       *network
	client  client
	bound   time.Duration
	start   time.Time
	honest  []*line.Device // whoever is to have the file in the end, or was until it was taken out
	healthy []*line.Device // of these, whose time counts
	late    []*line.Device // of these, who came last
	evil    []*line.Device
	lost    *line.Device
	counted line.Count
	note    string
}

// play lets the devices fetch the file while the scene happens.
func (s scene) play(w *network, c client, bound time.Duration) (outcome, *stage) {
	w.T.Helper()
	st := &stage{scene: s, w: w, client: c, bound: bound}
	m, cpu := w.Settle(), line.CPUNow(w.T)
	st.start = time.Now()
	st.begin()
	if s.half != nil {
		time.Sleep(time.Until(st.start.Add(bound / 2)))
		st.lost = s.half(st)
	}
	st.await(st.honest)
	idle := cpu.IdleSince(w.T)
	st.comeLate()
	st.end()
	st.counted = w.Since(m)
	o := w.score(st.counted, st.honest)
	o.Idle = idle
	for _, d := range st.healthy {
		if d != st.lost {
			o.Seconds = max(o.Seconds, d.Took().Seconds())
		}
	}
	st.check(o)
	return o, st
}

// begin starts everybody who is there from the beginning.
func (st *stage) begin() {
	n := len(st.w.Hosts)
	for k, i := range st.order() {
		h := st.w.Hosts[i]
		if st.deaf {
			h.Deafen()
		}
		switch st.partOf(i) {
		case late:
			continue
		case liars, silent:
			st.evil = append(st.evil, st.w.launchEvil(st.partOf(i), h))
			continue
		case slow:
			h.Shape(slowRate)
		}
		if st.spread > 0 && n > 1 {
			time.Sleep(time.Until(st.start.Add(st.spread * time.Duration(k) / time.Duration(n-1))))
		}
		d := st.client.launch(st.w, h, time.Time{}, st.peersOf(i))
		st.honest = append(st.honest, d)
		if st.partOf(i) == honest {
			st.healthy = append(st.healthy, d)
		}
	}
}

// order is in which order the devices are started. Evil ones come first; of two subnets, one device of the second, whom one of
// the first knows.
func (st *stage) order() (out []int) {
	for i := range st.w.Hosts {
		out = append(out, i)
	}
	if st.subnets {
		half := len(out) / 2
		return append([]int{half}, slices.Delete(out, half, half+1)...)
	}
	slices.Reverse(out) // the last is the one that is different
	return out
}

func (st *stage) partOf(i int) part {
	if st.part == nil {
		return honest
	}
	return st.part(i, len(st.w.Hosts))
}

// peersOf are the static peers of device i: ids are made when a device starts, so that it can only know who was started
// before it. They are waited for.
func (st *stage) peersOf(i int) (peers []string) {
	st.w.T.Helper()
	if !st.deaf && !(st.subnets && i == 0) {
		return nil
	}
	for _, d := range st.honest {
		addr, err := d.Out.Listening(10 * time.Second)
		if err != nil {
			st.w.T.Fatalf("%s: %v", d.Host.Name, err)
		}
		peers = append(peers, addr)
	}
	return peers
}

// await waits until devices have the file.
func (st *stage) await(devices []*line.Device) {
	st.w.T.Helper()
	for _, d := range devices {
		if d == st.lost {
			continue
		}
		if err := d.Wait(patience); err != nil {
			st.w.T.Error(err)
		}
		if !slices.Contains(st.healthy, d) {
			st.note += fmt.Sprintf("%s %.2f s; ", d.Host.Name, d.Took().Seconds())
		}
	}
}

// comeLate starts who comes when the others have the file.
func (st *stage) comeLate() {
	for i, h := range st.w.Hosts {
		if st.partOf(i) == late {
			st.late = append(st.late, st.client.launch(st.w, h, time.Time{}, nil))
		}
	}
	st.await(st.late)
	st.honest = append(st.honest, st.late...)
}

// end stops everybody. A device whose link is cut goes first, lest it begin again when the link is there.
func (st *stage) end() {
	if st.lost != nil {
		st.lost.Stop(syscall.SIGKILL)
		st.lost.Host.Mend()
	}
	stopAll(append(slices.Clone(st.honest), st.evil...))
	for i, h := range st.w.Hosts {
		if st.partOf(i) == slow {
			h.Shape(line.LANRate)
		}
	}
}

// check holds the files against the content, and the counts against each other.
func (st *stage) check(o outcome) {
	st.w.T.Helper()
	for _, d := range st.honest {
		if d != st.lost {
			if err := st.w.compare(d); err != nil {
				st.w.T.Error(err)
			}
		}
		st.w.keep(st.name, d)
	}
	for _, d := range st.evil {
		st.w.keep(st.name, d)
	}
	if st.lost != nil {
		o.Broken++ // what it drew it cannot report any more
	}
	st.w.checkCount(st.client, o)
}

// owner is the device that has begun an origin range last.
func (st *stage) owner() *line.Device {
	var owner *line.Device
	var at time.Time
	for _, d := range st.healthy {
		for _, r := range readTold(d.Out.String()).draws {
			if r.at.After(at) {
				owner, at = d, r.at
			}
		}
	}
	if owner == nil {
		st.w.T.Fatal("nobody has drawn anything yet")
	}
	return owner
}

func (st *stage) killOwner() *line.Device {
	d := st.owner()
	d.Stop(syscall.SIGKILL)
	st.note += "killed " + d.Host.Name + "; "
	return d
}

func (st *stage) cutOwner() *line.Device {
	d := st.owner()
	d.Host.Cut()
	st.note += "cut " + d.Host.Name + "; "
	return d
}

// originDown pulls the origin's cable for a while. Connections are not reset: packets just do not come.
func (st *stage) originDown() *line.Device {
	st.w.Origin.Cut()
	time.Sleep(st.pause)
	st.w.Origin.Mend()
	return nil
}
