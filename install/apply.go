package install

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/dunlin-project/dunlin/install/internal/disk"
	"github.com/dunlin-project/dunlin/install/internal/process"
	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// Apply installs what was verified, or changes nothing. It first recovers from a crash of an earlier run. A handler or a
// health check that fails is fault.Install, a full disk is fault.Unavailable, a release that fell below the floor since
// Verify is fault.Refused; what was there before stands then, unless the handler runs a program: what that has done is
// not known. Apply does not close v.
func (i *Installer) Apply(ctx context.Context, v *Verified) (Outcome, error) {
	o, err := i.apply(ctx, v)
	if err != nil {
		u := v.Update()
		i.cfg.Log.ErrorContext(ctx, "update not installed", logUpdate(u.Publisher, u.ID, u.Version), slog.Any("err", err))
		return Outcome{}, fmt.Errorf("install %s/%s %s: %w", u.Publisher, u.ID, u.Version, err)
	}
	return o, nil
}

func (i *Installer) apply(ctx context.Context, v *Verified) (Outcome, error) {
	if v.by != i {
		return Outcome{}, errors.New("it was verified by another installer")
	}
	lock, err := i.lock(ctx)
	if err != nil {
		return Outcome{}, err
	}
	defer func() { _ = lock.Release() }()
	if _, err := i.recover(ctx); err != nil {
		return Outcome{}, err
	}
	if err := i.admit(v.view, v.offer); err != nil { // another process may have raised the floor
		return Outcome{}, err
	}
	t, err := i.begin(v)
	if err != nil {
		return Outcome{}, i.abandon(ctx, disk.Fault(fault.Internal, i.cfg.Dir, err))
	}
	defer t.close()
	o, err := t.run(ctx)
	if err != nil {
		return Outcome{}, i.abandon(ctx, err)
	}
	return o, i.conclude(ctx, t, o)
}

// run lets the handler work and asks the health check what it thinks of it.
func (t *Transaction) run(ctx context.Context) (Outcome, error) {
	u := t.v.Update()
	t.i.cfg.Probe("begun")
	if u.Handler == metadata.HandlerExec && ctx.Err() == nil {
		var done context.CancelFunc
		ctx, done = linger(ctx, t.i.cfg.Grace)
		defer done()
	}
	o, err := t.handle(ctx, duration(u.Timeout, t.i.cfg.Timeout))
	if err != nil {
		return Outcome{}, err
	}
	if len(o.Evidence) > maxEvidence {
		return Outcome{}, fault.New(fault.Install, "handler %s: %d bytes of evidence, at most %d", u.Handler, len(o.Evidence), maxEvidence)
	}
	t.i.cfg.Probe("applied")
	return o, t.checkHealth(ctx)
}

// linger returns a context that is cancelled only the given time after ctx.
func linger(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, cancel)
		context.AfterFunc(late, func() { timer.Stop() })
	})
	return late, func() {
		stop()
		cancel()
	}
}

func (t *Transaction) handle(ctx context.Context, most time.Duration) (Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	o, err := t.i.cfg.Handlers[t.v.Update().Handler].Apply(ctx, t.v, t)
	if err != nil {
		return Outcome{}, t.blame(ctx, err)
	}
	return o, nil
}

// blame gives an error of the handler its kind.
func (t *Transaction) blame(ctx context.Context, err error) error {
	err = fmt.Errorf("handler %s: %w", t.v.Update().Handler, err)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fault.New(fault.Unavailable, "%w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.WithHint(fault.New(fault.Install, "%w: its time was up", err), "the publisher can give it a longer timeout")
	case !t.v.payload.intact():
		return fault.New(fault.Untrusted, "%w", err)
	case fault.Is(err, fault.Untrusted) && fault.Hint(err) == "":
		return fault.WithHint(err, "withdraw the approval, and ask the publisher how this came to be signed")
	}
	return disk.Fault(fault.Install, t.v.Update().Destination, err)
}

