package approved

import (
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// learn makes a ledger of what was known and of a view. It is pure.
//
// Of several approvals of one content the stricter wins: if one of them forbids exchange, nobody gets it from here. An update
// that was known and whose catalogue cannot be believed at the moment stays as it was but is not fetched ahead; one that is
// approved no longer, or must not be acted on, is withdrawn.
func learn(old *ledger, view *metadata.View, rings, content []string) *ledger {
	l := learner{view: view, content: content, found: make(map[piecehash.Root]*entry), doubt: make(map[approval]*metadata.Approval)}
	for _, ring := range rings {
		l.ring(ring)
	}
	for _, was := range old.Entries {
		l.remember(was)
	}
	entries := make([]*entry, 0, len(l.found))
	for _, e := range l.found {
		entries = append(entries, e)
	}
	out := newLedger(entries)
	out.Group, out.Synced, out.Expires = view.Fleet().Group, view.Now(), view.Expires()
	return out
}

type learner struct {
	view    *metadata.View
	content []string // base URLs that the machine was enrolled with
	found   map[piecehash.Root]*entry
	doubt   map[approval]*metadata.Approval // that cannot be acted on only because something is not available
}

func (l *learner) ring(ring string) {
	held := make(map[metadata.Key]bool)
	for _, h := range l.view.Holds(ring) {
		held[h.Key] = true
	}
	offers := l.view.Offers(ring)
	for _, o := range offers {
		l.add(o, !held[o.Key()] && !replaced(o, offers))
	}
	for _, r := range l.view.Refusals(ring) {
		if r.Approval != nil && fault.Is(r.Err, fault.Unavailable) {
			l.doubt[approval{ring, r.Key.Publisher, r.Key.ID, r.Version}] = r.Approval
		}
	}
}

// replaced reports whether another offer takes the place of o, so that devices will want that one.
func replaced(o metadata.Offer, offers []metadata.Offer) bool {
	return slices.ContainsFunc(offers, func(other metadata.Offer) bool {
		return !o.Approval().Downgrade && other.Update().Replaces(o.Update()) && !o.Update().Replaces(other.Update())
	})
}

func (l *learner) add(o metadata.Offer, ahead bool) {
	c, a, u := o.Content(), o.Approval(), o.Update()
	e := l.found[c.Root()]
	if e == nil {
		e = &entry{Root: c.Root(), Length: c.Length(), PieceLength: c.PieceLength(), Peering: true, content: c}
		l.found[c.Root()] = e
	}
	e.As = append(e.As, approval{o.Ring(), o.Key().Publisher, u.ID, u.Version})
	e.Peering = e.Peering && a.Peering
	e.Ahead = e.Ahead || ahead
	if !a.Deadline.IsZero() && (e.Deadline.IsZero() || a.Deadline.Before(e.Deadline)) {
		e.Deadline = a.Deadline
	}
	if u.Released.After(e.Released) {
		e.Released = u.Released
	}
	bases := slices.Concat(l.view.Fleet().Origins, o.Publisher().Origins, l.content)
	e.Origins = addURLs(e.Origins, bases, c.Root())
	e.Hints = addURLs(e.Hints, u.Origins, c.Root())
}

// addURLs adds the URLs of content below some bases, up to the number that is used at all.
func addURLs(urls, bases []string, root piecehash.Root) []string {
	for _, b := range bases {
		u := httpfallback.ContentURL(b, root)
		if len(urls) < piecehash.MaxURLs && !slices.Contains(urls, u) {
			urls = append(urls, u)
		}
	}
	return urls
}

// remember takes over what was known and is not offered now.
func (l *learner) remember(was *entry) {
	e := l.found[was.Root]
	var doubtful []approval
	peering := true
	for _, a := range was.As {
		if now := l.doubt[a]; now != nil && was.Withdrawn.IsZero() {
			doubtful = append(doubtful, a)
			peering = peering && now.Peering
		}
	}
	switch {
	case e != nil:
		e.As = append(e.As, doubtful...)
		e.Peering = e.Peering && peering
		return
	case !was.Withdrawn.IsZero():
		e = was
	case len(doubtful) > 0:
		kept := *was
		kept.As, kept.Peering, kept.Ahead = doubtful, was.Peering && peering, false
		e = &kept
	default:
		gone := *was
		gone.Withdrawn, gone.Ahead = l.view.Now().UTC().Truncate(time.Second), false
		gone.Origins, gone.Hints = nil, nil
		e = &gone
	}
	l.found[was.Root] = e
}
