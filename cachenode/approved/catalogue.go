package approved

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/cachenode"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/filelock"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/member"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Times between two questions to the depot.
const (
	DefaultInterval = 5 * time.Minute
	MinInterval     = time.Second
	MaxInterval     = 24 * time.Hour
)

// MaxRings is how many rings a node may have.
const MaxRings = 64

// Config says whose approvals a node follows.
type Config struct {
	// Dir is a private folder for what is learnt: metadata, piece layers, and the record of them. It is made if missing.
	Dir     string
	Anchors member.Anchors // what the node trusts; required
	// Depots are base URLs of the organisation's depot, https or file, tried in order; at least one.
	Depots []string
	// Content are base URLs where the depot has content by plain HTTP. They are asked after the origins that the organisation
	// has signed.
	Content []string
	Rings   []string // whose approvals count; at least one
	// ID names the node: the moments at which it asks hang on it.
	ID string
	// Interval is the time between two questions; 0 is DefaultInterval. After a failure the next comes sooner, but no sooner
	// than 30 s (or the interval, if that is less).
	Interval time.Duration
	Log      *slog.Logger // nil: silent
}

func (c *Config) check() error {
	switch {
	case c.Dir == "":
		return fault.New(fault.Usage, "follow approvals: there is no folder for them")
	case len(c.Rings) == 0 || len(c.Rings) > MaxRings:
		return fault.WithHint(fault.New(fault.Usage, "follow approvals: of %d rings, want 1 to %d", len(c.Rings), MaxRings),
			"a join token names a ring: dunlin cache join TOKEN")
	case c.Interval < MinInterval || c.Interval > MaxInterval:
		return fault.New(fault.Usage, "follow approvals: every %v is not from %v to %v", c.Interval, MinInterval, MaxInterval)
	}
	for _, ring := range c.Rings {
		if err := metadata.CheckRing(ring); err != nil {
			return fault.New(fault.Usage, "%w", err)
		}
	}
	return nil
}

// Catalogue is a cachenode.Catalogue of what is approved. Run keeps it up to date.
type Catalogue struct {
	cfg    Config
	log    *slog.Logger
	source *member.Source
	layers *layers
	times  member.Schedule

	mu     sync.Mutex // guards the rest
	known  *ledger
	status Status
}

// Status is how a catalogue stands.
type Status struct {
	Synced    time.Time // when approvals were last verified; zero: never
	Expires   time.Time // when they run out
	Err       error     // of the newest question, nil when it was answered
	Next      time.Time // when the next is asked
	Known     int       // contents that may be given away
	Forbidden int       // contents that may not, because an approval says so
	Withdrawn int       // contents that are not approved any more
}

// Open reads what was learnt before. It asks nobody.
func Open(cfg Config) (*Catalogue, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if err := durable.MkdirPrivate(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open approvals: %w", err)
	}
	c := &Catalogue{cfg: cfg, log: cfg.Log, times: member.NewSchedule(cfg.ID, cfg.Interval)}
	pins, err := cfg.Anchors.Pins()
	if err != nil {
		return nil, err
	}
	client := metadata.ClientConfig{
		Dir: filepath.Join(cfg.Dir, "metadata"), Anchor: cfg.Anchors.Root, Depots: cfg.Depots, CA: cfg.Anchors.Authority, Pins: pins, Log: cfg.Log,
	}
	if len(cfg.Rings) == 1 {
		client.Ring = cfg.Rings[0]
	}
	if c.source, err = member.NewSource(client); err != nil {
		return nil, err
	}
	if c.layers, err = openLayers(filepath.Join(cfg.Dir, "layers")); err != nil {
		return nil, err
	}
	known, err := readLedger(c.file())
	if err != nil {
		return nil, fault.WithHint(err, "remove the file, and the node learns anew from its depot")
	}
	c.set(known)
	return c, nil
}

func (c *Catalogue) file() string { return filepath.Join(c.cfg.Dir, "approved.json") }

func (c *Catalogue) set(l *ledger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = l
	s := &c.status
	s.Synced, s.Expires, s.Known, s.Forbidden, s.Withdrawn = l.Synced, l.Expires, 0, 0, 0
	for _, e := range l.Entries {
		switch {
		case !e.Withdrawn.IsZero():
			s.Withdrawn++
		case !e.Peering:
			s.Forbidden++
		default:
			s.Known++
		}
	}
}

