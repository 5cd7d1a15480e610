package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/member"
)

// cycle is one round, with its beginning and its end in status, metrics and log. Its error is that of the worst thing that
// happened.
func (a *Agent) cycle(ctx context.Context) error {
	started := time.Now()
	a.board.change(func(s *Status) { s.Cycle = &Cycle{Started: started, Result: "running"} })
	err := a.round(ctx, started)
	if ctx.Err() != nil {
		err = fault.New(fault.Unavailable, "the cycle was stopped: %w", ctx.Err())
	}
	ended := time.Now()
	a.board.change(func(s *Status) {
		c := *s.Cycle
		c.Ended, c.Result = ended, outcome(err)
		s.Cycle = &c
	})
	a.board.cycleEnded(ended, err)
	a.metrics.cycles.WithLabelValues(outcome(err)).Inc()
	if err != nil {
		a.log.WarnContext(ctx, "cycle ended", slog.Any("err", err), slog.Duration("took", ended.Sub(started)))
		return err
	}
	a.metrics.lastGood.Set(float64(ended.Unix()))
	a.log.InfoContext(ctx, "cycle ended", slog.Duration("took", ended.Sub(started)))
	return nil
}

// round is the life of a device, once: ask, decide, get, install (design, section 3). What goes wrong with one update
// keeps no other from its turn.
func (a *Agent) round(ctx context.Context, now time.Time) error {
	a.meet(ctx, a.source.Last(now))
	got, errs := a.source.Sync(ctx, now)
	syncErr := worstOf(errs)
	a.tellSync(got.View, syncErr)
	if got.View == nil {
		return syncErr
	}
	a.meet(ctx, got.View)
	a.caches.signed(got.View)
	if behind := got.View.ClockBehind(); behind > 0 {
		a.log.WarnContext(ctx, "the clock of this machine is behind what the signed metadata proves", slog.Duration("behind", behind))
	}
	if len(got.View.Fleet().Policy) > 0 {
		a.log.WarnContext(ctx, "the organisation has signed a policy, which this version does not apply: update dunlin on this machine")
	}
	have, err := a.device.inventory(ctx)
	if err != nil {
		return err
	}
	d := plan(surveyOf(got.View, a.cfg.Ring, have, a.device.rules), a.device.policy(a.id), got.View.Now())
	a.board.list(a.remember(d.updates))
	errs = append(d.refused, syncErr)
	a.tries.keepOnly(d.jobs)
	errs = append(errs, a.work(ctx, d.jobs, got)...)
	a.tidy(ctx, got.View)
	return worstOf(errs)
}

// work does the jobs, one after the other. A job whose needs were not met in this cycle waits for the next.
func (a *Agent) work(ctx context.Context, jobs []Job, got member.Synced) []error {
	var errs []error
	failed := make(map[metadata.Key]bool)
	for _, j := range jobs {
		if need := firstOf(j.After, failed); need != nil {
			failed[j.Key] = true
			a.tell(j, func(u *Update) { u.State, u.Reason = StateWaiting, "it needs "+need.ID+", which was not installed" })
			continue
		}
		if last, until, paused := a.tries.paused(tryKeyOf(j), time.Now()); paused {
			failed[j.Key] = true
			errs = append(errs, last.err)
			a.tell(j, func(u *Update) {
				u.State, u.Error, u.Since = StateFailed, failure(last.err), last.when
				u.Reason = fmt.Sprintf("failed %d times, not tried again before %s", last.failures, until.Format(time.RFC3339))
			})
			continue
		}
		err := a.do(ctx, &work{Job: j, Synced: got})
		a.metrics.jobs.WithLabelValues(string(metadata.ActionInstall), outcome(err)).Inc()
		if ctx.Err() != nil {
			return append(errs, err)
		}
		failed[j.Key] = err != nil
		errs = append(errs, err)
	}
	return errs
}

func firstOf(keys []metadata.Key, in map[metadata.Key]bool) *metadata.Key {
	for _, k := range keys {
		if in[k] {
			return &k
		}
	}
	return nil
}

