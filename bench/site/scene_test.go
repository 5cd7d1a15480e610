package site

import (
	"fmt"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/bench/line"
)

// scene is one way in which things go wrong while a site fetches. Times scale with nothing: they are the issue's, but for the
// short form.
type scene struct {
	name string // as in -scenes
	says string // as in the table
	goal goal
	// part is what device i of n is; nil: all are honest.
	part func(i, n int) part
	// half happens at half of the bound, and returns whom it took out of the game, if anybody.
	half func(st *stage) *line.Device
	// spread is over how long the starts are spread.
	spread time.Duration
	// pause is how long the origin is out of reach; the makespan may be longer by as much.
	pause   time.Duration
	subnets bool // two networks, one static peer between them
	deaf    bool // no multicast reaches anybody; each device knows those that were started before it
	// wrong tells what must never be, nil when all is well. It is asked when everything has ended.
	wrong func(o outcome, st *stage) error
}

// part is what a device is.
type part int

const (
	honest part = iota
	slow        // honest, with a thin link both ways
	late        // honest, and starts when all others are done
	liars       // says it has everything, and serves it corrupted
	silent      // says it has everything, takes requests, and never answers
)

// slowRate is the link of a slow device.
const slowRate = "10mbit"

// lastIs makes the last device something else.
func lastIs(p part) func(i, n int) part {
	return func(i, n int) part {
		if i == n-1 {
			return p
		}
		return honest
	}
}

// scenes returns all of them. Short ones wait less.
func scenes(short bool) []scene {
	spread, pause := 10*time.Second, 5*time.Second
	if short {
		spread, pause = 1500*time.Millisecond, time.Second
	}
	return []scene{
		{name: "spread", says: fmt.Sprintf("starts over %v", spread), goal: goal{1.05, 1.15, 0}, spread: spread},
		{name: "killed", says: "owner killed", goal: goal{1.05, 1.15, 0}, half: (*stage).killOwner},
		{name: "cut", says: "owner's link cut", goal: goal{1.05, 1.15, 0}, half: (*stage).cutOwner},
		{name: "slow", says: "a tenth at 10 Mbit/s", goal: goal{1.05, 1.15, 0}, part: slowTenth},
		{name: "corrupt", says: "one corrupts pieces", goal: goal{copies: 1.03}, part: lastIs(liars), wrong: onceBitten},
		{name: "mute", says: "one never answers", goal: goal{1.05, 1.15, 0}, part: lastIs(silent), wrong: wasAsked},
		{name: "down", says: fmt.Sprintf("origin away for %v", pause), goal: goal{1.05, 1.15, 0}, pause: pause, half: (*stage).originDown},
		{name: "late", says: "one joins when done", part: lastIs(late), wrong: paidNothing},
		{name: "subnets", says: "two subnets", goal: goal{copies: 1.10}, subnets: true},
		{name: "deaf", says: "no multicast", goal: goal{1.05, 1.15, 0}, deaf: true},
	}
}

// sceneNames lists them for the flag.
func sceneNames() string {
	var names []string
	for _, s := range scenes(false) {
		names = append(names, s.name)
	}
	return strings.Join(names, " ")
}

// slowTenth makes the last tenth slow, at least one device.
func slowTenth(i, n int) part {
	if i >= n-max(1, n/10) {
		return slow
	}
	return honest
}

// onceBitten: a bad piece bans its sender, so nobody takes two. Somebody took one, or nothing was tried; but on a machine
// without idle time the others may have the file before they see the liar.
func onceBitten(o outcome, _ *stage) error {
	if o.Bad > 1 || o.Bad == 0 && o.judged() {
		return fmt.Errorf("a device took %d bad pieces from one sender, want 1", o.Bad)
	}
	return nil
}

// wasAsked: the mute device was asked, or nothing was tried.
func wasAsked(o outcome, st *stage) error {
	for _, d := range st.evil {
		if o.judged() && !d.Out.Has("mute takes /dunlin/piece/1") {
			return fmt.Errorf("nobody asked the mute device; it printed:\n%s", line.Tail(d.Out.String()))
		}
	}
	return nil
}

// paidNothing: who comes when the others have everything takes nothing from the origin, by its own count and by the origin's.
func paidNothing(_ outcome, st *stage) error {
	for _, d := range st.late {
		if n := readTold(d.Out.String()).from.Origin; n != 0 {
			return fmt.Errorf("the device that joined late reports %d bytes from the origin", n)
		}
		for _, a := range st.counted.Answers {
			if a.Addr == d.Host.Addr && a.Sent > 0 {
				return fmt.Errorf("the device that joined late drew %d bytes at %d", a.Sent, a.First)
			}
		}
	}
	return nil
}
