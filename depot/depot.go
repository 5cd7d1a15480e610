package depot

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/filelock"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository"
	"github.com/dunlin-project/dunlin/metadata/repository/ca"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Config says where a depot lies.
type Config struct {
	// Dir is the depot's folder. Empty: DefaultDir.
	Dir string
	// OfflineKeys is where the offline keys lie once they have been moved away. Empty: Dir/keys/offline.
	OfflineKeys string
	// WorkFactor is the log2 of scrypt's N for offline keys that init makes. Zero: keys.DefaultWorkFactor.
	WorkFactor int
	// Log is for what happens unasked. Nil: none.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Dir == "" {
		c.Dir = DefaultDir
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Depot is a depot that exists. It keeps no state in memory: what it knows lies in the folder, each change is one
// transaction under a lock on a file, and so several processes (a server, a command) may work on one folder. It is safe
// for concurrent use.
type Depot struct {
	at   folder
	set  *settings
	repo *repository.Repository
	keys *keys.Store
	log  *slog.Logger
}

// Names of keys in the key store, beside one "ring-<name>" for each ring.
const (
	keyRoot      = "root"
	keyTargets   = "targets"
	keySnapshot  = "snapshot"
	keyTimestamp = "timestamp"
	keyAuthority = "ca"
)

// Open opens a depot that init has made. It must be run by the owner of the folder; the error is of kind fault.Usage
// when there is no depot, and fault.Refused when the folder is somebody else's or open to others.
func Open(c Config) (*Depot, error) {
	c = c.withDefaults()
	at, err := absolute(c.Dir)
	if err != nil {
		return nil, err
	}
	set, err := readSettings(at)
	if err != nil {
		return nil, err
	}
	if err := durable.CheckPrivate(string(at)); err != nil {
		return nil, err
	}
	if err := at.makeDirs(); err != nil {
		return nil, err
	}
	d := &Depot{at: at, set: set, log: c.Log}
	if d.keys, err = keys.Open(at.keys(), keys.Options{Offline: c.OfflineKeys, WorkFactor: c.WorkFactor}); err != nil {
		return nil, err
	}
	if d.repo, err = repository.Open(repositoryConfig(at, c.Log)); err != nil {
		return nil, err
	}
	return d, nil
}

func absolute(dir string) (folder, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("open depot: %w", err)
	}
	return folder(path), nil
}

func repositoryConfig(at folder, log *slog.Logger) repository.Config {
	return repository.Config{
		Public:    at.public(approvalsDir, "metadata"),
		Record:    at.record(),
		Lifetimes: repository.ApprovalsLifetimes(),
		Log:       log,
	}
}

// Rings returns the rings in the order that init was given; the first is a token's default.
func (d *Depot) Rings() []string { return d.set.Rings }

// onlineSigners reads the keys that sign unattended. They are read for each transaction and not kept.
func (d *Depot) onlineSigners() ([]crypto.Signer, error) {
	names := []string{keySnapshot, keyTimestamp}
	for _, r := range d.set.Rings {
		names = append(names, metadata.RingRole(r))
	}
	var out []crypto.Signer
	for _, name := range names {
		s, err := d.keys.OnlineSigner(name)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// update is one transaction on the approvals, signed with the online keys and those in with.
func (d *Depot) update(ctx context.Context, now time.Time, with []crypto.Signer, change func(*repository.Edit) error) error {
	online, err := d.onlineSigners()
	if err != nil {
		return err
	}
	_, err = d.repo.Update(ctx, now, append(online, with...), change)
	return err
}

// resign renews what is past half of its life and needs no offline key. It also completes an interrupted publication.
func (d *Depot) resign(ctx context.Context, now time.Time) (repository.Report, error) {
	online, err := d.onlineSigners()
	if err != nil {
		return repository.Report{}, err
	}
	return d.repo.Refresh(ctx, now, online, false)
}

// authority reads the private certificate authority.
func (d *Depot) authority() (*ca.Authority, error) {
	cert, err := readBounded(d.at.authority(), metadata.MaxAuthority)
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	key, err := d.keys.Online(keyAuthority)
	if err != nil {
		return nil, err
	}
	return ca.Load(cert, key)
}

// pin returns the pin of the certificate authority; it needs no key.
func (d *Depot) pin() (metadata.Pin, error) {
	b, err := readBounded(d.at.authority(), metadata.MaxAuthority)
	if err != nil {
		return metadata.Pin{}, fmt.Errorf("read certificate authority: %w", err)
	}
	cert, err := ca.ParseCert(b)
	if err != nil {
		return metadata.Pin{}, err
	}
	return metadata.PinOf(cert), nil
}

// mend puts back what devices read and what is not the repository's own to publish: the certificate authority and the
// files of the approvals' targets.
func (d *Depot) mend() error {
	cert, err := readBounded(d.at.authority(), metadata.MaxAuthority)
	if err != nil {
		return fmt.Errorf("read certificate authority: %w", err)
	}
	if _, err := publish(d.at.public(caFile), cert); err != nil {
		return err
	}
	if err := publishTarget(d.at, metadata.FleetTarget, nil); err != nil {
		return err
	}
	list, err := d.publishers()
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range list {
		trust, err := d.trustOf(p)
		if err == nil {
			err = publishTarget(d.at, metadata.PublisherPath(p.Name), trust.Root)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// publishTarget writes the file of a target of the approvals.
func publishTarget(at folder, path string, b []byte) error {
	_, err := publish(at.public(approvalsDir, metadata.TargetFile(path, piecehash.Hash(sha256.Sum256(b)))), b)
	return err
}

// lock waits for a lock for as long as ctx lives, and says so once.
func (d *Depot) lock(ctx context.Context, path string, tell func(Progress)) (*filelock.Lock, error) {
	for first := true; ; first = false {
		l, err := filelock.Acquire(ctx, path)
		if err == nil || ctx.Err() != nil || !fault.Is(err, fault.Unavailable) {
			return l, err
		}
		if first {
			tell(Progress{Step: "waiting for another command to end"})
		}
	}
}

// Progress says how far an operation is.
type Progress struct {
	Step  string `json:"step"`            // what is being done, for people
	Done  int64  `json:"done,omitempty"`  // bytes
	Total int64  `json:"total,omitempty"` // bytes; 0 when they do not count
}

// sweep removes what an interrupted write left in the private folders that have no owner of their own.
func (d *Depot) sweep() {
	for _, dir := range []string{string(d.at), d.at.path("trust"), d.at.path("tls")} {
		left, _ := filepath.Glob(filepath.Join(dir, durable.TempPattern))
		for _, name := range left {
			_ = os.Remove(name)
		}
	}
}
