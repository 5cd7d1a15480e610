package cachenode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/life"
	"github.com/dunlin-project/dunlin/internal/publicweb"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
	"github.com/dunlin-project/dunlin/store/room"
	"github.com/dunlin-project/dunlin/store/scrub"
)

// Limits of a node.
const (
	// DefaultFetches is how many contents are fetched at once; the others wait.
	DefaultFetches = 8
	// DefaultOpen is how many contents are open at once, and so shared with devices; beyond, the one that was not asked for
	// longest is closed. Each costs a file and its piece layer in memory.
	DefaultOpen = 512

	checkers      = 4                // pieces that are in memory to be hashed, at once
	retryAfter    = 5 * time.Second  // content that could not be fetched is not tried again before
	retryMost     = 10 * time.Minute // nor, where nobody asks, after pauses that double up to this
	refreshEvery  = 10 * time.Second // between two looks at the catalogue, if nothing else is said
	progressEvery = time.Second      // between two words about a fetch
	runLength     = 16 << 20         // bytes that are sent before the next look at what is there
	mendRounds    = 3                // how often stored content may turn out damaged when a fetch is finished
	minOpen       = 2                // one that is asked for and one that comes
	minConcurrent = 1
)

// Config is what a Node is made of.
type Config struct {
	// Listen is the address of the HTTP face, HOST:PORT; "" serves none.
	Listen    string
	Store     *store.Store // where content is kept; required
	Catalogue Catalogue    // what is known; required
	// Gate is the door to the origins; required. The caller closes it.
	Gate *httpfallback.Gate
	// Refresh is the time between two looks at the catalogue, for what is to be fetched ahead or not given away any more; 0 is 10 s.
	Refresh time.Duration
	// Bases are URLs below which every content of the catalogue may be found (BASE/content/ROOT), before its own origins.
	Bases []string
	Swarm Swarm // nil: there are no devices around
	// URLs serves what is known only by its URL; nil refuses it. The caller runs it.
	URLs *urlcache.Cache
	// Prefetch fetches before anybody asks.
	Prefetch Prefetch
	Limits   fetch.Limits // of all that is fetched; the zero value does not limit
	// Room is what the store is kept within; the zero value lets it grow until the disk is full.
	Room room.Limits
	// Scrub is how what is stored is read again in idle time; only its Rate, of which 0 is off, and its Cycle are looked at.
	Scrub   scrub.Config
	Fetches int // contents fetched at once; 0 is DefaultFetches
	Open    int // contents open at once; 0 is DefaultOpen
	// Version is that of the program, for metrics.
	Version string
	// Tell is told what happens, from several goroutines but never two at once. Nil: nobody is.
	Tell func(Event)
	Log  *slog.Logger // nil: silent
}

// Node is one cache node. New makes it, Run gives it life.
type Node struct {
	cfg     Config
	log     *slog.Logger
	listen  *net.TCPListener // nil: no HTTP
	origin  func(*Item) (originCloser, error)
	buffers chan []byte   // for pieces that are hashed
	slots   chan struct{} // of fetches
	lives   *life.Life    // of fetches and answers
	metrics *metrics
	sent    atomic.Int64
	keeper  *room.Keeper
	ahead   ahead
	watch   watch // for the page

	scrubber   *scrub.Scrubber // nil: off
	complaints complaints

	telling sync.Mutex

	mu    sync.Mutex // guards the rest
	open  map[piecehash.Root]*content
	clock int64 // counts uses, to find who was not asked for longest
}

// New checks the configuration and binds the listener, so that Addr is known and an address in use is an error here. It
// starts nothing. Call Run or Close.
func New(cfg Config) (*Node, error) {
	if cfg.Store == nil || cfg.Catalogue == nil || cfg.Gate == nil {
		return nil, errors.New("cachenode: a store, a catalogue and a gate are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Fetches == 0 {
		cfg.Fetches = DefaultFetches
	}
	if cfg.Open == 0 {
		cfg.Open = DefaultOpen
	}
	if cfg.Fetches < minConcurrent || cfg.Open < minOpen {
		return nil, fault.New(fault.Usage, "cachenode: %d fetches and %d open contents are too few", cfg.Fetches, cfg.Open)
	}
	n := &Node{
		cfg: cfg, log: cfg.Log,
		buffers: make(chan []byte, checkers), slots: make(chan struct{}, cfg.Fetches),
		metrics: newMetrics(cfg),
		lives:   life.New(), open: make(map[piecehash.Root]*content),
	}
	n.origin = n.webOrigin
	n.complaints = newComplaints()
	if cfg.Scrub.Rate > 0 {
		n.scrubber = scrub.New(scrub.Config{
			Store: cfg.Store, Rate: cfg.Scrub.Rate, Cycle: cfg.Scrub.Cycle, Busy: n.working, Damaged: n.mend, Log: cfg.Log,
		})
	}
	n.keeper = room.New(room.Config{Store: cfg.Store, Limits: cfg.Room, Busy: n.busy, Remove: n.remove, Log: cfg.Log})
	n.ahead.Prefetch, n.ahead.had = cfg.Prefetch, make(map[piecehash.Root]bool)
	for range checkers {
		n.buffers <- nil
	}
	return n, n.bind()
}

func (n *Node) bind() error {
	if n.cfg.Listen == "" {
		return nil
	}
	l, err := net.Listen("tcp", n.cfg.Listen)
	if err != nil {
		return fault.WithHint(fault.New(fault.Unavailable, "serve HTTP: %w", err), "free the port, or choose another address")
	}
	n.listen = l.(*net.TCPListener)
	return nil
}

// Addr returns where HTTP is served, "" for nowhere.
func (n *Node) Addr() string {
	if n.listen == nil {
		return ""
	}
	return n.listen.Addr().String()
}

// Sent returns how many bytes of bodies went out by HTTP.
func (n *Node) Sent() int64 { return n.sent.Load() }

// Close releases the listener of a node that was never run.
func (n *Node) Close() error {
	if n.listen == nil {
		return nil
	}
	return n.listen.Close()
}

// Run serves and fetches until ctx ends, which is no error; then answers under way get a moment to end. When it returns, all
// that it started has ended and what was fetched is on the disk.
func (n *Node) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	n.lives.Begin(ctx)
	g.Go(func() error { n.keeper.Run(ctx); return nil })
	g.Go(func() error { n.look(ctx); return nil })
	if n.scrubber != nil {
		g.Go(func() error { n.scrubber.Run(ctx); return nil })
	}
	g.Go(func() error { n.resume(ctx); n.upkeep(ctx); return nil })
	if n.listen != nil {
		srv := publicweb.NewServer(n, n.log)
		l := publicweb.Limit(n.listen, publicweb.DefaultConns, publicweb.DefaultConnsPerHost)
		g.Go(func() error { return publicweb.Serve(ctx, srv, func() error { return srv.Serve(l) }) })
	}
	err := g.Wait()
	n.end()
	return err
}

