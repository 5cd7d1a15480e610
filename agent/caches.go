package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback/cachehost"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// CacheHosts makes the table of caching nodes that an agent with these settings asks by HTTP; nil when it asks none. The caller
// closes it.
func CacheHosts(cfg Config, version string, log *slog.Logger) (*cachehost.Hosts, error) {
	source, err := cachehost.ParseSource(string(cfg.CacheHostSource))
	if err != nil || source == cachehost.Off {
		return nil, err
	}
	return cachehost.New(cachehost.Config{
		Source: source, Static: cfg.CacheHosts, Insist: time.Duration(cfg.CacheFallbackDelay),
		Shares: cfg.Sharing != SharingOff, UserAgent: "dunlin/" + version, Log: log,
	})
}

// caches owns the agent's search for caching nodes where no swarm searches. It belongs to the goroutine of the cycles, but for
// hosts, which never changes.
type caches struct {
	hosts *cachehost.Hosts                        // nil: none is asked
	find  func(ctx context.Context, group string) // nil: nobody searches
	group string                                  // that is searched for; "" none
	stop  context.CancelFunc                      // ends the search
	wg    sync.WaitGroup                          // of the search
}

// look makes sure that the nodes of the group are searched for, and no others. ctx is that of the agent's life.
func (c *caches) look(ctx context.Context, group string) {
	if c.hosts == nil || c.find == nil || c.group == group {
		return
	}
	c.leave()
	ctx, c.stop = context.WithCancel(ctx)
	c.group = group
	c.wg.Go(func() { c.find(ctx, group) })
}

// leave ends the search.
func (c *caches) leave() {
	if c.stop != nil {
		c.stop()
		c.wg.Wait()
	}
	c.group, c.stop = "", nil
}

// signed takes the nodes that the organisation has signed.
func (c *caches) signed(view *metadata.View) {
	if c.hosts != nil {
		c.hosts.SetDepot(view.Fleet().Caches)
	}
}

// list is what is known of the nodes, for the status.
func (c *caches) list(now time.Time) []cachehost.Node {
	if c.hosts == nil {
		return nil
	}
	return c.hosts.List(now)
}

// via returns the way to an update by the caching nodes, with the origin behind them; nil where no node may be asked: an update
// that devices may not give each other is refused by nodes, too. Without an origin it is nil unless a node is known, because
// who takes part in the site's work as if it had an origin holds up the others.
func (c *caches) via(w *work, origin fetch.Origin) *cachehost.Via {
	if c.hosts == nil || !w.Offer.Approval().Peering || origin == nil && !c.hosts.Known() {
		return nil
	}
	return c.hosts.NewVia(w.Offer.Content(), origin)
}

// layer asks the nodes for a piece layer.
func (c *caches) layer(ctx context.Context, w *work, content piecehash.Content) (*piecehash.Manifest, error) {
	if c.hosts == nil || !w.Offer.Approval().Peering {
		return nil, fault.New(fault.Unavailable, "ask caching nodes for the piece layer of %v: none may be asked", content.Root())
	}
	return c.hosts.Layer(ctx, content)
}
