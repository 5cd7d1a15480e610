package metadata

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
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

const bundleName = "bundle" // of the last good bundle, in ClientConfig.Dir

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

// Client fetches what Open checks. One goroutine at a time may call its methods.
type Client struct {
	cfg ClientConfig
	end endpoints
}

// NewClient checks the configuration. It asks nobody and touches no disk.
func NewClient(cfg ClientConfig) (*Client, error) {
	cfg.Log = orDiscard(cfg.Log)
	c := &Client{cfg, endpoints{cfg.Depots, cfg.CA, cfg.Pins, cfg.Proxy}}
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

// Sync brings approvals and catalogues up to date, and returns the view of them and the bundle it was made from.
//
// A caller looks at view and error both. With a view, the error (of the worst kind that happened) is to be reported, but
// what the view offers may be acted on: either a catalogue failed and took only its own updates away, or the depot is
// unavailable and the view is the last good one, which has not run out. Without a view nothing may be started: the
// approvals did not verify (untrusted), or there is no view that still holds.
func (c *Client) Sync(ctx context.Context, now time.Time) (*View, Bundle, error) {
	if err := durable.MkdirPrivate(c.cfg.Dir); err != nil {
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
	b, err := c.lastBundle()
	if err != nil {
		return nil, Bundle{}, err
	}
	v, err := Open(c.cfg.Anchor, b, later(now, tuf.Floor(c.dir("approvals", c.cfg.Anchor))))
	if err != nil {
		return nil, Bundle{}, fault.New(fault.Unavailable, "read the last good metadata: %v", err)
	}
	v.behind = max(0, v.now.Sub(now))
	return v, b, nil
}

// lastBundle reads the bundle of the last good cycle. One that is damaged is as good as none, since it is only a memory.
func (c *Client) lastBundle() (Bundle, error) {
	raw := tuf.Dir(c.cfg.Dir).Load(bundleName, MaxBundleSize)
	if raw == nil {
		return Bundle{}, fault.New(fault.Unavailable, "read the last good metadata: there is none")
	}
	b, err := ParseBundle(raw)
	if err != nil {
		return Bundle{}, fault.New(fault.Unavailable, "read the last good metadata: it is damaged: %v", err)
	}
	return b, nil
}

// online is a cycle over the network.
func (c *Client) online(ctx context.Context, now time.Time) (*View, Bundle, error) {
	approvals := c.dir("approvals", c.cfg.Anchor)
	sources, done, err := c.end.open(now, tuf.Floor(approvals))
	if err != nil {
		return nil, Bundle{}, err
	}
	defer done()
	s := &syncing{client: c, sources: sources, missing: map[string]error{}, keep: []string{filepath.Base(string(approvals))}}
	if err := s.approvals(ctx, approvals, now); err != nil {
		return nil, Bundle{}, err
	}
	s.catalogues(ctx)
	view, err := open(c.cfg.Anchor, s.bundle, s.now, s.missing)
	if err != nil {
		return nil, Bundle{}, err
	}
	view.behind = max(0, view.now.Sub(now))
	if err := c.save(s.bundle); err != nil {
		return nil, Bundle{}, err
	}
	c.prune(s.keep)
	return view, s.bundle, view.Err()
}

// dir is the store of one repository. Its name holds the root it is anchored in: with another root begins another memory.
func (c *Client) dir(name string, anchor []byte) tuf.Dir { return storeDir(c.cfg.Dir, name, anchor) }

// dirsOf lists the stores of a publisher whose root is not known today.
func (c *Client) dirsOf(publisher string) []string {
	paths, _ := filepath.Glob(filepath.Join(c.cfg.Dir, "catalogue-"+publisher+"-????????????????"))
	for i, p := range paths {
		paths[i] = filepath.Base(p)
	}
	return paths
}

func storeDir(dir, name string, anchor []byte) tuf.Dir {
	return tuf.Dir(filepath.Join(dir, fmt.Sprintf("%s-%.8x", name, sha256.Sum256(anchor))))
}

func (c *Client) save(b Bundle) error {
	raw, err := b.Encode()
	if err != nil {
		return err
	}
	dir := tuf.Dir(c.cfg.Dir)
	if bytes.Equal(dir.Load(bundleName, MaxBundleSize), raw) {
		return nil
	}
	return dir.Save(bundleName, raw)
}

// prune forgets repositories that nothing leads to any more: of a publisher that is no longer trusted, of another depot.
func (c *Client) prune(keep []string) {
	entries, err := os.ReadDir(c.cfg.Dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		ours := strings.HasPrefix(e.Name(), "approvals-") || strings.HasPrefix(e.Name(), "catalogue-")
		if !ours || !e.IsDir() || slices.Contains(keep, e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(c.cfg.Dir, e.Name())); err != nil {
			c.cfg.Log.Warn("old metadata could not be removed", slog.Any("err", err))
		}
	}
}

// Layer fetches and proves the piece layer of content from the depot. A layer that does not lead to the root is untrusted.
func (c *Client) Layer(ctx context.Context, content piecehash.Content) (*piecehash.Manifest, error) {
	sources, done, err := c.end.open(time.Now(), tuf.Floor(c.dir("approvals", c.cfg.Anchor)))
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
