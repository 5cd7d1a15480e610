package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

// meet makes sure that the device is in its group, and that the group is served what the store has of what is approved.
// Without it updates still come, by HTTP alone.
func (a *Agent) meet(ctx context.Context, view *metadata.View) {
	group := a.cfg.Group
	if group == "" && view != nil {
		group = cmp.Or(view.Fleet().Group, DefaultGroup)
	}
	if group == "" {
		return // nobody has said yet; serving in the wrong group would be worse than waiting for the first answer
	}
	err := a.lan.enter(a.life, group)
	if err != nil {
		a.log.WarnContext(ctx, "going on without other devices", slog.Any("err", err))
	}
	name := a.lan.name()
	if name == "" {
		a.caches.look(a.life, group)
	} else {
		a.caches.leave() // the swarm looks for them
	}
	a.board.change(func(s *Status) {
		c := *s.Cycle
		c.Sharing = failure(err)
		s.Cycle, s.Group = &c, name
	})
	if view != nil && name != "" {
		a.serveStored(ctx, view)
	}
}

func (a *Agent) serveStored(ctx context.Context, view *metadata.View) {
	for _, o := range view.Offers(a.cfg.Ring) {
		root := o.Content().Root()
		if !o.Approval().Peering || a.lan.serves(root) {
			continue
		}
		f, err := a.store.File(root)
		if err != nil {
			continue // not there, or not yet
		}
		if a.lan.serve(f) == nil {
			a.closeFile(ctx, f)
		}
	}
}

// keep hands on the content of a job that is done: to the other devices if it may be shared.
func (a *Agent) keep(ctx context.Context, w *work, f *store.File) {
	share := w.Offer.Approval().Peering && !a.lan.serves(f.Manifest().Root())
	if !share || a.lan.serve(f) == nil {
		a.closeFile(ctx, f)
	}
}

func (a *Agent) closeFile(ctx context.Context, f *store.File) {
	if err := f.Close(); err != nil {
		a.log.WarnContext(ctx, "content was not put away well", slog.Any("err", err))
	}
}

// tidy stops serving what may not be shared any more, and deletes content that is not approved any more, or that is
// installed and exceeds the limit of the store. In doubt about what is approved it deletes nothing but what is approved
// and over the limit: one bad day of a publisher must not have a fleet fetch everything again.
func (a *Agent) tidy(ctx context.Context, view *metadata.View) {
	approved, shared := make(map[piecehash.Root]bool), make(map[piecehash.Root]bool)
	for _, o := range view.Offers(a.cfg.Ring) {
		root := o.Content().Root()
		approved[root] = true
		shared[root] = shared[root] || o.Approval().Peering
	}
	a.lan.keepOnly(shared)
	roots, err := a.store.Roots()
	partials, partialErr := a.store.Partials()
	if err := errors.Join(err, partialErr); err != nil {
		a.log.WarnContext(ctx, "the store cannot be tidied", slog.Any("err", err))
		return
	}
	doubt, needed := doubtful(view, a.cfg.Ring), a.notInstalled(view)
	kept := make([]stored, 0, len(roots))
	for _, root := range roots {
		switch {
		case approved[root]:
		case doubt != nil:
			needed[root] = true
			a.log.InfoContext(ctx, "content stays, whether it is approved cannot be told now",
				slog.String("file", root.String()), slog.Any("err", doubt))
		default:
			a.forget(ctx, root, "it is not approved (any more)")
			continue
		}
		if s, ok := a.look(root); ok {
			kept = append(kept, s)
		}
	}
	for _, root := range partials {
		if !approved[root] && doubt == nil {
			a.forget(ctx, root, "it is not approved (any more), and was never complete")
		}
	}
	for _, s := range overLimit(kept, int64(a.cfg.Limits.Store), needed) {
		a.forget(ctx, s.root, "the store is over its limit")
	}
}

// doubtful returns why the offers of a view may lack content that is approved all the same, or nil: a catalogue that does
// not verify or has run out, an approval that something else than policy stands against. Which content that would be
// cannot be told, because the catalogue that would name it is what cannot be believed.
func doubtful(view *metadata.View, ring string) error {
	for _, c := range view.Catalogues() {
		if err := cmp.Or(c.Err(), c.Stale()); err != nil {
			return err
		}
	}
	for _, r := range view.Refusals(ring) {
		if !fault.Is(r.Err, fault.Refused) {
			return r.Err
		}
	}
	return nil
}

// stored is one complete content of the store.
type stored struct {
	root piecehash.Root
	size int64
	when time.Time
}

func (a *Agent) look(root piecehash.Root) (stored, bool) {
	f, err := a.store.File(root)
	if err != nil {
		return stored{}, false
	}
	defer f.Close()
	info, err := os.Stat(f.Path())
	if err != nil {
		return stored{}, false
	}
	return stored{root, info.Size(), info.ModTime()}, true
}

// notInstalled returns the content of what is approved and still has to be installed: deleting it would have it fetched
// again.
func (a *Agent) notInstalled(view *metadata.View) map[piecehash.Root]bool {
	state := make(map[[4]string]State)
	for _, u := range a.Status().Updates {
		state[nameOf(u)] = u.State
	}
	out := make(map[piecehash.Root]bool)
	for _, o := range view.Offers(a.cfg.Ring) {
		u := updateOf(o.Key(), o.Target(), o.Approval().Action, "", "")
		if state[nameOf(u)] != StateInstalled {
			out[o.Content().Root()] = true
		}
	}
	return out
}

// overLimit returns what has to go so that the rest fits, the oldest first.
func overLimit(all []stored, limit int64, needed map[piecehash.Root]bool) []stored {
	if limit == 0 {
		return nil
	}
	var sum int64
	for _, s := range all {
		sum += s.size
	}
	all = slices.DeleteFunc(slices.Clone(all), func(s stored) bool { return needed[s.root] })
	slices.SortFunc(all, func(x, y stored) int { return x.when.Compare(y.when) })
	n := 0
	for n < len(all) && sum > limit {
		sum -= all[n].size
		n++
	}
	return all[:n]
}

func (a *Agent) forget(ctx context.Context, root piecehash.Root, why string) {
	a.lan.drop(root)
	if err := a.store.Remove(root); err != nil {
		a.log.WarnContext(ctx, "content cannot be deleted", slog.String("file", root.String()), slog.Any("err", err))
		return
	}
	a.log.InfoContext(ctx, "content deleted", slog.String("file", root.String()), slog.String("why", why))
}
