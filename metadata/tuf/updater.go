package tuf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	tufmeta "github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// The top-level roles, and the field of the timestamp that proves a time.
const (
	roleRoot      = "root"
	roleTimestamp = "timestamp"
	roleSnapshot  = "snapshot"
	roleTargets   = "targets"
	issuedField   = "issued"
)

func isTopLevel(role string) bool {
	return role == roleRoot || role == roleTimestamp || role == roleSnapshot || role == roleTargets
}

// Config says what is trusted, what is remembered and who is asked.
type Config struct {
	Anchor []byte // a root file of the repository, of any version
	Source Source
	Store  Store        // nil remembers nothing
	Log    *slog.Logger // nil discards

	// AllowExpired brings everything up to date that verifies, also what has run out. Verified.Stale then says so. What
	// was older than what is known stays refused.
	AllowExpired bool
}

// Updater takes one repository through one update. It is made for one cycle at one time and one source, and is used by
// one goroutine.
type Updater struct {
	cfg     Config
	now     time.Time // of the whole cycle (specification, 5.1); only a proved time moves it, and only forward
	behind  time.Duration
	state   state
	stale   error // the first *ExpiredError, when AllowExpired let it pass
	anchor  int64 // version of the anchor
	trusted *trustedmetadata.TrustedMetadata
	files   map[string][]byte // what was verified, by name
	raw     map[string][]byte // files of targets roles, by role
	checked map[edge]bool
}

// edge is a delegation. A role that two roles delegate must verify for each of them.
type edge struct{ parent, role string }

// New checks the anchor. now is the time of the whole cycle; a clock behind the time that the store has seen proved will be
// overruled.
func New(cfg Config, now time.Time) (*Updater, error) {
	if cfg.Store == nil {
		cfg.Store = Nowhere{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	u := &Updater{cfg: cfg, now: now.UTC(), files: map[string][]byte{}, raw: map[string][]byte{}, checked: map[edge]bool{}}
	if err := u.openAnchor(); err != nil {
		return nil, untrusted("read trust anchor: %w", err)
	}
	u.state = loadState(cfg.Store)
	return u, nil
}

func (u *Updater) openAnchor() error {
	if err := checkFile(u.cfg.Anchor, roleRoot); err != nil {
		return err
	}
	return guarded(func() (err error) {
		if u.trusted, err = trustedmetadata.New(u.cfg.Anchor); err != nil {
			return err
		}
		// No time is ever after the zero time's expiry: what has run out is found here (fresh), so that it can be told
		// from what is forged, and be let pass where the caller allows it.
		u.trusted.RefTime = time.Time{}
		u.anchor = u.trusted.Root.Signed.Version
		u.files[fileName(roleRoot, u.anchor)] = u.cfg.Anchor
		return nil
	})
}

// guarded turns a panic on signed but senseless metadata into an error. The check of the form leaves no known one.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("malformed metadata: %v", r)
		}
	}()
	return f()
}

// Refresh brings the four top-level roles up to date (specification, 5.3 to 5.6). It is called once.
func (u *Updater) Refresh(ctx context.Context) error {
	for _, step := range []struct {
		role string
		do   func(context.Context) error
	}{
		{roleRoot, u.root}, {roleTimestamp, u.timestamp}, {roleSnapshot, u.snapshot}, {roleTargets, u.targets},
	} {
		if err := step.do(ctx); err != nil {
			return u.blame(step.role, err)
		}
	}
	return nil
}

// proved raises the time of the cycle to a time that verified metadata proves.
func (u *Updater) proved(at time.Time) {
	if d := at.Sub(u.now); d > 0 {
		if u.behind += d; u.behind > clockLeeway {
			u.cfg.Log.Warn("the clock is behind the time that signed metadata proves", slog.Duration("behind", u.behind))
		}
		u.now = at
	}
}

// fresh refuses what has run out, or takes note of it.
func (u *Updater) fresh(role string, expires time.Time) error {
	if !u.now.After(expires) {
		return nil
	}
	err := fault.WithHint(fault.Wrap(fault.Unavailable, &ExpiredError{role, expires, u.now}),
		"if the clock of this machine is right, whoever runs the repository must sign it anew")
	if !u.cfg.AllowExpired {
		return err
	}
	if u.stale == nil {
		u.stale = err
	}
	return nil
}

// root follows the chain of roots from the anchor (5.3): first what the store has of it, then what the source has. The
// chain is kept whole, so that it can be followed again from the anchor.
func (u *Updater) root(ctx context.Context) error {
	steps := 0
	for known := 0; known < maxKnown && steps < MaxRootSteps; known++ {
		next := u.trusted.Root.Signed.Version + 1
		if b := u.cfg.Store.Load(rootFile(next), MaxRootSize); b != nil && u.acceptRoot(b) == nil {
			continue
		}
		b, err := u.cfg.Source.Fetch(ctx, fileName(roleRoot, next), MaxRootSize)
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
		steps++
		if err := u.newRoot(b, next); err != nil {
			return fmt.Errorf("version %d: %w", next, err)
		}
	}
	return u.finalRoot()
}

