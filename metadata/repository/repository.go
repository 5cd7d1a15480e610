package repository

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	tuf "github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/filelock"
)

// Config says where a repository lies and how long its roles last.
type Config struct {
	// Public is the folder of metadata files as a web server serves it at BASE/metadata. Made when missing, 0755.
	Public string
	// Record is the private file. Its folder must be private (0700) and must not be served; it is made when missing.
	Record string
	// Lifetimes of newly signed roles; see CatalogueLifetimes and ApprovalsLifetimes.
	Lifetimes Lifetimes
	// Log gets one record for each publication. Nil: none.
	Log *slog.Logger
}

// Repository is a repository that exists. It keeps nothing in memory between calls, so several of them, also in several
// processes, may work on the same files: each change is one transaction under a lock. It is safe for concurrent use.
type Repository struct {
	c     Config
	write func(path string, data []byte, perm fs.FileMode) error // durable.WriteFile, but for tests that pull the plug
}

// Genesis names the keys of a new repository.
type Genesis struct {
	Root, Targets, Snapshot, Timestamp RoleKeys
}

// Report says what a transaction did.
type Report struct {
	Signed []string     // roles that got a new version, in the order of signing; empty: nothing was due
	Roles  []RoleStatus // every role as it now stands
}

// Create makes a repository with version 1 of everything. change, which may be nil, fills it first. It fails, with
// fs.ErrExist, where there is a record already. All keys of the genesis that are needed must be among the signers.
func Create(ctx context.Context, c Config, g Genesis, now time.Time, by []crypto.Signer, change func(*Edit) error) (*Repository, error) {
	r, err := newRepository(c)
	if err != nil {
		return nil, err
	}
	if err := durable.MkdirPrivate(filepath.Dir(c.Record)); err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	_, err = r.locked(ctx, func() (Report, error) {
		if _, err := os.Lstat(c.Record); !errors.Is(err, fs.ErrNotExist) {
			return Report{}, fault.New(fault.Usage, "create repository: %s: %w", c.Record, errors.Join(err, fs.ErrExist))
		}
		edit := &Edit{View{emptyTree()}, map[string]bool{RoleRoot: true, RoleTargets: true, RoleSnapshot: true, RoleTimestamp: true}}
		if err := edit.setGenesis(g); err != nil {
			return Report{}, err
		}
		return r.transact(ctx, edit, nil, now, by, change)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Open names a repository and verifies its record. A missing one is fault.Usage.
func Open(c Config) (*Repository, error) {
	r, err := newRepository(c)
	if err != nil {
		return nil, err
	}
	_, err = r.View()
	return r, err
}

func newRepository(c Config) (*Repository, error) {
	if c.Public == "" || c.Record == "" {
		return nil, fault.New(fault.Usage, "open repository: it needs a public folder and a record")
	}
	if err := c.Lifetimes.validate(); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Repository{c, durable.WriteFile}, nil
}

// View reads and verifies what is current.
func (r *Repository) View() (*View, error) {
	t, err := readRecord(r.c.Record)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(fault.Usage, err)
	}
	if err != nil {
		return nil, err
	}
	return &View{t}, nil
}

// Update is one transaction: it hands the current state to change, signs every role that was changed (and snapshot and
// timestamp after it), replaces the record and publishes. When change returns an error, or a key is missing, nothing has
// happened. When change changes nothing, nothing is signed, and the public folder is only mended.
//
// After an error from the publishing part (a full disk, say) the change stands in the record, and the next Update or
// Refresh publishes it.
func (r *Repository) Update(ctx context.Context, now time.Time, by []crypto.Signer, change func(*Edit) error) (Report, error) {
	return r.locked(ctx, func() (Report, error) {
		edit, old, err := r.begin()
		if err != nil {
			return Report{}, err
		}
		return r.transact(ctx, edit, old, now, by, change)
	})
}

// Refresh signs timestamp and snapshot anew, and those delegated roles whose keys are among the signers, each when half
// of its lifetime has passed, or all of them when forced. The targets role is left alone: its key is not for unattended
// use. It also completes an interrupted publication.
func (r *Repository) Refresh(ctx context.Context, now time.Time, by []crypto.Signer, force bool) (Report, error) {
	at, err := newSigners(by)
	if err != nil {
		return Report{}, err
	}
	return r.Update(ctx, now, by, func(e *Edit) error {
		for _, s := range e.Roles() {
			online := s.Name != RoleRoot && s.Name != RoleTargets && at.covers(s.KeyIDs, s.Threshold)
			unattended := s.Name == RoleSnapshot || s.Name == RoleTimestamp || online
			if unattended && (force || r.c.Lifetimes.Due(s, now)) {
				e.dirty[s.Name] = true
			}
		}
		return nil
	})
}

// Due reports whether half of a role's lifetime has passed.
func (l Lifetimes) Due(s RoleStatus, now time.Time) bool {
	return s.Expires.Sub(now) <= l.of(s.Name)/2
}

func (r *Repository) locked(ctx context.Context, do func() (Report, error)) (Report, error) {
	lock, err := filelock.Acquire(ctx, r.c.Record+".lock")
	if err != nil {
		return Report{}, err
	}
	report, err := do()
	return report, errors.Join(err, lock.Release())
}

func (r *Repository) begin() (*Edit, *tuf.Metadata[tuf.RootType], error) {
	t, err := readRecord(r.c.Record)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Usage, err)
	}
	old, err := tuf.Root().FromBytes(t.rec.Roots[len(t.rec.Roots)-1])
	if err != nil {
		return nil, nil, err
	}
	return &Edit{View{t}, map[string]bool{}}, old, nil
}

