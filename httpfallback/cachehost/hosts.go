package cachehost

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Bounds of what is known.
const (
	// MaxHosts bounds each list of nodes.
	MaxHosts = 32

	maxAddrs  = 4                      // of one announced node
	forgotten = 10 * time.Minute       // an announced node that was not heard for so long is gone
	firstLook = 200 * time.Millisecond // from New on: what discovery gets before the first byte is asked of an origin
)

// Config says which nodes there are.
type Config struct {
	Source Source
	// Static are base URLs of nodes (BASE/content/ROOT), of http or https.
	Static []string
	// Insist is for how long from the beginning of a fetch the origin is not asked while a node is known that may have the
	// content, though it does not deliver; 0 asks the origin at once.
	Insist time.Duration
	// Shares says that the process shares with devices. Its fetches wait for those as they begin, so discovery has had its moment.
	Shares bool
	// UserAgent is sent with each request.
	UserAgent string
	Log       *slog.Logger // nil: silent
}

// Hosts are the caching nodes that a process knows, and how they are. Its methods are safe for concurrent use. Close ends it.
type Hosts struct {
	source Source
	insist time.Duration
	log    *slog.Logger
	gate   *httpfallback.Gate
	head   func(ctx context.Context, url string) (httpfallback.Answer, error) // of gate
	open   func(url string, c piecehash.Content) (source, error)              // through gate

	ctx  context.Context //nolint:containedctx // of the probes, which Close ends
	stop context.CancelFunc
	wg   sync.WaitGroup
	born time.Time

	mu     sync.Mutex // guards the rest, and what host says of itself
	static []*host
	depot  []*host
	found  map[string]*host // by name
	banned map[string]time.Time
	closed bool
	news   chan struct{} // closed when the first node is found; nil then
}

// tier is whose word a node is known by; the lower is asked first.
type tier uint8

const (
	fromSettings tier = iota
	fromLAN
	fromDepot
)

// host is one node. Its name never changes; the rest is guarded by Hosts.mu, but for turn.
type host struct {
	tier  tier
	name  string        // what the rendezvous hash takes: the node's id, or its base URL
	turn  chan struct{} // holds one token: one look at a time at whether it is there
	bases []string      // base URLs, the one that answered last first
	heard time.Time     // when an announced one was last heard
	health
}

func newHost(t tier, name string, bases ...string) *host {
	return &host{tier: t, name: name, bases: bases, turn: make(chan struct{}, 1)}
}

// New takes the settings of the device. The error is usage: a URL that is none. It asks nobody.
func New(cfg Config) (*Hosts, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	h := &Hosts{
		source: cfg.Source, insist: cfg.Insist, log: cfg.Log, found: make(map[string]*host), banned: make(map[string]time.Time),
		gate: httpfallback.NewGate(httpfallback.GateConfig{Near: true, UserAgent: cfg.UserAgent, Log: cfg.Log}),
		news: make(chan struct{}), ctx: ctx, stop: stop, born: time.Now(),
	}
	h.head, h.open = h.gate.Head, h.origin
	if cfg.Shares {
		h.born = h.born.Add(-firstLook)
	}
	if len(cfg.Static) > 0 && !cfg.Source.Has(Static) {
		return nil, fault.New(fault.Usage, "caching nodes are named, but the source is %s", cfg.Source)
	}
	if len(cfg.Static) > MaxHosts {
		return nil, fault.New(fault.Usage, "%d caching nodes, at most %d", len(cfg.Static), MaxHosts)
	}
	for _, raw := range cfg.Static {
		base, err := normalize(raw)
		if err != nil {
			return nil, fault.Wrap(fault.Usage, err)
		}
		h.static = append(h.static, newHost(fromSettings, base, base))
	}
	return h, nil
}

// Close ends what still runs, and lets go of connections. No Via may be used after it.
func (h *Hosts) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.stop()
	h.wg.Wait()
	return h.gate.Close()
}

