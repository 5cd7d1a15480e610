package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/httpfallback/cachehost"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
	"github.com/dunlin-project/dunlin/swarm"
)

// mendRounds is how often what an earlier run left may turn out damaged when the file is finished.
const mendRounds = 3

// getter is one run of the command.
type getter struct {
	opt    getOptions
	view   getView
	log    *slog.Logger
	gate   *httpfallback.Gate
	caches *cachehost.Hosts
	limits fetch.Limits
	node   *swarm.Node
	meta   *piecehash.Metainfo
	path   string    // of the file
	start  time.Time // fetching began
}

// runGet fetches the file, or checks the one that is there, and serves it as long as the user wants.
func runGet(ctx context.Context, opt getOptions, view getView, log *slog.Logger) error {
	g := &getter{
		opt: opt, view: view, log: log, start: time.Now(),
		gate:   httpfallback.NewGate(httpfallback.GateConfig{Rate: opt.origin, MaxStreams: opt.streams, Log: log}),
		limits: fetch.Limits{Total: limitOf(opt.download), Devices: limitOf(opt.lan), Caches: limitOf(opt.cache)},
	}
	defer view.close()
	defer g.gate.Close()
	defer func() {
		if g.caches != nil {
			g.caches.Close()
		}
	}()
	if err := g.prepare(ctx); err != nil {
		return err
	}
	ctx, stop := g.live(ctx)
	defer stop()
	if err := view.listening(g.node.Addrs()); err != nil {
		return err
	}
	g.awaitStart(ctx)
	file, stats, err := g.obtain(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
			return interrupted(cause)
		}
		return err
	}
	defer file.close()
	if err := view.done(g.report(file.sum, stats)); err != nil || opt.seed == 0 {
		return err
	}
	return g.seed(ctx, stop)
}

// limitOf returns nil for no limit.
func limitOf(bytesPerSecond int64) *fetch.Limit {
	if bytesPerSecond == 0 {
		return nil
	}
	return fetch.NewLimit(bytesPerSecond)
}

// prepare reads the metainfo, makes the folder and opens the listener: whatever can be wrong with them is said first.
func (g *getter) prepare(ctx context.Context) (err error) {
	if g.meta, err = loadMetainfo(ctx, g.gate, g.opt.source); err != nil {
		return err
	}
	if err := os.MkdirAll(g.opt.dir, 0o755); err != nil {
		return fault.New(fault.Usage, "make folder for the file: %w", err)
	}
	g.path = filepath.Join(g.opt.dir, g.meta.Name)
	g.opt.caches.Log = g.log
	if g.caches, err = cachehost.New(g.opt.caches); err != nil {
		return err
	}
	g.node, err = swarm.New(swarm.Config{
		Listen: []netip.AddrPort{g.opt.listen},
		Peers:  g.opt.peers,
		// Loopback has no multicast, and nobody else could reach us there.
		Discover:   !g.opt.listen.Addr().IsLoopback(),
		FoundCache: g.caches.Found,
		Group:      g.opt.group,
		UploadRate: g.opt.upload,
		Limits:     swarmLimits(g.opt.connections, g.opt.memory),
		Log:        g.log,
	})
	return err
}

// live runs the node until stop is called, which waits for its end. If the node ends by itself, so does the context.
func (g *getter) live(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	nodeCtx, end := context.WithCancel(context.WithoutCancel(ctx)) // it serves until we have drawn our conclusions
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := g.node.Run(nodeCtx); nodeCtx.Err() == nil {
			cancel(err)
		}
	}()
	return ctx, func() {
		end()
		<-done
		cancel(nil)
	}
}

// awaitStart waits until the time that the user has named, or until ctx ends. The node lives meanwhile, so that devices which
// begin together are connected by then.
func (g *getter) awaitStart(ctx context.Context) {
	if wait := time.Until(g.opt.at); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		g.start = time.Now()
	}
}

// shared is the file, whole, while it is offered to others.
type shared struct {
	sum   *piecehash.Hash // nil where it was not computed
	close func()
}

// obtain returns the file that is there already, or fetches it.
func (g *getter) obtain(ctx context.Context) (shared, fetch.Stats, error) {
	f, err := store.OpenAt(ctx, g.path, g.meta.Manifest, g.view.checked)
	var other *piecehash.Mismatch
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return g.download(ctx)
	case errors.As(err, &other):
		return shared{}, fetch.Stats{}, fault.WithHint(fault.New(fault.Refused, "%s is there and is another file, or a damaged one: %w", g.path, err),
			"move it away, or choose another folder with -o")
	case err != nil:
		return shared{}, fetch.Stats{}, err
	}
	err = g.checkSum(f)
	if err != nil {
		f.Close()
		return shared{}, fetch.Stats{}, err
	}
	room, err := g.node.Join(f)
	if err != nil {
		f.Close()
		return shared{}, fetch.Stats{}, err
	}
	return shared{sumOf(f), func() { room.Close(); f.Close() }}, fetch.Stats{}, nil
}

// checkSum compares the whole-file hash with what the metainfo says, if it says anything.
func (g *getter) checkSum(f *store.File) error {
	sum, ok := f.SHA256()
	if !ok {
		return fmt.Errorf("hash of %s is not known", g.path)
	}
	if want := g.meta.SHA256; want != nil && *want != sum {
		return g.contradiction(fault.New(fault.Untrusted, "its pieces lead to SHA-256 %v, want %v", sum, *want))
	}
	return nil
}

// contradiction is the error of a metainfo file whose two hashes name different files.
func (g *getter) contradiction(err error) error {
	return fault.WithHint(fmt.Errorf("%s: the metainfo contradicts itself: %w", g.path, err),
		"ask the publisher for a new metainfo file")
}

// report is what the done event says.
func (g *getter) report(sum *piecehash.Hash, stats fetch.Stats) getDone {
	return getDone{
		Event: "done", File: g.path, Bytes: g.meta.Manifest.Length(), Seconds: time.Since(g.start).Seconds(),
		SHA256: sum, Root: g.meta.Manifest.Root(), From: stats.From, Waste: stats.Waste, Served: g.node.Served(),
	}
}

// seed serves until the time is up or the user ends it.
func (g *getter) seed(ctx context.Context, stop func()) error {
	timer := time.NewTimer(g.opt.seed)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			return cause // the node ended by itself
		}
	}
	stop()
	return g.view.ended(g.node.Served())
}

func interrupted(cause error) error {
	if !errors.Is(cause, context.Canceled) {
		return cause
	}
	return fault.WithHint(fault.New(fault.Unavailable, "interrupted"), "the same command goes on where it stopped")
}