func (c *Catalogue) ledger() *ledger {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known
}

// Status returns how the catalogue stands.
func (c *Catalogue) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// Expires implements cachenode.Expirer.
func (c *Catalogue) Expires() time.Time { return c.Status().Expires }

// Group returns the group that the organisation has signed for its devices, "" while nobody has said.
func (c *Catalogue) Group() string { return c.ledger().Group }

// Find implements cachenode.Catalogue.
func (c *Catalogue) Find(root piecehash.Root) (*cachenode.Item, error) {
	e := c.ledger().byRoot[root]
	switch {
	case e == nil:
		return nil, cachenode.ErrUnknown
	case !e.Withdrawn.IsZero():
		return nil, fault.New(fault.Refused, "%s is not approved any more", e.name())
	case !e.Peering:
		return nil, fault.New(fault.Refused, "an approval of %s keeps it from being exchanged", e.name())
	}
	m := c.layers.get(e.content)
	if m == nil {
		return nil, fault.New(fault.Unavailable, "the piece layer of %s has not come yet", e.name())
	}
	return &cachenode.Item{Manifest: m, Name: e.name(), Origins: e.Origins, Hints: e.Hints}, nil
}

// FindOrigin returns the content at a URL, which is in the form of urlcache.Canonical: every origin has it at
// BASE/content/ROOT. What is withdrawn is found too, to be refused.
func (c *Catalogue) FindOrigin(rawURL string) (piecehash.Root, bool) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return piecehash.Root{}, false
	}
	folder, name := path.Split(u.EscapedPath()) // an escaped slash is none
	if !strings.HasSuffix(folder, "/content/") {
		return piecehash.Root{}, false
	}
	root, err := piecehash.ParseRoot(name)
	return root, err == nil && c.ledger().byRoot[root] != nil
}

// Refresh implements cachenode.Catalogue. Nothing is fetched ahead on approvals that have run out.
func (c *Catalogue) Refresh(context.Context) []piecehash.Root { return c.ahead(time.Now()) }

func (c *Catalogue) ahead(now time.Time) []piecehash.Root {
	l := c.ledger()
	if !now.Before(l.Expires) {
		return nil
	}
	return l.ahead()
}

// Named returns the content of an update: of the version that is named, or else of the one that was released last. It
// need not be one that may be given away; Find says that.
func (c *Catalogue) Named(publisher, id, version string) (piecehash.Root, error) {
	var best *entry
	for _, e := range c.ledger().Entries {
		is := slices.ContainsFunc(e.As, func(a approval) bool {
			return a.Publisher == publisher && a.ID == id && (version == "" || a.Version == version)
		})
		if is && e.Withdrawn.IsZero() && (best == nil || e.Released.After(best.Released)) {
			best = e
		}
	}
	if best == nil {
		name := strings.TrimSuffix(publisher+"/"+id+"@"+version, "@")
		return piecehash.Root{}, fault.WithHint(
			fault.New(fault.Unavailable, "find %s: it is not approved for %s", name, strings.Join(c.cfg.Rings, ", ")),
			"on the depot: dunlin depot list")
	}
	return best.Root, nil
}

// Run asks the depot at the node's own moments until ctx ends, and returns nil then. Piece layers that the depot does not give
// come through the gate. asked is called after each question, whatever came of it.
func (c *Catalogue) Run(ctx context.Context, gate *httpfallback.Gate, asked func()) error {
	for failures := 0; ; {
		err := c.Sync(ctx, gate)
		if ctx.Err() != nil {
			return nil
		}
		if failures++; err == nil {
			failures = 0
		}
		asked()
		next := c.times.Next(time.Now(), failures)
		c.mu.Lock()
		c.status.Next = next
		c.mu.Unlock()
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Sync asks the depot once. With an error some or all of what is known stays as it was; the kind is that of the worst. Two
// processes may share the folder: they take turns.
func (c *Catalogue) Sync(ctx context.Context, gate *httpfallback.Gate) error {
	err := c.sync(ctx, gate, time.Now())
	c.mu.Lock()
	c.status.Err = err
	synced, expires := c.status.Synced, c.status.Expires
	c.mu.Unlock()
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, metadata.ErrUnsaved):
		c.log.WarnContext(ctx, "approvals are up to date, but a restart forgets them", slog.Any("err", err))
	default:
		c.log.WarnContext(ctx, "approvals could not be brought up to date, going on with what was last verified",
			slog.Any("err", err), slog.Time("verified", synced), slog.Time("expires", expires))
	}
	return err
}

