package member

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/dunlin-project/dunlin/metadata"
)

// Source is where the metadata comes from: the depots that the organisation has signed last, and those that the machine
// was enrolled with. Depots and pins change through signed metadata; should that ever lead nowhere, the machine still finds
// home. Neither is trusted: every byte is verified against the anchor. One goroutine at a time may call its methods.
type Source struct {
	log  *slog.Logger
	home *metadata.Client // that asks the depots the machine was enrolled with
}

// NewSource checks the configuration, which names the depots that the machine was enrolled with. It asks nobody.
func NewSource(cfg metadata.ClientConfig) (*Source, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	home, err := metadata.NewClient(cfg)
	return &Source{cfg.Log, home}, err
}

// Last returns the last good view, or nil: there is none, or it has run out.
func (s *Source) Last(now time.Time) *metadata.View {
	view, _, err := s.home.Last(now)
	if err != nil {
		return nil
	}
	return view
}

// Synced is what a machine works from until it asks again.
type Synced struct {
	View   *metadata.View // nil: nothing may be started
	Bundle metadata.Bundle
	Client *metadata.Client // that gave it, for piece layers
}

// Sync asks one place after the other, and stops at the first that has news without fault. The errors are of those that have
// not, to be reported; with a view the work goes on. News that could not be saved are news: then the only error is
// metadata.ErrUnsaved.
func (s *Source) Sync(ctx context.Context, now time.Time) (Synced, []error) {
	var best Synced
	var errs []error
	for _, client := range s.clients(now) {
		view, bundle, err := client.Sync(ctx, now)
		unsaved := errors.Is(err, metadata.ErrUnsaved)
		if err == nil || unsaved {
			if len(errs) > 0 {
				s.log.WarnContext(ctx, "the depots that the organisation has signed cannot be used, those of the configuration can",
					slog.Any("err", errors.Join(errs...)))
			}
			if unsaved {
				return Synced{view, bundle, client}, []error{err}
			}
			return Synced{view, bundle, client}, nil
		}
		if view != nil || best.Client == nil {
			best = Synced{view, bundle, client}
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return best, errs
}

// clients returns whom to ask, in order.
func (s *Source) clients(now time.Time) []*metadata.Client {
	last := s.Last(now)
	if last == nil || len(last.Fleet().Depots) == 0 {
		return []*metadata.Client{s.home}
	}
	fleet := last.Fleet()
	signed, err := s.home.With(fleet.Depots, []byte(fleet.CA), fleet.Pins)
	if err != nil {
		s.log.Warn("the depots that the organisation has signed cannot be used", slog.Any("err", err))
		return []*metadata.Client{s.home}
	}
	return []*metadata.Client{signed, s.home}
}
