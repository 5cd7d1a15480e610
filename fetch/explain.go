package fetch

import (
	"cmp"
	"slices"
	"time"
)

// Standing says in one word why no more is asked of a source at this moment.
type Standing string

// How a member stands.
const (
	Ready     Standing = "ready"        // nothing is against it, it is asked next
	WindowSet Standing = "window full"  // as much is asked of it as its link moves soon
	AllAsked  Standing = "enough asked" // as much is asked over all links as this device takes in
	Elsewhere Standing = "elsewhere"    // what it has and this device lacks is on its way, from it or from others
	Slower    Standing = "slower"       // another holder of the same pieces is free and over three times as quick
	Nothing   Standing = "nothing new"  // it has nothing that this device lacks
	Busy      Standing = "busy"         // it has said "later"
	Paused    Standing = "paused"       // it failed to deliver, and is left alone for a while
	Gone      Standing = "left"         // its link has ended, or it does not share the content any more
	Liar      Standing = "banned"       // it sent a bad piece
)

// How the origin stands.
const (
	NoOrigin   Standing = "none"         // this device has none, or may not use it
	Drawing    Standing = "drawing"      // ranges of it are on their way
	DeadOrigin Standing = "dead"         // it cannot or must not serve this content
	BackedOff  Standing = "backed off"   // it failed, and is left alone for a while
	Delayed    Standing = "delayed"      // policy gives other devices time to deliver
	Listening  Standing = "listening"    // others are given the moment that it takes to say what they have
	InDebt     Standing = "in debt"      // this device passes on too slowly what it drew, or draws far slower than another
	OnLAN      Standing = "on the lan"   // what is missing is on its way, or members have it
	Claimed    Standing = "claimed"      // members are fetching what is missing
	NotItsTurn Standing = "not its turn" // the site's streams are others'
)

// Standings returns all that a member may have, for metrics that must show a zero.
func Standings() []Standing {
	return []Standing{Ready, WindowSet, AllAsked, Elsewhere, Slower, Nothing, Busy, Paused, Gone, Liar}
}

// OriginStandings returns all that the origin may have.
func OriginStandings() []Standing {
	return []Standing{NoOrigin, Drawing, DeadOrigin, BackedOff, Delayed, Listening, InDebt, OnLAN, Claimed, NotItsTurn}
}

// View is a picture of one fetch: what each source has given and why no more is asked of it.
type View struct {
	// Final marks the last one. Standing is then the one that each source had most often; paused, if it ever was.
	Final   bool       `json:"final"`
	Sources []Source   `json:"sources"` // members, who gave most first
	Others  int64      `json:"others"`  // bytes of members beyond the first 1024 that there were
	Caches  int64      `json:"caches"`  // bytes that caching nodes gave by HTTP
	Origin  OriginView `json:"origin"`
}

// Source is one member as a source.
type Source struct {
	ID       PeerID   `json:"peer"`
	Role     string   `json:"role"`          // device or cache
	Bytes    int64    `json:"bytes"`         // that arrived, waste included
	Rate     int64    `json:"rate"`          // bytes per second over the last two seconds
	Queue    float64  `json:"queue_seconds"` // that what is asked of it takes at its rate; 0 while that is unknown
	InFlight int64    `json:"in_flight"`     // bytes asked and not arrived
	Standing Standing `json:"standing"`
	Left     float64  `json:"left_seconds,omitempty"` // of being busy or paused
}

// OriginView is the origin as a source.
type OriginView struct {
	By       map[string]int64 `json:"by_reason"`    // bytes that arrived, by the words of Reason
	Rate     int64            `json:"rate"`         // bytes per second over the last two seconds
	Streams  int              `json:"streams"`      // of this device
	Site     int              `json:"site_streams"` // of all members, as far as they say
	Standing Standing         `json:"standing"`
	Left     float64          `json:"left_seconds,omitempty"` // of being backed off, delayed or in debt
}

// standing says how a member stands, and until when if that is known.
func (d *Core) standing(now time.Duration, m *member) (s Standing, until time.Duration) {
	lacks, free, worth := d.offers(now, m)
	switch {
	case m.paused:
		return Paused, m.until
	case m.busy:
		return Busy, m.until
	case !lacks:
		return Nothing, 0
	case m.pending >= d.window(m):
		return WindowSet, 0
	case !free:
		return Elsewhere, 0
	case !d.free4ask(m):
		return AllAsked, 0
	case !worth:
		return Slower, 0
	}
	return Ready, 0
}

// offers looks through what a member has: whether this device lacks any of it; whether any of that is not on its way; and
// whether the member is a sensible source for any of that.
func (d *Core) offers(now time.Duration, m *member) (lacks, free, worth bool) {
	looked := 0
	for i := d.have.NextMissing(0); i >= 0 && i < d.c.Pieces() && looked < scanMost; i = d.have.NextMissing(i + 1) {
		if !m.have.Has(i) {
			continue
		}
		lacks = true
		if !d.missing(i) {
			continue
		}
		free = true
		looked++
		if d.worth(now, m, i) {
			return true, true, true
		}
	}
	return lacks, free, false
}

// originStanding says how the origin stands, and until when if that is known.
func (d *Core) originStanding(now time.Duration) (s Standing, until time.Duration) {
	switch {
	case !d.cfg.Origin:
		return NoOrigin, 0
	case d.origin.dead:
		return DeadOrigin, 0
	case len(d.draws) > 0:
		return Drawing, 0
	case now < d.origin.until:
		return BackedOff, d.origin.until
	case !d.originOpen(now) && now < d.cfg.Delay:
		return Delayed, d.cfg.Delay
	case !d.originOpen(now):
		return Listening, 0
	}
	switch wanted, free := d.openSpans(); {
	case !wanted:
		return OnLAN, 0
	case !free:
		return Claimed, 0
	case d.holdsBack(now):
		return InDebt, max(0, d.debt.thin)
	}
	return NotItsTurn, 0
}

// openSpans reports whether any piece should come from the origin, and whether one of these is nobody's yet.
func (d *Core) openSpans() (wanted, free bool) {
	for i := d.have.NextMissing(0); i >= 0 && i < d.c.Pieces(); i = d.have.NextMissing(i + 1) {
		if !d.wanted(i) {
			continue
		}
		wanted = true
		if d.free(i) {
			return true, true
		}
	}
	return wanted, false
}

// explain fills in what the core knows of a member; false means that it knows none of this name that it has a link to.
func (d *Core) explain(now time.Duration, s *Source) bool {
	m := d.members[s.ID]
	if m == nil || m.distant {
		return false
	}
	s.InFlight = m.pending
	if m.rate > 0 {
		s.Queue = float64(m.pending) / m.rate
	}
	var until time.Duration
	s.Standing, until = d.standing(now, m)
	s.Left = max(0, (until - now).Seconds())
	return true
}

func (d *Core) explainOrigin(now time.Duration) OriginView {
	s, until := d.originStanding(now)
	return OriginView{
		Standing: s, Left: max(0, (until - now).Seconds()), Rate: int64(d.originRate.rate(now)),
		Streams: len(d.streams), Site: d.siteStreams(),
	}
}

// ordered sorts the sources as people look at them.
func ordered(all []Source) []Source {
	slices.SortFunc(all, func(a, b Source) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.ID, b.ID)) })
	return all
}
