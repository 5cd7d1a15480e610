package tuf

import (
	"context"
	"log/slog"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Sync runs cycle with an updater for one source after the other, until one succeeds. A source that fails in any way, be
// it away or hostile, does not keep the next one from being asked. If all fail, the error is that of the worst kind:
// an attack must not hide behind a timeout.
func Sync(ctx context.Context, cfg Config, sources []Source, now time.Time, cycle func(*Updater) error) (*Updater, error) {
	if len(sources) == 0 {
		return nil, fault.New(fault.Usage, "update metadata: there is no source to ask")
	}
	var worst error
	for i, source := range sources {
		cfg.Source = source
		u, err := New(cfg, now)
		if err != nil {
			return nil, err
		}
		if err = u.Refresh(ctx); err == nil {
			err = cycle(u)
		}
		if err == nil {
			return u, nil
		}
		worst = fault.WorstOf(worst, err)
		if ctx.Err() != nil {
			break
		}
		if i+1 < len(sources) {
			u.cfg.Log.Warn("a source of metadata failed, asking the next", slog.String("source", source.String()), slog.Any("err", err))
		}
	}
	return nil, worst
}
