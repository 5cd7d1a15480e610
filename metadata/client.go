package metadata

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/tuf"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Where a depot has what a device asks for, below its base URL.
const (
	ApprovalsPath  = "/v1/approvals"  // of the repository
	CataloguesPath = "/v1/catalogue/" // plus the publisher: of the repository
	layerPath      = "/v1"
)

// ClientConfig says whom a device asks and what it believes.
type ClientConfig struct {
	Dir    string   // private folder for the verified metadata; made if missing
	Anchor []byte   // a root file of the approvals: the trust anchor
	Depots []string // base URLs of depots, https or file, tried in order; at least one
	CA     []byte   // PEM, one certificate: the only authority for the https ones
	Pins   []Pin    // at least one with https
	Ring   string   // the device's ring; empty takes every ring

	Proxy func(*url.URL) (*url.URL, error) // nil takes HTTPS_PROXY and NO_PROXY from the environment
	Log   *slog.Logger                     // nil discards
}

// Client fetches what Open checks. One goroutine at a time may call its methods, and those of the clients that With made of it.
type Client struct {
	cfg ClientConfig
	end endpoints
	mem *memory
}

// NewClient checks the configuration. It asks nobody and touches no disk.
func NewClient(cfg ClientConfig) (*Client, error) {
	cfg.Log = orDiscard(cfg.Log)
	c := &Client{cfg, endpoints{cfg.Depots, cfg.CA, cfg.Pins, cfg.Proxy}, newMemory(cfg)}
	if cfg.Ring != "" {
		if err := CheckRing(cfg.Ring); err != nil {
			return nil, fault.New(fault.Usage, "%w", err)
		}
	}
	if cfg.Dir == "" {
		return nil, fault.New(fault.Usage, "configure metadata: there is no folder for it")
	}
	return c, c.end.check("depots")
}

// With returns a client that asks other depots, and remembers in the same place: in the folder, and in memory what the folder
// does not take.
func (c *Client) With(depots []string, ca []byte, pins []Pin) (*Client, error) {
	cfg := c.cfg
	cfg.Depots, cfg.CA, cfg.Pins = depots, ca, pins
	other, err := NewClient(cfg)
	if err != nil {
		return nil, err
	}
	other.mem = c.mem
	return other, nil
}

// Sync brings approvals and catalogues up to date, and returns the view of them and the bundle it was made from.
//
// A caller looks at view and error both. With a view, the error (of the worst kind that happened) is to be reported, but
// what the view offers may be acted on: either a catalogue failed and took only its own updates away, or the depot is
// unavailable and the view is the last good one, which has not run out, or all is well but for ErrUnsaved. Without a view
// nothing may be started: the approvals did not verify (untrusted), or there is no view that still holds.
func (c *Client) Sync(ctx context.Context, now time.Time) (*View, Bundle, error) {
	if err := c.mem.open(ctx, now); err != nil {
		return nil, Bundle{}, fmt.Errorf("open metadata: %w", err)
	}
	view, bundle, err := c.online(ctx, now)
	if view != nil || !fault.Is(err, fault.Unavailable) {
		return view, bundle, err
	}
	last, lastBundle, lastErr := c.Last(now)
	if lastErr != nil {
		return nil, Bundle{}, err
	}
	c.cfg.Log.Warn("the depot is not available, going on with the last good metadata", slog.Any("err", err), slog.Time("until", last.Expires()))
	return last, lastBundle, err
}

// Last opens the last good bundle, without a network. It fails, unavailable, when there is none or it has run out.
func (c *Client) Last(now time.Time) (*View, Bundle, error) {
	b, err := c.mem.lastBundle()
	if err != nil {
		return nil, Bundle{}, err
	}
	v, err := Open(c.cfg.Anchor, b, later(now, tuf.Floor(c.approvals())))
	if err != nil {
		return nil, Bundle{}, fault.New(fault.Unavailable, "read the last good metadata: %v", err)
	}
	v.behind = max(0, v.now.Sub(now))
	return v, b, nil
}

// online is a cycle over the network.
func (c *Client) online(ctx context.Context, now time.Time) (*View, Bundle, error) {
	name, approvals := c.mem.store("approvals", c.cfg.Anchor)
	sources, done, err := c.end.open(now, tuf.Floor(approvals))
	if err != nil {
		return nil, Bundle{}, err
	}
	defer done()
	s := &syncing{client: c, sources: sources, missing: map[string]error{}, keep: []string{name}}
	if err := s.approvals(ctx, approvals, now); err != nil {
		return nil, Bundle{}, err
	}
	s.catalogues(ctx)
	view, err := open(c.cfg.Anchor, s.bundle, s.now, s.missing)
	if err != nil {
		return nil, Bundle{}, err
	}
	view.behind = max(0, view.now.Sub(now))
	c.mem.saveBundle(s.bundle)
	c.mem.prune(s.keep)
	return view, s.bundle, fault.WorstOf(view.Err(), c.mem.unsaved())
}

func (c *Client) approvals() tuf.Store {
	_, store := c.mem.store("approvals", c.cfg.Anchor)
	return store
}

// Layer fetches and proves the piece layer of content from the depot. A layer that does not lead to the root is untrusted.
func (c *Client) Layer(ctx context.Context, content piecehash.Content) (*piecehash.Manifest, error) {
	sources, done, err := c.end.open(time.Now(), tuf.Floor(c.approvals()))
	if err != nil {
		return nil, err
	}
	defer done()
	return fetchLayer(ctx, sources(layerPath), content)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
