package depot

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/repository"
)

const (
	// upkeepEvery is how often a server looks whether something is past half of its life. The clock of a machine that
	// slept or was set right jumps, so it looks often instead of reckoning ahead. The shortest half is a day and a half.
	upkeepEvery = time.Hour
	// upkeepRetry is how soon it tries again after a failure.
	upkeepRetry = time.Minute
	// warnBefore is how long before an offline role runs out a server begins to say so, once a day.
	warnBefore = 30 * 24 * time.Hour
	// DefaultSyncEvery is how often a server mirrors the catalogues by itself.
	DefaultSyncEvery = time.Hour
)

// upkeep keeps the signatures and the certificate of a running server fresh. It owns its fields; one goroutine runs it.
type upkeep struct {
	d       *Depot
	use     func(*tls.Certificate) // takes a new certificate into use
	warned  time.Time              // when it last warned of an offline role
	current *tls.Certificate
}

// run returns when ctx is done.
func (u *upkeep) run(ctx context.Context) {
	for {
		wait := upkeepEvery
		if err := u.once(ctx, time.Now()); err != nil && ctx.Err() == nil {
			u.d.log.ErrorContext(ctx, "keep the depot fresh", slog.Any("err", err), slog.String("try", fault.Hint(err)))
			wait = upkeepRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// once does what is due.
func (u *upkeep) once(ctx context.Context, now time.Time) error {
	report, err := u.d.resign(ctx, now)
	if err != nil {
		return err
	}
	if len(report.Signed) > 0 {
		u.d.log.InfoContext(ctx, "signed anew", slog.Any("roles", report.Signed))
	}
	u.warn(ctx, report.Roles, now)
	cert, renewed, err := u.d.serverCertificate(now)
	if err != nil {
		return err
	}
	if renewed {
		u.d.log.InfoContext(ctx, "renewed server certificate", slog.Time("expires", cert.Leaf.NotAfter))
	}
	if renewed || u.current == nil {
		u.current = cert
		u.use(cert)
	}
	return nil
}

// warn says when a role whose key is offline runs out: nobody but a person can do something about it.
func (u *upkeep) warn(ctx context.Context, roles []repository.RoleStatus, now time.Time) {
	if now.Sub(u.warned) < 24*time.Hour {
		return
	}
	for _, r := range roles {
		if (r.Name == repository.RoleRoot || r.Name == repository.RoleTargets) && r.Expires.Sub(now) < warnBefore {
			u.warned = now
			u.d.log.WarnContext(ctx, "an offline role runs out soon; after that no device takes updates", slog.String("role", r.Name),
				slog.Time("expires", r.Expires), slog.String("try", "dunlin depot renew, with the offline keys at hand"))
		}
	}
}

// keepSynced mirrors the catalogues now and then until ctx is done.
func (d *Depot) keepSynced(ctx context.Context, every time.Duration) {
	for {
		result, err := d.Sync(ctx, SyncRequest{}, time.Now(), func(Progress) {})
		if err == nil {
			err = result.Err()
		}
		if err != nil && ctx.Err() == nil {
			level := slog.LevelWarn
			if fault.Is(err, fault.Untrusted) {
				level = slog.LevelError
			}
			d.log.Log(ctx, level, "sync catalogues", slog.Any("err", err), slog.String("try", fault.Hint(err)))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}
