package main

import (
	"context"
	"errors"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/httpfallback/cachehost"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

// download fetches the file. It stays shared when it is whole.
func (g *getter) download(ctx context.Context) (_ shared, stats fetch.Stats, err error) {
	origin := g.origin()
	if origin != nil {
		defer origin.Close()
	}
	way := g.way(origin)
	if via, ok := way.(*cachehost.Via); ok {
		defer via.Close()
	}
	part, err := store.BeginAt(ctx, g.path, g.meta.Manifest, store.Options{
		WholeHash: g.meta.SHA256 != nil || g.opt.sum, Expect: g.meta.SHA256, Log: g.log,
	})
	if err != nil {
		return shared{}, stats, err
	}
	for range mendRounds {
		room, err := g.node.Join(part)
		if err != nil {
			return shared{}, stats, errors.Join(err, part.Close())
		}
		one, err := fetch.File(ctx, part, g.options(room, way))
		stats = add(stats, one)
		var f *store.File
		if err == nil {
			f, err = part.Seal(ctx)
		}
		if err == nil {
			return g.finish(f, part, room, stats)
		}
		room.Close()
		if fault.Is(err, fault.Untrusted) && part.Bitmap().Full() {
			return shared{}, stats, errors.Join(g.contradiction(err), part.Discard())
		}
		// Dropped now by Seal, or before by whoever read a piece that an earlier run has left.
		if !errors.Is(err, store.ErrDropped) && !errors.Is(err, store.ErrIncomplete) {
			return shared{}, stats, errors.Join(err, part.Close())
		}
		g.log.Warn("what an earlier run left is damaged: it is fetched again", "file", g.path, "err", err)
		if err := sweep(ctx, part); err != nil {
			return shared{}, stats, errors.Join(err, part.Close())
		}
	}
	part.Close()
	return shared{}, stats, fault.WithHint(fault.New(fault.Unavailable, "%s: what was written does not stay as it was", g.path),
		"check the disk")
}

// sweep reads every piece once, which drops those that are damaged: one round of fetching then mends all of them.
func sweep(ctx context.Context, part *store.Partial) error {
	have := part.Bitmap()
	var buf []byte
	for i := range have.Len() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !have.Has(i) {
			continue
		}
		b, err := part.ReadPiece(i, buf)
		if err == nil {
			buf = b
		} else if !errors.Is(err, store.ErrDropped) && !errors.Is(err, store.ErrMissing) {
			return err
		}
	}
	return nil
}

type roomCloser interface {
	fetch.Site
	Close() error
}

// finish hands on what is whole and checked.
func (g *getter) finish(f *store.File, part *store.Partial, room roomCloser, stats fetch.Stats) (shared, fetch.Stats, error) {
	return shared{sumOf(f), func() { room.Close(); f.Close(); part.Close() }}, stats, nil
}

// sumOf is the SHA-256 of the whole file, nil where it is not known: the pieces prove the file, so it is computed only when
// the metainfo names it or somebody asks.
func sumOf(f *store.File) *piecehash.Hash {
	sum, ok := f.SHA256()
	if !ok {
		return nil
	}
	return &sum
}

func (g *getter) options(site fetch.Site, origin fetch.Origin) fetch.Options {
	return fetch.Options{
		Self: g.node.ID(), Site: site, Origin: origin, Limits: g.limits,
		Progress: g.view.progress, Watch: g.opt.watch, Log: g.log,
	}
}

// way is how the file can be had by HTTP: from caching nodes, then from the origins. Nil means not at all.
func (g *getter) way(origin *httpfallback.Origin) fetch.Origin {
	switch {
	case g.opt.caches.Source == cachehost.Off && origin == nil, origin == nil && !g.caches.Known():
		return nil
	case g.opt.caches.Source == cachehost.Off:
		return origin
	case origin == nil: // a nil *Origin in the interface would not be nil
		return g.caches.NewVia(g.meta.Manifest.Content, nil)
	}
	return g.caches.NewVia(g.meta.Manifest.Content, origin)
}

// origin returns the origins of the metainfo, nil when it has none that can be used: then only peers can deliver.
func (g *getter) origin() *httpfallback.Origin {
	urls := g.meta.Origins()
	if len(urls) == 0 {
		g.log.Warn("the metainfo names no origin: only peers can deliver the file")
		return nil
	}
	o, err := httpfallback.NewOrigin(httpfallback.OriginConfig{Gate: g.gate, Content: g.meta.Manifest.Content, URLs: urls, Log: g.log})
	if err != nil {
		g.log.Warn("only peers can deliver the file", "err", err)
		return nil
	}
	return o
}

// add sums the bytes of two rounds; the rest is that of the later one.
func add(a, b fetch.Stats) fetch.Stats {
	b.From.Origin += a.From.Origin
	b.From.Cache += a.From.Cache
	b.From.Peers += a.From.Peers
	b.Waste += a.Waste
	return b
}
