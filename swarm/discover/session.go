package discover

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/dunlin-project/dunlin/swarm/group"
)

// Times of what is said, as RFC 6762 has them.
const (
	sameAgain   = time.Second            // between two multicasts of the same on one line
	minThink    = 20 * time.Millisecond  // before a shared answer is multicast: others answer too
	maxThink    = 120 * time.Millisecond // and at most
	secondTime  = time.Second            // when the first announcement is repeated
	eagerAsks   = 3                      // first questions, which may be answered to us alone
	askedEnough = queryInterval / 2      // somebody else's question is as good as ours
)

// Bounds of what is heard: more is dropped unread.
const (
	packetsPerSecond = 256
	packetsAtOnce    = 2048
	repliesPerSecond = 64 // to askers alone
)

// session is discovery while neither interfaces nor day change.
type session struct {
	*discovery
	on    onLink
	tags  map[string]bool
	says  []announcement
	lines []*line
	heard *rate.Limiter
	reply *rate.Limiter
	kick  chan struct{} // cap 1: a line has something to say

	mu sync.Mutex // guards last, due and asked of lines
}

// line is one interface in one family of addresses.
type line struct {
	socket
	iface
	last  time.Time // we were multicast here
	due   time.Time // for the next time; zero: not
	asked time.Time // somebody else's question was heard
}

// session announces and looks until the interfaces or the day change, or ctx ends.
func (d *discovery) session(ctx context.Context, ifaces []iface, on onLink) {
	now := time.Now()
	s := &session{
		discovery: d, on: on, tags: d.tags(now), kick: make(chan struct{}, 1),
		heard: rate.NewLimiter(packetsPerSecond, packetsAtOnce), reply: rate.NewLimiter(repliesPerSecond, 4*repliesPerSecond),
	}
	s.says = d.announcements(now)
	sockets := s.open(ctx, ifaces)
	if len(sockets) == 0 {
		pause(ctx, refreshInterfaces)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for _, k := range sockets {
		wg.Go(func() { s.listen(ctx, k) })
	}
	wg.Go(func() { d.changed(ctx, cancel, group.Day(now), on) })
	s.talk(ctx)
	for _, k := range sockets {
		k.Close()
	}
	wg.Wait()
}

// open makes the sockets, and a line for each interface that has an address of their family.
func (s *session) open(ctx context.Context, ifaces []iface) (out []socket) {
	for _, f := range []struct {
		open func([]iface) (socket, error)
		has  func(netip.Addr) bool
	}{{open4, netip.Addr.Is4}, {open6, netip.Addr.Is6}} {
		var mine []iface
		for _, i := range ifaces {
			for _, a := range i.addrs {
				if f.has(a) {
					mine = append(mine, i)
					break
				}
			}
		}
		if len(mine) == 0 {
			continue
		}
		k, err := f.open(mine)
		if err != nil {
			s.warn(ctx, "listen", err)
			continue
		}
		out = append(out, k)
		for _, i := range mine {
			s.lines = append(s.lines, &line{socket: k, iface: i})
		}
	}
	return out
}

// changed ends the session when what it stands on is no more.
func (d *discovery) changed(ctx context.Context, end context.CancelFunc, day int64, was onLink) {
	for ctx.Err() == nil {
		pause(ctx, refreshInterfaces)
		if _, on := interfaces(); !on.equal(was) || group.Day(time.Now()) != day {
			end()
		}
	}
}

// announcements are what we say of our listeners.
func (d *discovery) announcements(now time.Time) (out []announcement) {
	for _, tag := range d.Tags(group.Day(now)) {
		out = append(out, d.announcementsIn(tag)...)
	}
	return out
}

// announcementsIn are those to the members of one group.
func (d *discovery) announcementsIn(tag string) (out []announcement) {
	texts := []string{"v=1", "g=" + tag, "p=" + d.Self.String()}
	add := func(k kinds, addrs []netip.AddrPort) {
		for _, l := range addrs {
			if a, err := newAnnouncement(k, l, texts); err == nil && !l.Addr().IsLoopback() {
				out = append(out, a)
			}
		}
	}
	add(aPeer, d.Listen)
	add(aCache, d.Caches)
	return out
}

// talk asks by the schedule and says what is due, until ctx ends; then it says farewell.
func (s *session) talk(ctx context.Context) {
	start := time.Now()
	s.announceAll(start, announceTTL)
	for _, l := range s.lines {
		s.mu.Lock()
		l.due = start.Add(secondTime)
		s.mu.Unlock()
	}
	asked := 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.kick:
		case <-ctx.Done():
			s.announceAll(time.Now(), 0)
			return
		}
		now := time.Now()
		for ; !start.Add(queryAt(asked)).After(now); asked++ {
			s.ask(ctx, now, asked)
		}
		timer.Reset(time.Until(earlier(start.Add(queryAt(asked)), s.sayDue(now))))
	}
}

