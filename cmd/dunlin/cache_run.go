package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/cachenode"
	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/filelock"
	"github.com/dunlin-project/dunlin/internal/page"
	"github.com/dunlin-project/dunlin/store"
	"github.com/dunlin-project/dunlin/swarm"
)

func cacheRun(c *cli.Context) (err error) {
	if err := noArguments(c); err != nil {
		return err
	}
	opt, err := cacheOptionsOf(c)
	if err != nil {
		return fault.WithHint(err, "dunlin cache run --help")
	}
	if err := checkCachePage(c); err != nil {
		return err
	}
	log := newLogger(c)
	key, err := agent.DeviceKey(opt.dir) // makes the folder
	if err != nil {
		return err
	}
	lock, err := filelock.Acquire(c.Context, opt.lock())
	if err != nil {
		return fault.WithHint(fmt.Errorf("run cache node in %s: %w", opt.dir, err), "another \"dunlin cache run\" uses this folder; stop it first")
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	known, err := openKnown(c.Context, opt, key, log)
	if err != nil {
		return err
	}
	view := newCacheView(c)
	for again := true; again && err == nil; {
		again, err = cacheLive(c, opt, key, known, view, log)
	}
	return err
}

// cacheLive is the life of a node in its groups. It reports whether it ended because the organisation has signed another one.
func cacheLive(c *cli.Context, opt cacheOptions, key ed25519.PrivateKey, known *cacheKnown, view *cacheView, log *slog.Logger) (again bool, err error) {
	opt.groups = known.groups(opt)
	conf := cachenode.Config{Listen: opt.http, Catalogue: known, Refresh: opt.look(), Prefetch: opt.ahead, Room: opt.room, Scrub: opt.scrub, Tell: view.tell, Version: buildVersion(), Log: log}
	p, err := newCacheParts(opt, conf, swarm.Config{Key: key, Role: fetch.Cache}, log)
	if err != nil {
		return false, err
	}
	defer p.close()
	own, err := newCachePage(c, opt, p, log)
	if err != nil {
		return false, err
	}
	work, err := p.serveMetrics(c.Context, opt, log)
	if err != nil {
		return false, err
	}
	pageURL := ""
	if own != nil {
		defer own.Close()
		work, pageURL = together(work, own.Run), own.URL()
	}
	if err := view.listening(p.swarm.Addrs(), p.node.Addr(), pageURL); err != nil {
		return false, err
	}
	work, unheard := p.listenURLs(opt, known, work, log)
	defer unheard()
	moved := false
	err = p.run(c.Context, known.follow(p.gate, opt, work, &moved))
	if err != nil || moved {
		return moved, err
	}
	return false, view.ended(p.swarm.Served(), p.node.Sent())
}

func cacheWarm(c *cli.Context) error {
	opt, err := cacheOptionsOf(c)
	if err == nil && c.NArg() == 0 {
		err = fault.New(fault.Usage, "%s: want updates, URLs or metainfo files", c.Command.FullName())
	}
	if err != nil {
		return fault.WithHint(err, "dunlin cache warm --help")
	}
	log := newLogger(c)
	key, err := agent.DeviceKey(opt.dir) // makes the folder; the key stays with the node that runs
	if err != nil {
		return err
	}
	known, err := openFollowed(opt, key, log)
	if err == nil {
		err = known.addFolder(opt, log)
	}
	if err != nil {
		return err
	}
	known.Refresh(c.Context)
	view := newCacheView(c)
	for _, name := range c.Args().Slice() {
		if err := warmOne(c.Context, opt, known, name, view, log); err != nil {
			return err
		}
	}
	return nil
}

// warmOne brings one content into the store. Those after it have the line to themselves again.
func warmOne(ctx context.Context, opt cacheOptions, known *cacheKnown, name string, view *cacheView, log *slog.Logger) error {
	if !namesFile(name) {
		item, err := known.loadItem(ctx, name, log)
		if err != nil {
			return err
		}
		return warmItem(ctx, opt, known, item, name, view, log)
	}
	item, err := known.atURL(name)
	switch {
	case err != nil:
		return err
	case item == nil:
		return warmURL(ctx, opt, name, view, log)
	}
	return warmItem(ctx, opt, known, item, name, view, log)
}

func warmItem(ctx context.Context, opt cacheOptions, known *cacheKnown, item *cachenode.Item, name string, view *cacheView, log *slog.Logger) error {
	opt.urls.allow = nil // the node that runs keeps the account of those
	opt.groups = known.groups(opt)
	conf := cachenode.Config{Catalogue: append(cachenode.Union{cachenode.One{Item: item}}, known.Union...), Tell: view.progress, Log: quiet(log, log.Enabled(ctx, slog.LevelDebug))}
	p, err := newCacheParts(opt, conf, swarm.Config{Role: fetch.Cache}, conf.Log)
	if err != nil {
		return err
	}
	defer p.close()
	root := item.Manifest.Root()
	err = p.run(ctx, func(ctx context.Context) error { return p.node.Warm(ctx, root) })
	if errors.Is(err, context.Canceled) {
		return interrupted(err)
	}
	if err != nil {
		return err
	}
	return view.warm(name, root, item.Manifest.Length())
}

// cacheParts is what a cache node is put together from.
type cacheParts struct {
	node  *cachenode.Node
	swarm *swarm.Node
	gate  *httpfallback.Gate
	urls  *urlcache.Cache // nil: nothing is served by its URL
}

// newCacheParts binds the listeners and opens the store: whatever can be wrong with them is said first.
func newCacheParts(opt cacheOptions, conf cachenode.Config, sw swarm.Config, log *slog.Logger) (_ *cacheParts, err error) {
	if conf.Store, err = store.Open(opt.store(), store.Options{Reserve: opt.reserve, Log: log}); err != nil {
		return nil, err
	}
	sw.Listen, sw.Peers, sw.UploadRate, sw.Log = opt.listen, opt.peers, opt.upload, log
	if len(opt.groups) > 0 {
		sw.Group, sw.Groups = opt.groups[0], opt.groups[1:]
	}
	sw.Discover = len(opt.listen) == 0 || !opt.listen[0].Addr().IsLoopback()
	sw.Limits = swarmLimits(opt.connections, opt.memory)
	sw.Limits.Handshakes, sw.Limits.FromOne, sw.Limits.DialsPerSec = atOnce+atOnce/4, atOnce, atOnce // others find a place too
	p := new(cacheParts)
	if p.swarm, err = swarm.New(sw); err != nil {
		return nil, err
	}
	p.gate = httpfallback.NewGate(httpfallback.GateConfig{Rate: opt.origin, MaxStreams: opt.streams, MaxAsks: opt.urls.streams, Log: log})
	conf.Gate, conf.Swarm, conf.Bases = p.gate, cacheSwarm{p.swarm, time.Now()}, opt.origins
	conf.Limits = fetch.Limits{Total: limitOf(opt.download), Devices: limitOf(opt.lan), Caches: limitOf(opt.cache)}
	if p.urls, err = opt.urls.open(p.gate, opt.reserve, log); err == nil {
		conf.URLs = p.urls
		p.node, err = cachenode.New(conf)
	}
	if err != nil {
		return nil, errors.Join(err, p.gate.Close(), p.swarm.Close())
	}
	if face, err := netip.ParseAddrPort(p.node.Addr()); err == nil {
		p.swarm.AnnounceHTTP(face)
	}
	return p, nil
}

// close lets go of what run has left, and of everything when it was never called.
func (p *cacheParts) close() {
	_ = p.node.Close()
	_ = p.swarm.Close()
	_ = p.gate.Close()
}

// run lives while work does, and until ctx ends or a part does. The swarm ends after the node: what is being said to devices
// is said to its end.
func (p *cacheParts) run(ctx context.Context, work func(context.Context) error) error {
	swarmCtx, endSwarm := context.WithCancel(context.WithoutCancel(ctx))
	defer endSwarm()
	g, ctx := errgroup.WithContext(ctx)
	nodeCtx, endNode := context.WithCancel(ctx)
	g.Go(func() error {
		if err := p.swarm.Run(swarmCtx); swarmCtx.Err() == nil {
			return err
		}
		return nil
	})
	if p.urls != nil {
		g.Go(func() error { return p.urls.Run(swarmCtx) })
	}
	g.Go(func() error {
		defer endSwarm()
		return p.node.Run(nodeCtx)
	})
	g.Go(func() error {
		defer endNode()
		return work(ctx)
	})
	return g.Wait()
}

// atOnce is how many devices may come to a cache node at once, and in a second from one address: all of a site that starts
// together, behind one router.
const atOnce = 256

// findTime is how long a cache node waits for the first device to be found, before it takes itself to be alone.
const findTime = 5 * time.Second

// cacheSwarm is a swarm.Node as package cachenode knows it.
type cacheSwarm struct {
	*swarm.Node
	since time.Time
}

// Alone implements cachenode.Swarm.
func (s cacheSwarm) Alone() bool { return time.Since(s.since) >= findTime && len(s.Peers()) == 0 }

// Peers returns who is connected, for the page.
func (s cacheSwarm) Peers() []page.Peer { return pagePeers(s.Node) }

// Join implements cachenode.Swarm.
func (s cacheSwarm) Join(h cachenode.Holding) (cachenode.Room, error) {
	room, err := s.Node.Join(h)
	if err != nil { // a nil *Room in the interface would not be nil
		return nil, err
	}
	return room, nil
}