func (t *Transaction) checkHealth(ctx context.Context) error {
	u := t.v.Update()
	if u.Health == nil {
		return nil
	}
	r, err := process.Run(ctx, process.Command{
		Path: u.Health.Command[0], Args: u.Health.Command, Dir: "/", Env: t.v.Environment(),
		Timeout: duration(u.Health.Timeout, t.i.cfg.HealthTimeout),
	})
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return fault.New(fault.Unavailable, "health check: %w", err)
	case err != nil:
		return fault.New(fault.Install, "health check: %w", err)
	case r.TimedOut || r.Code != 0:
		return fault.New(fault.Install, "health check %s: %v; it printed %s", path.Base(u.Health.Command[0]), r, r.Tail())
	}
	t.i.cfg.Probe("healthy")
	return nil
}

func duration(seconds int64, otherwise time.Duration) time.Duration {
	if seconds == 0 {
		return otherwise
	}
	return time.Duration(seconds) * time.Second
}

// abandon takes a transaction back because of cause. It goes on when ctx is done: the old state comes first.
func (i *Installer) abandon(ctx context.Context, cause error) error {
	if err := i.takeBack(context.WithoutCancel(ctx)); err != nil {
		return errors.Join(cause, fmt.Errorf("take back: %w", err))
	}
	return cause
}

// conclude decides the transaction and finishes it. Until the rename it can still be taken back, and everything that
// needs space has been written by then.
func (i *Installer) conclude(ctx context.Context, t *Transaction, o Outcome) error {
	err := i.writeResult(t, o)
	if err == nil {
		i.cfg.Probe("written")
		err = durable.Rename(i.folder.begun(), i.folder.decided())
	}
	if err != nil {
		if _, e := os.Lstat(i.folder.begun()); e == nil {
			return i.abandon(ctx, disk.Fault(fault.Internal, i.cfg.Dir, err))
		}
		return err // it is decided, but the folder could not be synced
	}
	i.cfg.Probe("decided")
	return i.finish(ctx)
}

// writeResult puts the new floor and the record into the transaction.
func (i *Installer) writeResult(t *Transaction, o Outcome) error {
	f, err := i.floor()
	if err != nil {
		return err
	}
	entry := floorOf(t.v)
	f.Sequence++
	f.raise(entry)
	entry, _ = f.get(entry.key())
	floor, err := f.encode()
	if err != nil {
		return err
	}
	for _, name := range floorFiles() {
		if err := writePrivate(filepath.Join(t.dir, name), floor); err != nil {
			return err
		}
	}
	r, err := t.record(o, entry)
	if err != nil {
		return err
	}
	return writePrivate(filepath.Join(t.dir, keptRecordFile), r)
}

func floorOf(v *Verified) floorEntry {
	u := v.Update()
	return floorEntry{Publisher: u.Publisher, ID: u.ID, Release: u.Release, SHA256: v.SHA256(), Lowest: u.LowestDowngrade}
}

func (t *Transaction) record(o Outcome, floor floorEntry) ([]byte, error) {
	bundle, err := hashFile(filepath.Join(t.dir, keptBundleFile))
	if err != nil {
		return nil, err
	}
	u := t.v.Update()
	r := &Record{
		Publisher: u.Publisher, ID: u.ID, Version: u.Version, Release: u.Release,
		Handler: u.Handler, Destination: t.i.cfg.place(u.Destination),
		Length: t.v.Length(), SHA256: t.v.SHA256(), Root: u.Root,
		Ring: t.v.offer.Ring(), Signer: t.v.signer.KeyID, Installed: t.v.view.Now().UTC().Truncate(time.Second),
		Reboot: o.Reboot, Evidence: o.Evidence, Floor: floor, Bundle: bundle,
	}
	return r.encode()
}

func logUpdate(publisher, id, version string) slog.Attr {
	return slog.String("update", publisher+"/"+id+"@"+version)
}
