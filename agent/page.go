package agent

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/history"
	"github.com/dunlin-project/dunlin/internal/page"
)

// neighbours is what a Swarm may also know, for the page.
type neighbours interface {
	ID() fetch.PeerID   // this device's name among them
	Peers() []page.Peer // who is connected now
	Served() int64      // payload bytes sent since it began
}

// counted is what came since the process began, for the page. The cycle adds, the page reads.
type counted struct{ origin, cache, peers, useful, waste atomic.Int64 }

// countedFetch is one fetch that is counted. It belongs to the goroutine of the fetch.
type countedFetch struct {
	c    *counted
	last fetch.Stats
}

func (c *counted) begin() *countedFetch { return &countedFetch{c: c} }

// update adds what has come since it was last told. Useful bytes never become fewer.
func (f *countedFetch) update(s fetch.Stats) {
	f.c.origin.Add(s.From.Origin - f.last.From.Origin)
	f.c.cache.Add(s.From.Cache - f.last.From.Cache)
	f.c.peers.Add(s.From.Peers - f.last.From.Peers)
	f.c.useful.Add(s.Useful() - f.last.Useful())
	f.last = s
}

// end adds the rest. Waste is counted here only: what is on its way looks like waste until its piece is whole.
func (f *countedFetch) end(s fetch.Stats) {
	f.update(s)
	f.c.waste.Add(s.Waste)
}

// servePage serves the device's own page until ctx ends.
func (a *Agent) servePage(ctx context.Context) error {
	if a.cfg.Page == Off {
		return nil
	}
	cfg := page.Config{Listen: a.cfg.Page, Subject: a, History: a.dir.history(), Log: a.log}
	if cfg.Listen == "" {
		cfg.Listen, cfg.Elsewhere = DefaultPage, true
	}
	p, err := page.New(cfg)
	if err != nil {
		return err
	}
	a.board.change(func(s *Status) { s.Page = p.URL() })
	defer a.board.change(func(s *Status) { s.Page = "" })
	a.log.InfoContext(ctx, "this device's own page", slog.String("url", p.URL()))
	return p.Run(ctx)
}

// Counters implements page.Subject.
func (a *Agent) Counters() page.Counters {
	c := &a.metrics.counted
	var out page.Counters
	out.Total[history.FromOrigin], out.Total[history.FromCache], out.Total[history.FromPeers] = c.origin.Load(), c.cache.Load(), c.peers.Load()
	out.Total[history.Kept], out.Total[history.Waste] = c.useful.Load(), c.waste.Load()
	if n := a.lan.neighbours(); n != nil {
		out.Peers, out.Total[history.ToDevices] = n.Peers(), n.Served()
	}
	return out
}

// neighbours returns who knows of the devices around, nil without a swarm.
func (l *lan) neighbours() neighbours {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, _ := l.swarm.(neighbours)
	return n
}

// Look implements page.Subject.
func (a *Agent) Look() page.Look {
	now := time.Now()
	s := a.board.get(now)
	l := page.Look{
		Kind: page.Device, Name: s.Device, Version: s.Version, Facts: s.facts(now), Dropped: s.Dropped,
		Decisions: a.board.lately(),
	}
	if n := a.lan.neighbours(); n != nil {
		l.Name = string(n.ID())
		l.Facts = append(l.Facts, page.Fact{Name: "Name among devices", Value: l.Name})
	}
	slices.SortStableFunc(s.Updates, func(x, y Update) int {
		return cmp.Or(cmp.Compare(rankOf(x.State), rankOf(y.State)), y.Since.Compare(x.Since))
	})
	for _, u := range s.Updates {
		l.Items = append(l.Items, u.item())
		if t := u.Transfer; t != nil && u.State == StateDownloading {
			l.Transfers = append(l.Transfers, page.Transfer{
				Name: u.title(), Length: t.Content, Have: min(t.Content, t.Resumed+t.From.Total()-t.Waste),
				From: t.From, Seconds: t.Seconds, Sources: t.Sources,
			})
		}
	}
	return l
}