// work is one job on its way.
type work struct {
	Job
	member.Synced
	done    *Transfer   // what the fetches that have ended brought
	picture *fetch.View // of the fetch that runs; never changed
	here    bool        // the payload has arrived
	mending bool        // it had arrived, and is fetched again where it is damaged
}

// do gets an update and has it installed.
func (a *Agent) do(ctx context.Context, w *work) error {
	a.tell(w.Job, func(u *Update) { u.State, u.Error, u.Reason = StateDownloading, nil, "" })
	reboot, err := a.getAndInstall(ctx, w)
	if err != nil {
		err = fmt.Errorf("%v: %w", w.Job, err)
	}
	now := time.Now()
	if w.here && ctx.Err() == nil {
		a.tries.failed(tryKeyOf(w.Job), now, err)
	}
	a.tell(w.Job, func(u *Update) {
		u.Since, u.Transfer = now, w.done
		switch {
		case err == nil:
			u.State, u.Reboot = StateInstalled, reboot
		case fault.Is(err, fault.Refused):
			u.State, u.Error = StateRefused, failure(err)
		default:
			u.State, u.Error = StateFailed, failure(err)
		}
	})
	if err != nil {
		a.log.WarnContext(ctx, "update not installed, a later cycle tries again", slog.String("update", w.String()), slog.Any("err", err))
	}
	return err
}

func (a *Agent) getAndInstall(ctx context.Context, w *work) (reboot bool, err error) {
	file, err := a.download(ctx, w)
	if err != nil {
		return false, err
	}
	w.here = true
	a.tell(w.Job, func(u *Update) { u.State = StateInstalling })
	file, checked, err := a.check(ctx, w, file)
	if err != nil {
		return false, err
	}
	defer checked.Close()
	defer a.keep(ctx, w, file)
	o, err := a.device.installer.Apply(ctx, checked)
	return o.Reboot, err
}

// progress shows a fetch that runs, arrived one that has ended.
func (a *Agent) progress(w *work, s fetch.Stats) {
	t := w.done.add(s)
	t.Sources = w.picture
	a.tell(w.Job, func(u *Update) { u.Transfer = t })
}

func (w *work) arrived(s fetch.Stats) { w.done, w.picture = w.done.add(s), nil }

// tell changes the entry of a job in the status.
func (a *Agent) tell(j Job, f func(*Update)) {
	t := j.Offer.Target()
	u := updateOf(j.Key, t, metadata.ActionInstall, StatePending, "")
	a.board.change(func(s *Status) {
		for _, old := range s.Updates {
			if byName(old, u) == 0 {
				u = old
			}
		}
	})
	f(&u)
	a.board.set(u)
}

// remember takes over what earlier cycles said about updates and a plan does not know.
func (a *Agent) remember(updates []Update) []Update {
	var old []Update
	a.board.change(func(s *Status) { old = s.Updates })
	known := make(map[[4]string]Update, len(old))
	for _, u := range old {
		known[nameOf(u)] = u
	}
	for i := range updates {
		u := &updates[i]
		if was, ok := known[nameOf(*u)]; ok {
			u.Transfer = was.Transfer
			if u.Since.IsZero() && u.State == was.State {
				u.Since = was.Since
			}
		}
	}
	return updates
}

func nameOf(u Update) [4]string { return [4]string{u.Publisher, u.ID, u.Version, u.SHA256} }

// tellSync says in the status what came of asking the depot.
func (a *Agent) tellSync(view *metadata.View, err error) {
	var expires []Expiry
	if view != nil {
		expires = expiries(view)
	}
	group := a.lan.name()
	a.board.change(func(s *Status) {
		c := *s.Cycle
		c.Sync = failure(err)
		s.Cycle, s.Group = &c, group
		if view != nil {
			s.Expires = expires
		}
	})
}

func expiries(view *metadata.View) []Expiry {
	out := []Expiry{{Role: "approvals", Expires: view.Expires()}}
	for _, c := range view.Catalogues() {
		if c.Err() == nil {
			out = append(out, Expiry{Role: "catalogue", Name: c.Publisher(), Expires: c.Expires()})
		}
	}
	slices.SortStableFunc(out, func(a, b Expiry) int { return a.Expires.Compare(b.Expires) })
	return out
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
