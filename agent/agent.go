package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/httpfallback/cachehost"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/filelock"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/member"
	"github.com/dunlin-project/dunlin/store"
)

// Options are what the agent is given besides its Config: what its process shares.
type Options struct {
	// OpenSwarm makes the device a member of a group. Nil: HTTP alone. It is not called when Config.Sharing is off.
	OpenSwarm func(group string) (Swarm, error)
	// Caches are the caching nodes that are asked by HTTP (CacheHosts makes them); the caller closes them. Nil: there are none.
	Caches *cachehost.Hosts
	// FindCaches looks for the caching nodes of a group on the local network and lives until ctx ends. It is called where there is
	// no swarm that looks. Nil: nobody looks then.
	FindCaches func(ctx context.Context, group string)
	// Gatherer is what Config.Metrics serves; nil: nothing is served.
	Gatherer prometheus.Gatherer
	// Version is that of the program, for status and metrics.
	Version string
	// Log takes one record for each change of state; nil discards.
	Log *slog.Logger
}

// Agent is one device. Make it with New, then call Run or Once, one time.
type Agent struct {
	cfg     Config
	opt     Options
	log     *slog.Logger
	dir     stateDir
	id      string
	times   member.Schedule
	gate    *httpfallback.Gate
	store   *store.Store
	source  *member.Source
	device  *device
	limits  fetch.Limits // of all downloads together
	metrics *metrics
	lan     *lan
	caches  caches
	board   board
	tries   tries           // the cycle's
	life    context.Context //nolint:containedctx // what outlives a cycle ends with Run or Once; set there

	metricsUp func(addr string) // told where metrics are served; for tests
	patience  time.Duration     // of a fetch; 0 is fetch.DefaultPatience; tests have less
}

// New checks the configuration, reads the trust anchors and makes the device key if there is none. It starts nothing and
// asks nobody.
func New(cfg Config, opt Options) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	key, err := DeviceKey(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, opt: opt, log: opt.Log, dir: stateDir(cfg.StateDir), id: DeviceID(key), tries: tries{}}
	a.times = member.NewSchedule(a.id, time.Duration(cfg.Interval))
	a.gate = httpfallback.NewGate(httpfallback.GateConfig{
		Rate: int64(cfg.Limits.Origin), MaxStreams: cfg.Limits.Streams, UserAgent: "dunlin/" + opt.Version, Log: opt.Log,
	})
	a.metrics = newMetrics(opt.Version)
	a.limits = fetch.Limits{
		Total: newLimit(cfg.Limits.Download), Devices: newLimit(cfg.Limits.LAN), Caches: newLimit(cfg.Limits.Cache),
	}
	if cfg.Sharing == SharingOff {
		opt.OpenSwarm = nil
	}
	a.lan = newLAN(opt.OpenSwarm, opt.Log)
	a.caches.hosts = opt.Caches
	if cfg.Discovery == SwitchOn && cfg.CacheHostSource.Has(cachehost.LAN) {
		a.caches.find = opt.FindCaches
	}
	if a.store, err = store.Open(a.dir.content(), store.Options{Reserve: int64(cfg.Limits.Reserve), Log: opt.Log}); err != nil {
		return nil, err
	}
	if err := a.trust(); err != nil {
		return nil, err
	}
	a.board.change(func(s *Status) { s.Device, s.Version, s.Ring = a.id, opt.Version, cfg.Ring })
	return a, nil
}

// newLimit returns nil for no limit.
func newLimit(rate Bytes) *fetch.Limit {
	if rate == 0 {
		return nil
	}
	return fetch.NewLimit(int64(rate))
}

// trust builds what hangs on the anchors of trust.
func (a *Agent) trust() error {
	anchors, err := a.dir.anchors()
	if err != nil {
		return err
	}
	pins := a.cfg.Pins
	if len(pins) == 0 {
		if pins, err = anchors.Pins(); err != nil {
			return err
		}
	}
	a.source, err = member.NewSource(metadata.ClientConfig{
		Dir: a.dir.metadata(), Anchor: anchors.Root, Depots: a.cfg.Depots, CA: anchors.Authority, Pins: pins, Ring: a.cfg.Ring, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.device, err = newDevice(a.cfg, a.dir, anchors.Root, a.log)
	return err
}

// Run goes through cycles until ctx ends, and serves the control socket, the metrics and the other devices meanwhile. It
// returns nil when ctx ended it. A cycle that fails is not the end: its error is in the status and in the log.
func (a *Agent) Run(ctx context.Context) error {
	return a.live(ctx, func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return a.serveControl(ctx) })
		g.Go(func() error { return a.serveMetrics(ctx) })
		g.Go(func() error { return a.servePage(ctx) })
		g.Go(func() error { return a.cycles(ctx) })
		err := g.Wait()
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			return nil
		}
		return err
	})
}

// Once goes through one cycle. The error is that of its worst job; see fault.Worst.
func (a *Agent) Once(ctx context.Context) error {
	return a.live(ctx, func(ctx context.Context) error {
		err := a.cycle(ctx)
		a.board.change(func(s *Status) { s.Running = false })
		a.settle(time.Time{})
		return err
	})
}

// live is what Run and Once have in common: one agent for each state folder, and an end to all that was begun.
func (a *Agent) live(ctx context.Context, f func(context.Context) error) error {
	lock, err := filelock.Acquire(ctx, a.dir.lock())
	if err != nil {
		return fault.WithHint(fmt.Errorf("start agent: %w", err), "another agent runs with this state folder: stop it, or ask it: dunlin status")
	}
	defer func() { _ = lock.Release() }()
	defer func() { _ = a.gate.Close() }()
	defer a.lan.leave()
	defer a.caches.leave()
	a.life = ctx
	a.recall()
	if _, err := a.device.installer.Recover(ctx); err != nil {
		return err
	}
	return f(ctx)
}

// cycles is the agent's life: a cycle at the start, and then at the device's own moments.
func (a *Agent) cycles(ctx context.Context) error {
	for failures := 0; ; {
		err := a.cycle(ctx)
		if ctx.Err() != nil {
			a.settle(time.Time{})
			return nil
		}
		if failures++; err == nil || fault.Is(err, fault.Refused) || fault.Is(err, fault.Install) {
			failures = 0 // asking sooner changes neither what policy refuses nor what an update does
		}
		next := a.times.Next(time.Now(), failures)
		a.settle(next)
		if !sleepUntil(ctx, next) {
			return nil
		}
	}
}

// sleepUntil reports false when ctx ended it.
func sleepUntil(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// recall takes over what the last run of the agent knew: what became of updates, and the group, so that the links to
// other devices come up while the first cycle still asks the depot.
func (a *Agent) recall() {
	old, err := ReadStatus(string(a.dir))
	a.board.change(func(s *Status) {
		s.Running = true
		if err == nil {
			s.Updates, s.Expires, s.Cycle, s.Group = old.Updates, old.Expires, old.Cycle, old.Group
		}
	})
}

// settle ends a cycle: the status is shown in the metrics and kept for when the agent does not run.
func (a *Agent) settle(next time.Time) {
	a.board.change(func(s *Status) { s.Next = next })
	s := a.Status()
	a.metrics.showStatus(s)
	if err := saveStatus(a.dir, s); err != nil {
		a.log.Warn("status is not kept", slog.Any("err", err))
	}
}

// Status returns what the control socket would answer.
func (a *Agent) Status() Status {
	now := time.Now()
	s := a.board.get(now)
	s.Caches = a.caches.list(now)
	return s
}
