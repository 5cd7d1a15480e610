package metadata

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/tuf"
)

// syncing is one cycle of a client.
type syncing struct {
	client     *Client
	sources    func(path string) []tuf.Source
	now        time.Time // the cycle's, from the approvals on
	publishers []trusted
	bundle     Bundle
	missing    map[string]error // why a catalogue is not in the bundle, by publisher
	keep       []string         // names of the folders in use
}

// approvals gets the organisation's repository: the device's ring, and the roots of all trusted publishers.
func (s *syncing) approvals(ctx context.Context, store *tuf.Kept, now time.Time) error {
	if _, err := store.Open(ctx, now); err != nil {
		return err
	}
	cfg := tuf.Config{Anchor: s.client.cfg.Anchor, Store: store, Log: s.client.cfg.Log}
	u, err := tuf.Sync(ctx, cfg, s.sources(ApprovalsPath), now, func(u *tuf.Updater) error {
		if err := u.LoadRoles(ctx, s.wanted); err != nil {
			return err
		}
		a, err := sortApprovals(ctx, u)
		if err == nil {
			s.publishers = a.publishers
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("approvals: %w", err)
	}
	s.now = u.Now()
	s.bundle = Bundle{Approvals: u.Files(), Catalogues: map[string]Files{}}
	return nil
}

func (s *syncing) wanted(role string) bool {
	return s.client.cfg.Ring == "" || role == RingRole(s.client.cfg.Ring)
}

// catalogues gets the catalogue of each trusted publisher. One that fails does not keep the others from being got.
func (s *syncing) catalogues(ctx context.Context) {
	last, _ := s.client.mem.lastBundle()
	for _, p := range s.publishers {
		if p.err != nil { // open finds that by itself
			s.keep = append(s.keep, s.client.mem.storesOf(p.name)...)
			continue
		}
		files, err := s.catalogue(ctx, p)
		if fault.Is(err, fault.Unavailable) && len(last.Catalogues[p.name]) > 0 {
			// What was got before may still hold; open checks it against the root that is trusted today.
			s.client.cfg.Log.Warn("a catalogue is not available, going on with the last good one", slog.String("publisher", p.name), slog.Any("err", err))
			files, err = last.Catalogues[p.name], nil
		}
		if err != nil {
			s.missing[p.name] = fmt.Errorf("catalogue of %s: %w", p.name, err)
			continue
		}
		s.bundle.Catalogues[p.name] = files
	}
}

func (s *syncing) catalogue(ctx context.Context, p trusted) (Files, error) {
	name, store := s.client.mem.store("catalogue-"+p.name, p.root)
	s.keep = append(s.keep, name)
	if _, err := store.Open(ctx, s.now); err != nil {
		return nil, err
	}
	u, err := syncCatalogue(ctx, p.root, store, s.sources(CataloguesPath+p.name), s.now, s.client.cfg.Log)
	if err != nil {
		return nil, err
	}
	return u.Files(), nil
}

// syncCatalogue brings one catalogue up to date. It may have run out: to hold and to remove it is still good.
func syncCatalogue(ctx context.Context, root []byte, store tuf.Store, sources []tuf.Source, now time.Time, log *slog.Logger) (*tuf.Updater, error) {
	cfg := tuf.Config{Anchor: root, Store: store, Log: log, AllowExpired: true}
	return tuf.Sync(ctx, cfg, sources, now, func(u *tuf.Updater) error { return u.LoadRoles(ctx, nil) })
}
