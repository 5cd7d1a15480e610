package swarm

import (
	"context"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/swarm/table"
)

// event is something that the table of peers must know. apply does no I/O.
type event interface {
	apply(t *table.Table, now time.Time)
}

type (
	// evFound: discovery, or the configuration, says that a peer may be at target.
	evFound struct {
		id     peer.ID
		target string
		static bool
	}
	// evFailed: an attempt ended without a link.
	evFailed struct{ id peer.ID }
	// evLinked: a connection has authenticated; stays takes the verdict and is buffered.
	evLinked struct {
		link  *link
		stays chan bool
	}
	// evUnlinked: a link has ended.
	evUnlinked struct{ link *link }
	// evBan: a peer has proved that it lies.
	evBan struct{ id peer.ID }
)

func (e evFound) apply(t *table.Table, now time.Time)    { t.Found(now, e.id, e.target, e.static) }
func (e evFailed) apply(t *table.Table, now time.Time)   { t.Failed(now, e.id) }
func (e evLinked) apply(t *table.Table, now time.Time)   { e.stays <- t.Linked(now, e.link) }
func (e evUnlinked) apply(t *table.Table, now time.Time) { t.Unlinked(now, e.link) }
func (e evBan) apply(t *table.Table, _ time.Time)        { t.Banned(e.id) }

// loop owns the table of peers until ctx ends.
func (n *Node) loop(ctx context.Context, d *dialler) {
	t := table.New(n.self, n.bans)
	if n.cfg.Role == fetch.Cache { // what it has nobody should have to search for
		t.KeepAll()
	}
	for _, s := range n.statics {
		t.Found(time.Now(), s.id, s.target, true)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	courting := 0
	for {
		select {
		case e := <-n.events:
			e.apply(t, time.Now())
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if t.Large() {
			t.Thin(n.thin())
		}
		timer.Reset(time.Until(t.Tick(time.Now())))
		for _, a := range t.Take() {
			n.do(ctx, d, a)
		}
		if c := t.Courting(); c != courting {
			n.court(int64(c - courting))
			courting = c
		}
	}
}

// do carries out what the table wants. It does not block.
func (n *Node) do(ctx context.Context, d *dialler, a table.Action) {
	switch a := a.(type) {
	case table.Close:
		a.Link.(*link).close()
	case table.Dial:
		n.wg.Go(func() {
			if n.full() { // the table comes back to it later
				n.post(evFailed{a.ID})
				return
			}
			d.dial(ctx, a)
		})
	}
}

// live runs an authenticated connection from the table's verdict to its end. The caller has counted it as courting,
// until every room has asked it.
func (n *Node) live(ctx context.Context, l *link) {
	if !n.stays(l) {
		n.court(-1)
		l.conn.Close()
		return
	}
	if !n.enter(l) {
		n.court(-1)
		l.conn.Close()
		n.post(evUnlinked{l})
		return
	}
	n.court(-1)
	n.log.LogAttrs(ctx, slog.LevelDebug, "peer linked", slog.String("peer", string(l.id)), slog.Bool("dialled", l.dialled),
		slog.Duration("rtt", l.rtt))
	err := l.run(ctx)
	n.leave(l)
	n.post(evUnlinked{l})
	n.log.LogAttrs(ctx, slog.LevelDebug, "peer unlinked", slog.String("peer", string(l.id)), slog.String("err", quote(err)))
}

// stays asks the table whether the link is the one to keep.
func (n *Node) stays(l *link) bool {
	verdict := make(chan bool, 1)
	n.post(evLinked{l, verdict})
	select {
	case ok := <-verdict:
		return ok
	case <-n.ended:
		return false
	}
}

// enter makes a link one of the node's. It reports false when there are as many as the limit allows; dials that were under
// way at once, or a peer that came in meanwhile, may have taken the last place. A link that takes another's place may stand
// beside it for a moment.
func (n *Node) enter(l *link) bool {
	n.mu.Lock()
	if len(n.links) >= n.cfg.Limits.Links && !n.replaces(l) {
		n.mu.Unlock()
		return false
	}
	n.links[l] = struct{}{}
	rooms := make([]*Room, 0, len(n.rooms))
	for r := range n.rooms {
		rooms = append(rooms, r)
	}
	n.metrics.peers.Set(float64(len(n.links)))
	n.mu.Unlock()
	for _, r := range rooms {
		l.share(r)
	}
	return true
}

// replaces reports whether there is a link to the same peer. The caller holds mu.
func (n *Node) replaces(l *link) bool {
	for o := range n.links {
		if o.peer == l.peer {
			return true
		}
	}
	return false
}

func (n *Node) leave(l *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links, l)
	n.metrics.peers.Set(float64(len(n.links)))
}
