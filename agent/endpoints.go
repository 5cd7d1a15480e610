package agent

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// source is where the metadata comes from: the depots that the organisation has signed last, and those that the device
// was enrolled with. Depots and pins change through signed metadata; should that ever lead nowhere, the device still finds
// home. Neither is trusted: every byte is verified against the anchor.
type source struct {
	cfg  metadata.ClientConfig // with the depots of the configuration
	home *metadata.Client
}

func newSource(cfg metadata.ClientConfig) (*source, error) {
	home, err := metadata.NewClient(cfg)
	return &source{cfg, home}, err
}

// last returns the last good view, or nil.
func (s *source) last(now time.Time) *metadata.View {
	view, _, err := s.home.Last(now)
	if err != nil {
		return nil
	}
	return view
}

// synced is what a cycle works from.
type synced struct {
	view   *metadata.View
	bundle metadata.Bundle
	client *metadata.Client // that gave it, for piece layers
}

// sync asks one place after the other, and stops at the first that has news without fault. Its error is to be reported;
// with a view the work goes on.
func (s *source) sync(ctx context.Context, now time.Time) (synced, error) {
	var best synced
	var errs []error
	for _, client := range s.clients(now) {
		view, bundle, err := client.Sync(ctx, now)
		if err == nil {
			if len(errs) > 0 {
				s.cfg.Log.WarnContext(ctx, "the depots that the organisation has signed cannot be used, those of the configuration can",
					slog.Any("err", errors.Join(errs...)))
			}
			return synced{view, bundle, client}, nil
		}
		if view != nil || best.client == nil {
			best = synced{view, bundle, client}
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return best, worstOf(errs)
}

// clients returns whom to ask, in order.
func (s *source) clients(now time.Time) []*metadata.Client {
	last := s.last(now)
	if last == nil || len(last.Fleet().Depots) == 0 {
		return []*metadata.Client{s.home}
	}
	cfg, fleet := s.cfg, last.Fleet()
	cfg.Depots, cfg.CA, cfg.Pins = fleet.Depots, []byte(fleet.CA), fleet.Pins
	signed, err := metadata.NewClient(cfg)
	if err != nil {
		s.cfg.Log.Warn("the depots that the organisation has signed cannot be used", slog.Any("err", err))
		return []*metadata.Client{s.home}
	}
	return []*metadata.Client{signed, s.home}
}

// worstOf returns the error that decides for several, or nil.
func worstOf(errs []error) error {
	worst, n := fault.WorstOf(errs...), 0
	for _, err := range errs {
		if err != nil {
			n++
		}
	}
	if n > 1 {
		return &severalError{worst, n - 1}
	}
	return worst
}

// severalError is the worst of several errors; the others are in the status.
type severalError struct {
	worst  error
	others int
}

func (e *severalError) Error() string {
	if e.others == 1 {
		return e.worst.Error() + " (and one more, see dunlin status)"
	}
	return e.worst.Error() + " (and more, see dunlin status)"
}

func (e *severalError) Unwrap() error { return e.worst }
