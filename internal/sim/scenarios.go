package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// All returns the scenarios in the order of the table.
func All() []Scenario {
	var all []Scenario
	for _, n := range []int{1, 2, 4, 12, 32, 64} {
		all = append(all, Scenario{Name: fmt.Sprintf("cold-%d", n), Devices: n, Leases: n <= 32})
	}
	for _, n := range []int{1, 2, 4, 12, 32, 64} {
		all = append(all, Scenario{Name: fmt.Sprintf("warm-%d", n), Devices: n, Warm: true, Leases: n <= 32})
	}
	all = append(all, Scenario{Name: "fast-12", Devices: 12, Warm: true, WAN: 500 * Mbit, Leases: true})
	for _, sc := range disturbances() {
		sc.Leases = true
		all = append(all, sc)
	}
	for _, n := range []int{2, 4, 12, 16, 32} {
		all = append(all, long(n))
	}
	all = append(all, thin()...)
	return bounded(append(
		all,
		large("sites-100x100", 100, 100),
		large("site-2000", 1, 2000),
		warm(large("sites-100x100-warm", 100, 100)),
		warm(large("site-2000-warm", 1, 2000)),
	))
}

// long is what a site usually fetches, at half the rate where many fetch it.
func long(devices int) Scenario {
	sc := Scenario{Name: fmt.Sprintf("long-%d", devices), Devices: devices, Length: 256 << 20, Leases: true}
	if devices > 12 {
		sc.WAN = 50 * Mbit
	}
	return sc
}

// thin are twelve devices behind a line that needs seconds for a piece. It sends little at a time, or the bytes of many
// streams would come to each of them in lumps that are seconds apart.
func thin() []Scenario {
	all := []Scenario{
		{Name: "thin-1", WAN: 1 * Mbit, Length: 8 << 20},
		{Name: "thin-half", WAN: 0.5 * Mbit, Length: 8 << 20},
		{Name: "thin-half-warm", WAN: 0.5 * Mbit, Length: 8 << 20, Warm: true},
		{Name: "thin-half-mib", WAN: 0.5 * Mbit, Length: 24 << 20}, // a piece needs 17 s
		{Name: "thin-quarter", WAN: 0.25 * Mbit, Length: 8 << 20},
		{Name: "thin-half-lumps", WAN: 0.5 * Mbit, Length: 24 << 20, Slice: defaultSlice}, // a second for each
	}
	for i := range all {
		all[i].Devices, all[i].Leases = 12, true
		if all[i].Slice == 0 {
			all[i].Slice = 4 << 10
		}
	}
	return all
}

// large is sites at which devices have links to some of the others only. Devices look at what has come once in a
// millisecond, and lines send a quarter of a piece at a time: that is coarse, and a third of the events.
func large(name string, sites, devices int) Scenario {
	return Scenario{Name: name, Sites: sites, Devices: devices, Quantum: time.Millisecond, Slice: 256 << 10}
}

func warm(sc Scenario) Scenario {
	sc.Warm = true
	return sc
}

// disturbances are twelve devices, 256 MiB, 100 Mbit/s, and something goes wrong, mostly with the first in rank: it is an
// owner, and half of the site depends on it.
func disturbances() []Scenario {
	base := func(name string) Scenario { return Scenario{Name: name, Devices: 12, Length: 256 << 20} }
	half := 10 * time.Second
	var all []Scenario
	add := func(name string, change func(*Scenario)) {
		sc := base(name)
		change(&sc)
		all = append(all, sc)
	}
	one := func(which int, f func(d *Device)) func(int, *rand.Rand, *Device) {
		return func(n int, _ *rand.Rand, d *Device) {
			if n == which {
				f(d)
			}
		}
	}
	slow := func(d *Device) { d.Up, d.Down, d.Slow = 10*Mbit, 10*Mbit, true }
	add("spread-10s", func(sc *Scenario) { sc.Jitter = 10 * time.Second })
	add("owner-killed", func(sc *Scenario) { sc.Strike = &Strike{At: half} })
	add("link-cut", func(sc *Scenario) { sc.Strike = &Strike{At: half, Cut: true} })
	add("slow-tenth", func(sc *Scenario) { sc.Shape = one(7, slow) })
	add("slow-owner", func(sc *Scenario) { sc.Shape = one(0, slow) })
	add("thin-owner", func(sc *Scenario) { sc.Shape = one(0, func(d *Device) { d.Up = 10 * Mbit }) })
	for _, k := range []Kind{Corrupt, Turncoat, Mute, Absent, Claimer} {
		add(k.String(), func(sc *Scenario) { sc.Shape = one(0, func(d *Device) { d.Kind = k }) })
	}
	add("origin-down-5s", func(sc *Scenario) { sc.Outages = []Outage{{From: half, For: 5 * time.Second}} })
	add("static", func(sc *Scenario) {
		sc.Static, sc.Linked = true, [2]time.Duration{20 * time.Millisecond, 250 * time.Millisecond}
	})
	add("two-subnets", func(sc *Scenario) { sc.Subnets = 2 })
	add("late", func(sc *Scenario) {
		sc.Shape = one(0, func(d *Device) { d.Start = -1 })
	})
	add("late-two", func(sc *Scenario) { // each may hear of the other first, who has nothing either
		sc.Length = 64 << 20
		sc.Shape = func(n int, _ *rand.Rand, d *Device) {
			if n < 2 {
				d.Start = -1
			}
		}
	})
	add("churn", func(sc *Scenario) {
		sc.Devices = 32
		sc.Shape = churn
	})
	return all
}

// churn: of thirty-two devices a quarter comes later, a quarter leaves before the end, a quarter is restarted.
func churn(n int, rng *rand.Rand, d *Device) {
	at := time.Second + time.Duration(rng.Int64N(int64(18*time.Second)))
	switch n % 4 {
	case 1:
		d.Start = at
	case 2:
		d.Leave = at
	case 3:
		d.Leave, d.Restart = at, at+2*time.Second
	}
}

// Short returns what CI runs: the same scenarios, the large ones with fewer devices and less to fetch.
func Short() []Scenario {
	var all []Scenario
	for _, sc := range All() {
		switch sc.Name {
		case "sites-100x100", "sites-100x100-warm":
			sc.Name = strings.Replace(sc.Name, "100x", "4x", 1)
			sc.Sites, sc.Length, sc.Piece = 4, 16<<20, 1<<20
		case "site-2000", "site-2000-warm":
			sc.Name = strings.Replace(sc.Name, "2000", "300", 1)
			sc.Devices, sc.Length, sc.Piece = 300, 16<<20, 1<<20
		}
		all = append(all, sc)
	}
	return bounded(all)
}