func earlier(a, b time.Time) time.Time {
	if !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// ask puts question k on each line, unless somebody else has just asked there: all hear the answers.
func (s *session) ask(ctx context.Context, now time.Time, k int) {
	b, err := question(s.wanted(), k < eagerAsks)
	for _, l := range s.lines {
		if k >= len(querySchedule) && s.wasAsked(l, now) {
			continue
		}
		if err == nil {
			err = l.multicast(b, l.Index)
		}
	}
	if err != nil {
		s.warn(ctx, "ask", err)
	}
}

func (s *session) wasAsked(l *line, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(l.asked) < askedEnough
}

// announceAll says on every line who we are; a ttl of 0 says that we are no more.
func (s *session) announceAll(now time.Time, ttl uint32) {
	for _, l := range s.lines {
		s.announce(now, l, ttl)
	}
}

func (s *session) announce(now time.Time, l *line, ttl uint32) {
	b, err := answer(s.says, l.iface, ttl, nil, 0)
	if err == nil && b != nil {
		_ = l.multicast(b, l.Index) // the next one may come through
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.last, l.due = now, time.Time{}
}

// sayDue announces on the lines where it is time and returns when it will be on another, zero for never.
func (s *session) sayDue(now time.Time) (next time.Time) {
	for _, l := range s.lines {
		s.mu.Lock()
		due := l.due
		s.mu.Unlock()
		switch {
		case due.IsZero():
		case !due.After(now):
			s.announce(now, l, announceTTL)
		case next.IsZero() || due.Before(next):
			next = due
		}
	}
	return next
}

// listen reads packets until the socket is closed.
func (s *session) listen(ctx context.Context, k socket) {
	buf := make([]byte, maxPacket)
	for ctx.Err() == nil {
		n, ifIndex, from, err := k.receive(buf)
		now := time.Now()
		switch {
		case err != nil:
			pause(ctx, 10*time.Millisecond)
			continue
		case !s.heard.AllowN(now, 1):
			s.flooded(ctx)
			continue
		}
		p, err := parse(buf[:n])
		if err != nil && len(p.entries) == 0 && p.ask == nil {
			continue // somebody else's business, most likely
		}
		for _, e := range p.entries {
			s.entry(e, s.tags, s.on)
		}
		if s.answers(p.asked) {
			s.asked(now, k, ifIndex, from, p)
		}
	}
}

// answers reports whether something that is asked for is here.
func (s *session) answers(asked kinds) bool {
	return slices.ContainsFunc(s.says, func(a announcement) bool { return a.kind&asked != 0 })
}

// asked answers a question: to the asker alone when that will do, else to all, a moment later and not too often.
func (s *session) asked(now time.Time, k socket, ifIndex int, from netip.AddrPort, p packet) {
	for _, l := range s.lines {
		if l.socket != k || ifIndex != 0 && l.Index != ifIndex {
			continue
		}
		alien := from.Port() != mdnsPort // speaks no multicast DNS, and wants its question back
		if alien || p.ask.Class&unicastBit != 0 {
			s.answerTo(now, l, from, p, alien)
			continue
		}
		s.mu.Lock()
		if s.wanted()&^p.asked == 0 {
			l.asked = now
		}
		if l.due.IsZero() {
			think := minThink + rand.N(maxThink-minThink)
			l.due = now.Add(think)
			if again := l.last.Add(sameAgain); again.After(l.due) {
				l.due = again
			}
		}
		s.mu.Unlock()
		select {
		case s.kick <- struct{}{}:
		default:
		}
	}
}

// answerTo answers one asker of our own network: nobody else is to be sent anything by a forged question.
func (s *session) answerTo(now time.Time, l *line, to netip.AddrPort, p packet, alien bool) {
	if !s.on.has(to.Addr()) || !s.reply.AllowN(now, 1) {
		return
	}
	q, id := p.ask, p.id
	if !alien {
		q, id = nil, 0
	}
	if b, err := answer(s.says, l.iface, announceTTL, q, id); err == nil && b != nil {
		_ = l.unicast(b, to) // it asks again
	}
}

// flooded says so in the log once in a while.
func (s *session) flooded(ctx context.Context) {
	if now := time.Now().UnixNano(); now >= s.flood.Load() {
		s.flood.Store(now + int64(time.Minute))
		s.Log.LogAttrs(ctx, slog.LevelWarn, "discovery drops packets: there are too many")
	}
}