// facts are what the status says besides updates.
func (s Status) facts(now time.Time) []page.Fact {
	facts := []page.Fact{{Name: "Device", Value: s.Device}, {Name: "Ring", Value: s.Ring}}
	if s.Group != "" {
		facts = append(facts, page.Fact{Name: "Shares in group", Value: s.Group})
	} else {
		facts = append(facts, page.Fact{Name: "Shares", Value: "with nobody"})
	}
	if c := s.Cycle; c != nil {
		value := c.Result + ", began " + ago(now, c.Started)
		if !s.Next.IsZero() && !c.Ended.IsZero() {
			value += ", next " + ago(now, s.Next)
		}
		facts = append(facts, page.Fact{Name: "Last cycle", Value: value, Bad: c.Result != outcomeOK && c.Result != "running"})
		if f := c.Sync; f != nil {
			facts = append(facts, page.Fact{Name: "Depot", Value: f.Kind + ": " + f.Message, Bad: true})
		}
		if f := c.Sharing; f != nil {
			facts = append(facts, page.Fact{Name: "Sharing", Value: f.Kind + ": " + f.Message, Bad: true})
		}
	}
	for _, e := range s.Expires {
		f := page.Fact{Name: "Signed " + e.Role, Value: e.Name + " ran out " + ago(now, e.Expires), Bad: true}
		if e.Expires.After(now) {
			f.Value, f.Bad = e.Name+" holds until "+e.Expires.Format(time.DateTime), false
		}
		facts = append(facts, f)
	}
	return facts
}

// title is what people call an update.
func (u Update) title() string {
	if u.Title != "" {
		return u.Title + " " + u.Version
	}
	return u.Publisher + "/" + u.ID + " " + u.Version
}

func (u Update) item() page.Item {
	it := page.Item{
		Name: u.Publisher + "/" + u.ID, Title: u.Title, Version: u.Version, State: string(u.State), Since: u.Since, Detail: u.details(),
		Bad: u.State == StateFailed || u.State == StateRefused,
	}
	if u.Error != nil {
		it.Detail = u.Error.Kind + ": " + u.Error.Message
	}
	if t := u.Transfer; t != nil {
		it.Length = t.Content
	}
	return it
}

// maxDecided bounds what the board remembers of what was decided.
const maxDecided = 64

// decide remembers a decision. b.mu is held.
func (b *board) decide(d page.Decision) {
	if len(b.decided) == maxDecided {
		b.decided = slices.Delete(b.decided, 0, 1)
	}
	b.decided = append(b.decided, d)
}

// lately returns what was decided, the newest first.
func (b *board) lately() []page.Decision {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := slices.Clone(b.decided)
	slices.Reverse(out)
	return out
}

// compare remembers when an update has come into another state, or is in it for another reason. b.mu is held.
func (b *board) compare(was *Update, is Update) {
	if was != nil && was.State == is.State && was.Reason == is.Reason {
		return
	}
	if is.State == StatePending || was == nil && rankOf(is.State) > 0 {
		return // its turn comes at once; and what nobody wants here is no news
	}
	d := page.Decision{At: time.Now(), What: is.Publisher + "/" + is.ID + " " + is.Version, Outcome: string(is.State), Why: is.Reason}
	switch {
	case is.Error != nil:
		d.Why, d.Bad = is.Error.Kind+": "+is.Error.Message, true
	case is.State == StateInstalled && is.Transfer != nil:
		d.Why = is.Transfer.String()
	}
	b.decide(d)
}

// compareAll does so for a whole plan. b.mu is held.
func (b *board) compareAll(was, is []Update) {
	for _, u := range is {
		i, found := slices.BinarySearchFunc(was, u, byName)
		switch {
		case found:
			b.compare(&was[i], u)
		default:
			b.compare(nil, u)
		}
	}
}

// cycleEnded remembers how a cycle ended, unless the one before ended like it.
func (b *board) cycleEnded(at time.Time, err error) {
	d := page.Decision{At: at, What: "Cycle", Outcome: outcome(err), Bad: err != nil}
	if err != nil {
		d.Why = err.Error()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, old := range slices.Backward(b.decided) {
		if old.What == d.What {
			if old.Outcome == d.Outcome && old.Why == d.Why {
				return
			}
			break
		}
	}
	b.decide(d)
}
