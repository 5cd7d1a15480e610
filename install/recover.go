package install

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/dunlin-project/dunlin/install/internal/sealed"
	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Recovery says what became of an installation that a crash interrupted.
type Recovery struct {
	Update   metadata.Key
	Version  string
	Handler  string
	Finished bool // true: it holds; false: what was there before stands again
}

// Recover finishes or takes back what a crash left. It is to be called at the start, before anything is decided by what
// is installed; Apply calls it, too. It returns nil when there was nothing.
func (i *Installer) Recover(ctx context.Context) (*Recovery, error) {
	lock, err := i.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Release() }()
	return i.recover(ctx)
}

func (i *Installer) recover(ctx context.Context) (*Recovery, error) {
	i.folder.tidyStaging(time.Now())
	found, err := i.interrupted()
	if found == nil || err != nil {
		return nil, err
	}
	if found.Finished {
		err = i.finish(ctx)
	} else {
		err = i.takeBack(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("recover from an interrupted installation: %w", err)
	}
	i.cfg.Log.WarnContext(ctx, "an interrupted installation was dealt with",
		logUpdate(found.Update.Publisher, found.Update.ID, found.Version), slog.Bool("finished", found.Finished))
	return found, nil
}

// interrupted looks for the folder of a transaction.
func (i *Installer) interrupted() (*Recovery, error) {
	for _, dir := range []string{i.folder.decided(), i.folder.begun()} {
		_, err := os.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for an interrupted installation: %w", err)
		}
		r := &Recovery{Finished: dir == i.folder.decided()}
		if j, err := readJournal(dir); err == nil {
			r.Update, r.Version, r.Handler = j.key(), j.Version, j.Handler
		}
		return r, nil
	}
	return nil, nil
}

// takeBack restores what was there before a transaction.
func (i *Installer) takeBack(ctx context.Context) error {
	dir := i.folder.begun()
	j, err := readJournal(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist): // nothing had begun
	case errors.Is(err, sealed.ErrDamaged):
		// What is under the name is whole, whether old or new, and the handler will say that it is not what the record
		// says. Only leftovers stay.
		i.cfg.Log.ErrorContext(ctx, "the journal is damaged: an interrupted installation cannot be taken back", slog.Any("err", err))
	case err != nil:
		return err
	default:
		if err := i.undo(ctx, j.Change); err != nil {
			return err
		}
	}
	i.cfg.Probe("taken back")
	return removeTransaction(dir)
}

func (i *Installer) undo(ctx context.Context, c *change) error {
	err := c.in(func(dir *os.Root) error {
		if err := c.undo(dir); err != nil {
			return err
		}
		i.cfg.Probe("restored")
		i.warnLeft(ctx, c.tidy(dir, false))
		return nil
	})
	if err != nil && c.Which == nil { // the folder cannot be reached, but nothing in it was switched
		i.warnLeft(ctx, err)
		return nil
	}
	return err
}

// warnLeft says that something takes space that is not needed any more, and nothing worse.
func (i *Installer) warnLeft(ctx context.Context, err error) {
	if err != nil {
		i.cfg.Log.WarnContext(ctx, "something was left behind", slog.Any("err", err))
	}
}

// finish brings a decided transaction to its end. Every step of it may have happened already.
func (i *Installer) finish(ctx context.Context) error {
	dir := i.folder.decided()
	for _, name := range floorFiles() {
		if err := moveIfThere(filepath.Join(dir, name), i.folder.join(name)); err != nil {
			return err
		}
		i.cfg.Probe("floor")
	}
	if err := i.finishRecord(ctx, dir); err != nil {
		return err
	}
	i.cfg.Probe("recorded")
	j, err := readJournal(dir)
	if err == nil {
		err = j.Change.in(func(at *os.Root) error { return j.Change.tidy(at, true) })
		i.cfg.Log.InfoContext(ctx, "update installed", logUpdate(j.Publisher, j.ID, j.Version))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		i.warnLeft(ctx, err)
	}
	i.cfg.Probe("settled")
	return removeTransaction(dir)
}

// finishRecord enters the installation in the inventory: the bundle first, because the record names it.
func (i *Installer) finishRecord(ctx context.Context, dir string) error {
	r, err := readRecord(filepath.Join(dir, keptRecordFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, sealed.ErrDamaged):
		i.cfg.Log.ErrorContext(ctx, "the record of an installation is damaged: it will be installed again", slog.Any("err", err))
		return nil
	case err != nil:
		return err
	}
	file := i.folder.recordFile(r.Key())
	if err := moveIfThere(filepath.Join(dir, keptBundleFile), bundleFile(file)); err != nil {
		return err
	}
	return moveIfThere(filepath.Join(dir, keptRecordFile), file)
}

func moveIfThere(from, to string) error {
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if info, err := os.Lstat(to); err == nil && info.IsDir() { // nobody but a fault can have made it
		if err := os.RemoveAll(to); err != nil {
			return err
		}
	}
	return durable.Rename(from, to)
}

func hashFile(path string) (piecehash.Hash, error) {
	f, err := os.Open(path)
	if err != nil {
		return piecehash.Hash{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return piecehash.Hash{}, err
	}
	return piecehash.Hash(h.Sum(nil)), nil
}