func (u *Updater) newRoot(b []byte, version int64) error {
	if err := u.acceptRoot(b); err != nil {
		return judge(b, err)
	}
	u.cfg.Log.Info("the root of trust has changed", slog.Int64("version", version), slog.String("source", u.cfg.Source.String()))
	return u.cfg.Store.Save(rootFile(version), b)
}

func (u *Updater) acceptRoot(b []byte) error {
	if err := checkFile(b, roleRoot); err != nil {
		return err
	}
	return guarded(func() error {
		if _, err := u.trusted.UpdateRoot(b); err != nil {
			return err
		}
		u.files[fileName(roleRoot, u.trusted.Root.Signed.Version)] = b
		return nil
	})
}

// finalRoot refuses to go on with a root older than one that was seen: then the chain is damaged here, and the source
// withholds it.
func (u *Updater) finalRoot() error {
	root := u.trusted.Root.Signed
	if root.Version < u.state.Root {
		return fault.WithHint(
			fault.New(fault.Untrusted, "the way to the newest root is damaged here, and withheld there: %w", &RollbackError{roleRoot, u.state.Root, root.Version}),
			"try another source, or join again")
	}
	if err := u.meetRoot(); err != nil {
		return err
	}
	return u.fresh(roleRoot, root.Expires)
}

// meetRoot takes the memory of the store over, as far as it is bound to the keys of this root.
func (u *Updater) meetRoot() error {
	known := u.state
	u.state.Root = max(u.state.Root, u.trusted.Root.Signed.Version)
	if by := u.timestampKeys(); by != u.state.By {
		u.state.By, u.state.Floor = by, time.Time{}
	}
	u.proved(u.state.Floor)
	if u.state == known {
		return nil
	}
	return u.state.save(u.cfg.Store)
}

func (u *Updater) timestampKeys() string {
	return strings.Join(slices.Sorted(slices.Values(u.trusted.Root.Signed.Roles[roleTimestamp].KeyIDs)), " ")
}

// timestamp is 5.4. The one in the store counts only against a rollback.
func (u *Updater) timestamp(ctx context.Context) error {
	stored := u.cfg.Store.Load(fileOf(roleTimestamp), MaxTimestampSize)
	if stored != nil && u.acceptTimestamp(stored) != nil {
		stored = nil
	}
	b, err := u.cfg.Source.Fetch(ctx, fileName(roleTimestamp, 0), MaxTimestampSize)
	if err != nil {
		return err
	}
	err = u.acceptTimestamp(b)
	var same *tufmeta.ErrEqualVersionNumber
	if errors.As(err, &same) {
		b, err = stored, nil // of two signed texts of one version the first one counts
	}
	if err != nil {
		return judge(b, err)
	}
	u.files[fileName(roleTimestamp, 0)] = b
	if err := u.finalTimestamp(); err != nil {
		return err
	}
	return u.keep(roleTimestamp, b, bytes.Equal(b, stored))
}

func (u *Updater) acceptTimestamp(b []byte) error {
	if err := checkFile(b, roleTimestamp); err != nil {
		return err
	}
	return guarded(func() error {
		have := u.trusted.Timestamp
		_, err := u.trusted.UpdateTimestamp(b)
		var older *tufmeta.ErrBadVersionNumber
		if errors.As(err, &older) {
			return timestampRollback(have, b, err)
		}
		return err
	})
}

// timestampRollback says what exactly went back.
func timestampRollback(have *tufmeta.Metadata[tufmeta.TimestampType], b []byte, err error) error {
	got, parseErr := tufmeta.Timestamp().FromBytes(b)
	if parseErr != nil || have == nil {
		return err
	}
	if got.Signed.Version < have.Signed.Version {
		return &RollbackError{roleTimestamp, have.Signed.Version, got.Signed.Version}
	}
	return &RollbackError{roleSnapshot, snapshotMeta(have).Version, snapshotMeta(got).Version}
}

func snapshotMeta(m *tufmeta.Metadata[tufmeta.TimestampType]) *tufmeta.MetaFiles {
	return m.Signed.Meta[fileOf(roleSnapshot)]
}

// finalTimestamp takes the time that the timestamp proves, and remembers it.
func (u *Updater) finalTimestamp() error {
	signed := u.trusted.Timestamp.Signed
	if err := u.fresh(roleTimestamp, signed.Expires); err != nil {
		return err
	}
	if text, ok := signed.UnrecognizedFields[issuedField].(string); ok {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return untrusted("%s: %w", issuedField, err)
		}
		u.proved(at)
		if err := u.raiseFloor(at); err != nil {
			return err
		}
	}
	// The proved time may be later than the clock that the root was checked with.
	return u.fresh(roleRoot, u.trusted.Root.Signed.Expires)
}

func (u *Updater) raiseFloor(at time.Time) error {
	if !at.After(u.state.Floor) {
		return nil
	}
	u.state.Floor = at
	return u.state.save(u.cfg.Store)
}