// normalize brings the base URL of a node into the form in which it is compared and hashed.
func normalize(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%.80q is not the base URL of a caching node, such as http://cache.example:7681", raw)
	}
	u.Host = strings.ToLower(u.Host)
	return strings.TrimRight(u.String(), "/"), nil
}

// SetDepot takes the base URLs that the organisation has signed, in place of those before. What is no URL is left out.
func (h *Hosts) SetDepot(bases []string) {
	if !h.source.Has(Depot) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []*host
	for _, raw := range bases[:min(len(bases), MaxHosts)] {
		base, err := normalize(raw)
		if err != nil {
			continue
		}
		at := slices.IndexFunc(h.depot, func(o *host) bool { return o.name == base })
		if at >= 0 { // how it is stays known
			list = append(list, h.depot[at])
		} else {
			list = append(list, newHost(fromDepot, base, base))
		}
	}
	h.depot = list
}

// Found takes the name and an address of a node that announces itself; again and again, for as long as it does.
func (h *Hosts) Found(name string, addr netip.AddrPort) { h.heardOf(time.Now(), name, addr) }

func (h *Hosts) heardOf(now time.Time, name string, addr netip.AddrPort) {
	if !h.source.Has(LAN) {
		return
	}
	base := "http://" + addr.String()
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.found[name]
	if o == nil {
		h.forget(now)
		if len(h.found) >= MaxHosts {
			return
		}
		o = newHost(fromLAN, name)
		h.found[name] = o
		h.log.Info("caching node found", slog.String("host", base))
	}
	o.heard = now
	if !slices.Contains(o.bases, base) {
		o.bases = append(o.bases[:min(len(o.bases), maxAddrs-1)], base)
	}
	if h.news != nil {
		close(h.news)
		h.news = nil
	}
}

// forget drops the announced nodes that were not heard for long. h.mu is held.
func (h *Hosts) forget(now time.Time) {
	for name, o := range h.found {
		if now.Sub(o.heard) > forgotten {
			delete(h.found, name)
		}
	}
}

// Known reports whether any node is known now.
func (h *Hosts) Known() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all(time.Now())) > 0
}

// all returns every node whose source is taken. One address is one node: what the settings name is not asked again because it
// announces itself too. h.mu is held.
func (h *Hosts) all(now time.Time) []*host {
	h.forget(now)
	var out []*host
	seen := make(map[string]bool)
	add := func(list []*host) {
		for _, o := range list {
			if slices.ContainsFunc(o.bases, func(b string) bool { return !seen[b] }) {
				out = append(out, o)
			}
			for _, b := range o.bases {
				seen[b] = true
			}
		}
	}
	if h.source.Has(Static) {
		add(h.static)
	}
	announced := make([]*host, 0, len(h.found))
	for _, o := range h.found {
		announced = append(announced, o)
	}
	slices.SortFunc(announced, func(a, b *host) int { return strings.Compare(a.name, b.name) })
	add(announced)
	add(h.depot)
	return out
}

// order returns whom to ask for a content, best first, and has a look taken at those that were not there and may be again.
func (h *Hosts) order(now time.Time, root piecehash.Root) []*host {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*host
	for _, o := range h.all(now) {
		switch {
		case h.isBanned(now, o):
		case o.failures == 0:
			out = append(out, o)
		case !o.probing && !now.Before(o.until) && !h.closed:
			o.probing = true
			h.wg.Go(func() { h.probe(o, root) })
		}
	}
	byRank(root, out)
	return out
}

// await gives discovery a moment at the beginning: who asks the origin before the first answer can have come pays for what is
// next door. A fetch that begins with the process has waited for its neighbours for most of it.
func (h *Hosts) await(ctx context.Context) {
	left := time.Until(h.born.Add(firstLook))
	if left <= 0 || !h.source.Has(LAN) || h.Known() {
		return
	}
	h.mu.Lock()
	news := h.news
	h.mu.Unlock()
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-news: // never when nil: then it was known a moment ago, and is forgotten
	case <-timer.C:
	case <-ctx.Done():
	}
}