func (c *Catalogue) sync(ctx context.Context, gate *httpfallback.Gate, now time.Time) error {
	lock, err := filelock.Acquire(ctx, filepath.Join(c.cfg.Dir, "lock"))
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	old, err := readLedger(c.file()) // another process may have learnt meanwhile
	if err != nil {
		return err
	}
	if mine := c.ledger(); mine.Synced.After(old.Synced) { // it could not be written
		old = mine
	}
	got, errs := c.source.Sync(ctx, now)
	if got.View == nil {
		return fault.WorstOf(errs...)
	}
	known := learn(old, got.View, c.cfg.Rings, c.cfg.Content)
	if worst := fault.WorstOf(errs...); worst != nil && !errors.Is(worst, metadata.ErrUnsaved) && !old.Synced.IsZero() { // it may be the last good view that was looked at again
		known.Synced = old.Synced
	}
	unkept := known.write(c.file()) // a full disk must not keep a withdrawal from being heeded
	c.tell(ctx, old, known, got.View)
	c.set(known)
	return fault.WorstOf(append(errs, unkept, c.fetchLayers(ctx, known, got.Client, gate))...)
}

// tell logs what has changed.
func (c *Catalogue) tell(ctx context.Context, old, known *ledger, view *metadata.View) {
	for _, e := range known.Entries {
		was := old.byRoot[e.Root]
		switch {
		case e.Withdrawn.IsZero() && (was == nil || !was.Withdrawn.IsZero() || was.Peering != e.Peering):
			c.log.InfoContext(ctx, "content is approved", slog.String("update", e.name()), slog.Any("root", e.Root), slog.Bool("exchange", e.Peering))
		case !e.Withdrawn.IsZero() && was != nil && was.Withdrawn.IsZero():
			c.log.InfoContext(ctx, "content is not approved any more, and is not given away", slog.String("update", e.name()), slog.Any("root", e.Root))
		}
	}
	there := view.Rings()
	for _, ring := range c.cfg.Rings {
		if !slices.Contains(there, ring) {
			c.log.WarnContext(ctx, "the organisation has no such ring", slog.String("ring", ring))
		}
	}
}

// fetchLayers gets the piece layers that are missing, from the depot or from where content is. They prove themselves.
func (c *Catalogue) fetchLayers(ctx context.Context, l *ledger, depot layerSource, gate *httpfallback.Gate) error {
	wanted := make(map[piecehash.Root]bool)
	var worst error
	for _, e := range l.Entries {
		if !e.Withdrawn.IsZero() {
			continue
		}
		wanted[e.Root] = true
		if !e.Peering || c.layers.get(e.content) != nil {
			continue
		}
		m, err := c.layer(ctx, e, depot, gate)
		if err == nil {
			err = c.layers.put(m)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			worst = fault.WorstOf(worst, fmt.Errorf("piece layer of %s: %w", e.name(), err))
		}
	}
	c.layers.keepOnly(wanted, c.log)
	return worst
}

func (c *Catalogue) layer(ctx context.Context, e *entry, depot layerSource, gate *httpfallback.Gate) (*piecehash.Manifest, error) {
	m, err := depot.Layer(ctx, e.content)
	if err == nil || ctx.Err() != nil {
		return m, err
	}
	c.log.WarnContext(ctx, "the depot does not give the piece layer, others may", slog.String("update", e.name()), slog.Any("err", err))
	var bases []string
	for _, u := range e.Origins {
		if base, ok := strings.CutSuffix(u, "/content/"+e.Root.String()); ok {
			bases = append(bases, base)
		}
	}
	if m, otherErr := httpfallback.FetchLayer(ctx, gate, bases, e.content); otherErr == nil {
		return m, nil
	}
	return nil, err
}
