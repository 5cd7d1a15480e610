package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

// sealTries is how often a download is begun again because what an earlier run has left turned out damaged on the disk.
const sealTries = 3

// download brings a payload into the store, or finds it there. What an earlier run has left is kept; pieces that have
// arrived serve other devices at once.
func (a *Agent) download(ctx context.Context, w *work) (*store.File, error) {
	c := w.Offer.Content()
	if f, err := a.store.File(c.Root()); err == nil {
		return f, nil
	}
	m, err := a.manifest(ctx, w, c)
	if err != nil {
		return nil, err
	}
	part, err := a.store.Begin(ctx, m)
	if err != nil {
		return nil, err
	}
	return a.complete(ctx, w, part)
}

// repair fetches what is damaged in a complete payload. It reports false when nothing is: then it is not the disk's fault
// that the payload did not check out.
func (a *Agent) repair(ctx context.Context, w *work, f *store.File) (_ *store.File, mended bool, err error) {
	m := f.Manifest()
	a.lan.drop(m.Root())
	if err := f.Close(); err != nil {
		a.log.DebugContext(ctx, "close damaged content", slog.Any("err", err))
	}
	part, err := a.store.Repair(ctx, m)
	if err != nil {
		return nil, false, err
	}
	if missing := m.Pieces() - part.Bitmap().Count(); missing > 0 {
		a.log.WarnContext(ctx, "stored content is damaged, what is wrong is fetched again",
			slog.String("file", m.Root().String()), slog.Int("pieces", missing))
		mended = true
	}
	w.mending = true
	f, err = a.complete(ctx, w, part)
	return f, mended, err
}

// complete fetches what a part lacks and seals it. It closes the part, now or when it is no longer served.
func (a *Agent) complete(ctx context.Context, w *work, part *store.Partial) (*store.File, error) {
	root := part.Manifest().Root()
	for try := 1; ; try++ {
		shared, err := a.fill(ctx, w, part)
		var f *store.File
		if err == nil {
			f, err = part.Seal(ctx)
		}
		again := errors.Is(err, store.ErrDropped) && try < sealTries
		if !again && (err != nil || !shared) {
			a.lan.drop(root)
			err = errors.Join(err, part.Close())
		}
		if err == nil {
			return f, nil
		}
		if !again {
			return nil, err
		}
	}
}

// fill fetches what a part lacks. It reports whether the part is shared now, and so the lan's to close.
func (a *Agent) fill(ctx context.Context, w *work, part *store.Partial) (shared bool, err error) {
	opt := fetch.Options{Limits: a.limits, Patience: a.patience, Log: a.log}
	if w.Offer.Approval().Peering {
		if seat := a.lan.serve(part); seat != nil {
			shared, opt.Site, opt.Self = true, seat, seat.Self()
		}
	}
	if part.Bitmap().Full() {
		return shared, nil
	}
	origin, err := a.origin(w)
	if err == nil {
		opt.Origin = origin
		defer origin.Close()
	}
	via := a.caches.via(w, opt.Origin)
	if via != nil {
		opt.Origin = via
		opt.Patience = cmp.Or(opt.Patience, fetch.DefaultPatience) + time.Duration(a.cfg.CacheFallbackDelay)
		defer via.Close()
	}
	switch {
	case err == nil || via != nil:
	case opt.Site == nil:
		return shared, err
	default:
		a.log.WarnContext(ctx, "no origin can be used, other devices must have the content", slog.Any("err", err))
	}
	meter, counted := a.metrics.transfer(w), a.metrics.counted.begin()
	opt.Progress = func(s fetch.Stats) {
		meter.Update(s)
		counted.update(s)
		a.progress(w, s)
	}
	opt.Watch = func(v fetch.View) {
		w.picture = &v
		a.metrics.showSources(v)
	}
	stats, err := fetch.File(ctx, a.metrics.transfers.Part(part), opt)
	meter.End(stats, err)
	counted.end(stats)
	w.arrived(stats)
	return shared, err
}

// origin returns where the payload can be had by HTTP: what the organisation has signed and what the device was enrolled
// with, and after those what the publisher says, which may only lead to the public Internet.
func (a *Agent) origin(w *work) (*httpfallback.Origin, error) {
	c := w.Offer.Content()
	return httpfallback.NewOrigin(httpfallback.OriginConfig{
		Gate: a.gate, Content: c, URLs: contentURLs(a.bases(w), c), Hints: contentURLs(w.Update.Origins, c), Log: a.log,
	})
}

// bases returns where the organisation says that content is, best first.
func (a *Agent) bases(w *work) []string {
	return slices.Concat(w.View.Fleet().Origins, w.Offer.Publisher().Origins, a.cfg.Content)
}

func contentURLs(bases []string, c piecehash.Content) []string {
	urls := make([]string, 0, len(bases))
	for _, b := range bases {
		urls = append(urls, httpfallback.ContentURL(b, c.Root()))
	}
	return urls
}

// manifest gets the piece layer: from where the metadata comes, or from other devices, or from where content is. It proves
// itself, so it may come from anybody.
func (a *Agent) manifest(ctx context.Context, w *work, c piecehash.Content) (*piecehash.Manifest, error) {
	if c.LayerSize() == 0 {
		return c.Prove(nil)
	}
	m, err := w.Client.Layer(ctx, c)
	if err == nil || ctx.Err() != nil {
		return m, err
	}
	a.log.WarnContext(ctx, "the depot does not give the piece layer, others may", slog.Any("err", err))
	if w.Offer.Approval().Peering {
		if m, peerErr := a.lan.layer(ctx, c); peerErr == nil {
			return m, nil
		}
	}
	if m, cacheErr := a.caches.layer(ctx, w, c); cacheErr == nil {
		return m, nil
	}
	if m, originErr := httpfallback.FetchLayer(ctx, a.gate, a.bases(w), c); originErr == nil {
		return m, nil
	}
	if fault.Is(err, fault.Untrusted) {
		err = fault.WithHint(err, "somebody or a bad disk has changed the piece layer at the depot; there, approve the update again")
	}
	return nil, err
}
