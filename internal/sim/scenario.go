package sim

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
)

// Rates in bytes per second, as the names of lines have them.
const (
	Mbit = 1e6 / 8
	Gbit = 1e9 / 8
)

// Scenario is one kind of site and what goes on there. The zero value of most fields is filled in by Run: see defaults.
type Scenario struct {
	Name    string
	Sites   int // independent ones; 0 = 1
	Devices int // of each site, at least 1

	Length int64 // of the content, bytes; 0 = 64 MiB
	Piece  int64 // length of a piece, bytes; 0 = as the project cuts it

	WAN    float64 // bytes per second of the site's line to the origin; 0 = 100 Mbit/s
	WANRTT time.Duration
	LAN    float64 // bytes per second of each device's link, both ways; 0 = 1 Gbit/s
	RTT    time.Duration

	// Warm means that links are up when the devices start. Otherwise they find each other after a time in Found, and
	// are members for each other after a further time in Linked.
	Warm          bool
	Found, Linked [2]time.Duration
	Jitter        time.Duration // devices start within so long

	Static  bool // no multicast: links are configured
	Links   int  // of each device; 0 = to everybody up to 64 devices, 12 above
	Subnets int  // of equal size; the first devices of neighbouring ones have a link to each other

	Shape   func(n int, rng *rand.Rand, d *Device) // what is special about device n; nil = nothing
	Outages []Outage                               // of the origin
	Strike  *Strike

	Quantum time.Duration // a device looks at what has arrived only so often; 0 = at once
	Slice   int           // bytes that a line sends at a time; 0 = 64 KiB
	Leases  bool          // watch every lease; costs time

	// What the result must keep below: origin copies and makespan / bound, the median over sites and seeds; 0 = no bound.
	Copies, Makespan float64
}

// Device is what is special about a device. Times are since the beginning of the scenario.
type Device struct {
	Kind     Kind
	Start    time.Duration // negative: when all others are done
	Leave    time.Duration // its process is killed; 0 = never
	Restart  time.Duration // it comes back with what it has stored; 0 = never
	Up, Down float64       // bytes per second
	Slow     bool          // not counted among the healthy
}

// counts reports whether the device must finish.
func (d *Device) counts() bool { return d.Kind.fetches() }

func (d *Device) late() bool { return d.Start < 0 }

// early reports whether the device is there, linked and all, when a warm scenario begins.
func (d *Device) early() bool { return d.Start >= 0 && d.Start < 5*time.Second && !d.late() }

// healthy reports whether the device's time counts.
func (d *Device) healthy() bool { return d.Kind == Honest && !d.Slow && d.Restart == 0 }

// Outage is a time in which the origin answers nothing.
type Outage struct{ From, For time.Duration }

// Strike kills a device that is drawing from the origin, or cuts its link.
type Strike struct {
	At  time.Duration
	Cut bool
}

const (
	defaultLength = 64 << 20
	defaultSlice  = 64 << 10
	manyLinks     = 12
)

func (sc Scenario) defaults() *Scenario {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	sc.Sites = max(sc.Sites, 1)
	if sc.Length == 0 {
		sc.Length = defaultLength
	}
	if sc.Piece == 0 {
		sc.Piece = piecehash.DefaultPieceLength(sc.Length)
	}
	if sc.WAN == 0 {
		sc.WAN = 100 * Mbit
	}
	if sc.LAN == 0 {
		sc.LAN = Gbit
	}
	set(&sc.WANRTT, 10*time.Millisecond)
	set(&sc.RTT, 400*time.Microsecond)
	set(&sc.Found[1], 60*time.Millisecond)
	set(&sc.Linked[0], 20*time.Millisecond)
	set(&sc.Linked[1], 120*time.Millisecond)
	set(&sc.Jitter, 20*time.Millisecond)
	if sc.Links == 0 && sc.Devices > fullMesh {
		sc.Links = manyLinks
	}
	return &sc
}

// Bound is the time that the content needs on the line to the origin: no site can be faster.
func (sc *Scenario) Bound() time.Duration { return seconds(float64(sc.Length) / sc.WAN) }

func (sc *Scenario) deadline() time.Duration { return 20*sc.Bound() + 3*time.Minute }

func (sc *Scenario) slice() int {
	if sc.Slice == 0 {
		return defaultSlice
	}
	return sc.Slice
}

func (sc *Scenario) content(seed uint64) piecehash.Content {
	var root piecehash.Root
	binary.BigEndian.PutUint64(root[:], mix(seed, 1))
	c, err := piecehash.NewContent(root, sc.Length, sc.Piece)
	if err != nil {
		panic(err) // a scenario that makes no sense
	}
	return c
}

func (sc *Scenario) device(n int, rng *rand.Rand) Device {
	d := Device{Up: sc.LAN, Down: sc.LAN, Start: time.Duration(rng.Int64N(int64(sc.Jitter)))}
	if sc.Shape != nil {
		sc.Shape(n, rng, &d)
	}
	return d
}

// sees reports whether multicast of one device reaches the other.
func (sc *Scenario) sees(a, b int) bool { return !sc.Static && sc.subnet(a) == sc.subnet(b) }

func (sc *Scenario) subnet(n int) int {
	if sc.Subnets < 2 {
		return 0
	}
	return n / ((sc.Devices + sc.Subnets - 1) / sc.Subnets)
}

// neighbours draws who may have a link to whom.
func (sc *Scenario) neighbours(rng *rand.Rand) [][]int {
	near := make([][]int, sc.Devices)
	join := func(a, b int) {
		near[a] = append(near[a], b)
		near[b] = append(near[b], a)
	}
	switch {
	case sc.Links > 0:
		sc.wire(rng, near, join)
	case sc.Subnets > 1:
		first := func(n int) bool { return n == 0 || sc.subnet(n) != sc.subnet(n-1) }
		for a := range sc.Devices {
			for b := range a {
				if sc.subnet(a) == sc.subnet(b) || first(a) && first(b) {
					join(a, b)
				}
			}
		}
	default:
		for a := range sc.Devices {
			for b := range a {
				join(a, b)
			}
		}
	}
	return near
}

// wire gives each device about sc.Links links to random others, and one to the next, so that nobody is left alone.
func (sc *Scenario) wire(rng *rand.Rand, near [][]int, join func(a, b int)) {
	has := make(map[[2]int]bool)
	add := func(a, b int) {
		if a > b {
			a, b = b, a
		}
		if a != b && !has[[2]int{a, b}] && len(near[a]) < sc.Links && len(near[b]) < sc.Links {
			has[[2]int{a, b}] = true
			join(a, b)
		}
	}
	for a := range sc.Devices {
		add(a, (a+1)%sc.Devices)
	}
	for range 4 * sc.Links {
		for a := range sc.Devices {
			if len(near[a]) < sc.Links {
				add(a, rng.IntN(sc.Devices))
			}
		}
	}
}