// end waits for what is under way, whose context has ended, and closes everything.
func (n *Node) end() {
	n.lives.End()
	n.mu.Lock()
	all := n.open
	n.open = make(map[piecehash.Root]*content)
	n.mu.Unlock()
	for _, c := range all {
		c.close()
	}
	n.keeper.Save() // what the last answers have used
}

// resume shares the most useful of what the store has, and goes on with what an earlier run was fetching. HTTP does not wait
// for it.
func (n *Node) resume(ctx context.Context) {
	select {
	case <-n.keeper.Surveyed():
	case <-ctx.Done():
		return
	}
	for _, root := range n.keeper.Best(n.cfg.Open) {
		if ctx.Err() != nil {
			return
		}
		if c, err := n.take(root); err == nil {
			n.release(c)
		}
	}
	partial, err := n.cfg.Store.Partials()
	if err != nil {
		n.log.Warn("what was begun waits until it is asked for", slog.Any("err", err))
	}
	n.ahead.resume(partial)
}

// upkeep looks at the catalogue again and again, and has fetched what nobody has asked for.
func (n *Node) upkeep(ctx context.Context) {
	tick := time.NewTicker(cmp.Or(n.cfg.Refresh, refreshEvery))
	defer tick.Stop()
	for {
		wanted := n.cfg.Catalogue.Refresh(ctx)
		n.withdraw()
		n.forgetRemoved()
		select {
		case <-n.fetchAhead(wanted):
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// withdraw takes from devices what may not be given away any more; by HTTP it is refused since the catalogue has said so. An
// answer that is under way goes on. What may be given away again is opened anew, and so shared, once nobody uses it.
func (n *Node) withdraw() {
	n.mu.Lock()
	open := slices.Collect(maps.Values(n.open))
	n.mu.Unlock()
	for _, c := range open {
		switch {
		case n.forbids(c.root):
			c.leave()
		case n.cfg.Swarm != nil && c.isApart():
			_ = n.renew(c.root, func(piecehash.Root) error { return nil }) // else it is in use, and looked at again
		}
	}
}

func (n *Node) forbids(root piecehash.Root) bool {
	_, err := n.cfg.Catalogue.Find(root)
	return fault.Is(err, fault.Refused)
}

// Warm returns when content is in the store, whole and every piece of it hashed. Run must be called, before or soon after.
func (n *Node) Warm(ctx context.Context, root piecehash.Root) error {
	if err := n.lives.Await(ctx); err != nil {
		return err
	}
	c, err := n.take(root)
	if err != nil {
		return err
	}
	defer n.release(c)
	for i := range c.item.Manifest.Pieces() {
		if _, err := c.ready(ctx, i); err != nil {
			return err
		}
	}
	return c.settled(ctx)
}

// take opens content, or finds it open, for one user. release must be called.
func (n *Node) take(root piecehash.Root) (*content, error) {
	item, err := n.cfg.Catalogue.Find(root)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return nil, fmt.Errorf("serve %v: %w", root, err)
	}
	n.mu.Lock()
	c := n.open[root]
	if c == nil {
		c = n.newContent(root)
		n.open[root] = c
	}
	c.users++
	n.clock++
	c.used = n.clock
	n.mu.Unlock()
	c.opening.Do(func() { c.openErr = c.openStored(item) })
	if c.openErr != nil {
		n.release(c)
		return nil, c.openErr
	}
	n.makeRoom()
	return c, nil
}

func (n *Node) newContent(root piecehash.Root) *content {
	return &content{node: n, root: root, waiting: make(map[int]chan struct{})}
}

// release ends one use. What could not be opened is forgotten, so that asking for what is not there fills nothing.
func (n *Node) release(c *content) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c.users--
	if c.openErr != nil && n.open[c.root] == c {
		delete(n.open, c.root)
	}
}

// makeRoom closes what was not asked for longest, while too much is open. What is in use or fetched stays.
func (n *Node) makeRoom() {
	n.mu.Lock()
	var idle []*content
	for len(n.open) > n.cfg.Open {
		var oldest *content
		for _, c := range n.open {
			if c.users == 0 && !c.filling() && (oldest == nil || c.used < oldest.used) {
				oldest = c
			}
		}
		if oldest == nil {
			break
		}
		delete(n.open, oldest.root)
		idle = append(idle, oldest)
	}
	n.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}
