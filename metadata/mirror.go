package metadata

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/tuf"
	"github.com/dunlin-project/dunlin/piecehash"
)

// MirrorConfig says which publisher's catalogue a depot mirrors.
type MirrorConfig struct {
	Dir   string // private folder for the verified metadata; made if missing
	Trust *Trust
	Proxy func(*url.URL) (*url.URL, error) // nil takes HTTPS_PROXY and NO_PROXY from the environment
	Log   *slog.Logger                     // nil discards
}

// Mirror fetches one publisher's catalogue straight from the publisher. One goroutine at a time may call its methods.
type Mirror struct {
	cfg MirrorConfig
	end endpoints
}

// NewMirror checks the configuration. It asks nobody and touches no disk.
func NewMirror(cfg MirrorConfig) (*Mirror, error) {
	if cfg.Trust == nil || cfg.Dir == "" {
		return nil, fault.New(fault.Usage, "configure mirror: a trust record and a folder are needed")
	}
	if err := cfg.Trust.check(); err != nil {
		return nil, err
	}
	cfg.Log = orDiscard(cfg.Log)
	t := cfg.Trust
	m := &Mirror{cfg, endpoints{t.Catalogues, []byte(t.CA), t.Pins, cfg.Proxy}}
	return m, m.end.check("catalogues")
}

// Sync brings the catalogue up to date. Its Files are to be served byte for byte; the root file of the trust record is
// among them. A catalogue that has run out is returned, too: see Catalogue.Stale. A call that was interrupted goes on
// where it was.
func (m *Mirror) Sync(ctx context.Context, now time.Time) (*Catalogue, error) {
	t := m.cfg.Trust
	if err := durable.MkdirPrivate(m.cfg.Dir); err != nil {
		return nil, fmt.Errorf("open mirror: %w", err)
	}
	store, err := tuf.OpenDir(filepath.Join(m.cfg.Dir, storeName("catalogue-"+t.Publisher, t.Root)))
	if err != nil {
		return nil, err
	}
	sources, done, err := m.end.open(now, tuf.Floor(store))
	if err != nil {
		return nil, err
	}
	defer done()
	u, err := syncCatalogue(ctx, t.Root, store, sources(""), now, m.cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("catalogue of %s: %w", t.Publisher, err)
	}
	c := &Catalogue{publisher: t.Publisher, byPath: map[string]*Target{}}
	c.fill(u)
	return c, nil
}

// Layer fetches and proves the piece layer of content from the publisher.
func (m *Mirror) Layer(ctx context.Context, content piecehash.Content, now time.Time) (*piecehash.Manifest, error) {
	sources, done, err := m.end.open(now, time.Time{})
	if err != nil {
		return nil, err
	}
	defer done()
	return fetchLayer(ctx, sources(""), content)
}