func (r *Repository) transact(ctx context.Context, edit *Edit, old *tuf.Metadata[tuf.RootType], now time.Time, by []crypto.Signer, change func(*Edit) error) (Report, error) {
	at, err := newSigners(by)
	if err != nil {
		return Report{}, err
	}
	if change != nil {
		if err := change(edit); err != nil {
			return Report{}, err
		}
	}
	z := &sealing{edit: edit, old: old, at: at, lifetimes: r.c.Lifetimes, now: now}
	next := edit.t
	if len(edit.dirty) > 0 {
		if next, err = z.seal(); err != nil {
			return Report{}, err
		}
	}
	return r.commit(ctx, next, z.signed)
}

// commit replaces the record, which decides, and then publishes.
func (r *Repository) commit(ctx context.Context, next *tree, signed []string) (Report, error) {
	report := Report{Signed: signed, Roles: (&View{next}).Roles()}
	if err := ctx.Err(); err != nil {
		return Report{}, fmt.Errorf("publish: %w", err)
	}
	if len(signed) > 0 {
		b, err := next.rec.encode()
		if err != nil {
			return Report{}, err
		}
		if err := r.write(r.c.Record, b, 0o600); err != nil {
			return Report{}, diskFault(fmt.Errorf("keep record: %w", err))
		}
	}
	if err := r.export(next); err != nil {
		return report, fault.WithHint(diskFault(err), "the release stands in %s; run the refresh command to publish it", r.c.Record)
	}
	if len(signed) > 0 {
		r.c.Log.InfoContext(ctx, "published metadata", slog.String("folder", r.c.Public),
			slog.Any("signed", signed), slog.Int64("timestamp", next.timestamp.Signed.Version))
	}
	return report, nil
}

// diskFault tells a full disk from a fault of ours.
func diskFault(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fault.WithHint(fault.Wrap(fault.Unavailable, err), "make room on the disk and run the command again")
	}
	return err
}

// emptyTree is a repository before its first version: seal makes 1 of every 0.
func emptyTree() *tree {
	t := &tree{
		rec:       &record{Targets: map[string][]byte{}},
		root:      tuf.Root(),
		timestamp: tuf.Timestamp(),
		snapshot:  tuf.Snapshot(),
		roles:     map[string]*tuf.Metadata[tuf.TargetsType]{RoleTargets: tuf.Targets()},
	}
	t.root.Signed.Version, t.timestamp.Signed.Version, t.snapshot.Signed.Version = 0, 0, 0
	clear(t.snapshot.Signed.Meta)
	return t
}

func (e *Edit) setGenesis(g Genesis) error {
	return errors.Join(
		e.SetKeys(RoleRoot, g.Root), e.SetKeys(RoleTargets, g.Targets),
		e.SetKeys(RoleSnapshot, g.Snapshot), e.SetKeys(RoleTimestamp, g.Timestamp))
}
