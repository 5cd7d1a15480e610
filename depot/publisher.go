package depot

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
	"github.com/dunlin-project/dunlin/piecehash"
)

// PublisherStatus says what the organisation has signed about a publisher.
type PublisherStatus struct {
	Name         string                `json:"publisher"`
	Fingerprint  piecehash.Hash        `json:"fingerprint"` // compare it with what the publisher says
	Root         piecehash.Hash        `json:"root"`        // SHA-256 of the catalogue's root file
	Keys         []metadata.PayloadKey `json:"keys"`
	Handlers     []string              `json:"handlers"`
	Destinations []string              `json:"destinations"`
	Catalogues   []string              `json:"catalogues"`
	Origins      []string              `json:"origins,omitempty"`
}

// AddResult says what was signed about a publisher, and what came of its catalogue.
type AddResult struct {
	PublisherStatus
	Sync Synced `json:"sync"`
}

// AddPublisher trusts a publisher, or replaces what was signed about it, and mirrors its catalogue, because devices miss
// the catalogue of anybody they are told to trust. When only that fails, it stands in the result. What the grant leaves
// open stays as it was signed before; another root for a name that is trusted already is fault.Refused unless the grant
// says Replace. It needs the offline targets key.
func (d *Depot) AddPublisher(ctx context.Context, g Grant, unlock keys.Unlock, now time.Time, tell func(Progress)) (*AddResult, error) {
	signer, err := d.keys.OfflineSigner(keyTargets, unlock)
	if err != nil {
		return nil, err
	}
	lock, err := d.lock(ctx, d.at.workLock(), tell)
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	if g, err = d.inherit(g); err != nil {
		return nil, err
	}
	if err := keepRoot(d.at, g.Trust); err != nil {
		return nil, err
	}
	err = d.update(ctx, now, []crypto.Signer{signer}, func(e *repository.Edit) error { return setPublisher(e, g) })
	if err != nil {
		return nil, err
	}
	if err := d.forgetRoots(g.Trust.Publisher, g.Trust.Root); err != nil {
		return nil, err
	}
	status, err := d.status(g.record())
	if err != nil {
		return nil, err
	}
	tell(Progress{Step: "sync " + g.Trust.Publisher})
	_, synced := d.syncOne(ctx, g.record(), now)
	return &AddResult{*status, synced}, nil
}

// inherit fills in what a grant leaves open with what was signed before, and refuses another catalogue by a known name.
func (d *Depot) inherit(g Grant) (Grant, error) {
	name := g.Trust.Publisher
	view, err := d.repo.View()
	if err != nil {
		return g, err
	}
	signed, ok := view.Target(repository.RoleTargets, metadata.PublisherPath(name))
	if !ok {
		return g, nil
	}
	if root := piecehash.Hash(sha256.Sum256(g.Trust.Root)); root != signed.SHA256 && !g.Replace {
		return g, fault.WithHint(
			fault.New(fault.Refused, "add publisher %s: the root of its catalogue has SHA-256 %v, and the one that is trusted by this name has %v", name, root, signed.SHA256),
			"compare the fingerprint with what the publisher says, by another way than the file came; if it is right, add the file with --replace")
	}
	before, err := metadata.ParsePublisher(signed.Custom)
	if err != nil {
		return g, fmt.Errorf("read what is signed about publisher %s: %w", name, err)
	}
	if len(g.Handlers) == 0 {
		g.Handlers = before.Handlers
	}
	if len(g.Destinations) == 0 {
		g.Destinations = before.Destinations
	}
	return g, nil
}

// forgetRoots removes the kept roots of a publisher but one.
func (d *Depot) forgetRoots(name string, but []byte) error {
	kept := d.at.trusted(name, sha256.Sum256(but))
	all, err := filepath.Glob(d.at.path("trust", name+".*"))
	for _, path := range all {
		if path != kept {
			err = errors.Join(err, durable.Remove(path))
		}
	}
	return err
}

// RemovePublisher takes the trust back, and with it every approval of the publisher. It needs the offline targets key.
func (d *Depot) RemovePublisher(ctx context.Context, name string, unlock keys.Unlock, now time.Time, tell func(Progress)) error {
	if _, err := d.publisher(name); err != nil {
		return err
	}
	signer, err := d.keys.OfflineSigner(keyTargets, unlock)
	if err != nil {
		return err
	}
	lock, err := d.lock(ctx, d.at.workLock(), tell)
	if err != nil {
		return err
	}
	defer lock.Release()
	err = d.update(ctx, now, []crypto.Signer{signer}, func(e *repository.Edit) error {
		e.RemoveTarget(repository.RoleTargets, metadata.PublisherPath(name))
		for _, ring := range d.set.Rings {
			role := metadata.RingRole(ring)
			for path := range e.Targets(role) {
				if strings.HasPrefix(path, ring+"/"+name+"/") {
					e.RemoveTarget(role, path)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(d.at.public(catalogueDir, name)), os.RemoveAll(d.at.mirror(name)), os.RemoveAll(d.at.served(name)), d.forgetRoots(name, nil))
}

// Renew signs the targets role anew, for another 90 days, and the root for another year if withRoot is set. It needs the
// offline keys of those roles.
func (d *Depot) Renew(ctx context.Context, withRoot bool, unlock keys.Unlock, now time.Time) error {
	names := []string{keyTargets}
	if withRoot {
		names = append(names, keyRoot)
	}
	var by []crypto.Signer
	for _, name := range names {
		s, err := d.keys.OfflineSigner(name, unlock)
		if err != nil {
			return err
		}
		by = append(by, s)
	}
	return d.update(ctx, now, by, func(e *repository.Edit) error {
		if err := e.Touch(repository.RoleTargets); err != nil || !withRoot {
			return err
		}
		return e.Touch(repository.RoleRoot)
	})
}

// Publishers lists whom the organisation trusts, by name.
func (d *Depot) Publishers() ([]PublisherStatus, error) {
	list, err := d.publishers()
	if err != nil {
		return nil, err
	}
	out := make([]PublisherStatus, 0, len(list))
	for _, p := range list {
		s, err := d.status(p)
		if err != nil {
			return nil, err
		}
		out = append(out, *s)
	}
	return out, nil
}

func (d *Depot) status(p *metadata.Publisher) (*PublisherStatus, error) {
	trust, err := d.trustOf(p)
	if err != nil {
		return nil, err
	}
	return &PublisherStatus{
		Name: p.Name, Fingerprint: trust.Fingerprint(), Root: piecehash.Hash(sha256.Sum256(trust.Root)), Keys: p.Keys,
		Handlers: p.Handlers, Destinations: p.Destinations, Catalogues: p.Catalogues, Origins: p.Origins,
	}, nil
}

// publishers reads the signed records.
func (d *Depot) publishers() ([]*metadata.Publisher, error) {
	view, err := d.repo.View()
	if err != nil {
		return nil, err
	}
	targets := view.Targets(repository.RoleTargets)
	var out []*metadata.Publisher
	for _, path := range slices.Sorted(maps.Keys(targets)) {
		if path == metadata.FleetTarget {
			continue
		}
		p, err := metadata.ParsePublisher(targets[path].Custom)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		out = append(out, p)
	}
	return out, nil
}

func (d *Depot) publisher(name string) (*metadata.Publisher, error) {
	list, err := d.publishers()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range list {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	hint := "add it with `dunlin depot publisher add FILE.trust`"
	if len(names) > 0 {
		hint += "; trusted are: " + strings.Join(names, ", ")
	}
	return nil, fault.WithHint(fault.New(fault.Refused, "find publisher %.40q: the organisation trusts none of that name", name), "%s", hint)
}

// setPublisher signs a publisher's record; its file is the root of the catalogue.
func setPublisher(e *repository.Edit, g Grant) error {
	custom, err := g.record().Custom()
	if err != nil {
		return err
	}
	return e.SetTarget(repository.RoleTargets, metadata.PublisherPath(g.Trust.Publisher), repository.Target{
		Length: int64(len(g.Trust.Root)), SHA256: piecehash.Hash(sha256.Sum256(g.Trust.Root)), Custom: custom,
	})
}

// keepRoot keeps a catalogue's root file for the mirror, under its hash, and publishes it. Until the record is signed
// nobody asks for either, and one that was signed before stays beside it.
func keepRoot(at folder, t *metadata.Trust) error {
	if err := durable.WriteFile(at.trusted(t.Publisher, sha256.Sum256(t.Root)), t.Root, 0o600); err != nil {
		return err
	}
	return publishTarget(at, metadata.PublisherPath(t.Publisher), t.Root)
}

// trustOf gives what the mirror of a publisher starts from: the root file that was added, held against the hash that the
// organisation has signed, and everything else as it was signed.
func (d *Depot) trustOf(p *metadata.Publisher) (*metadata.Trust, error) {
	view, err := d.repo.View()
	if err != nil {
		return nil, err
	}
	signed, ok := view.Target(repository.RoleTargets, metadata.PublisherPath(p.Name))
	if !ok {
		return nil, addAgain(fault.Usage, p.Name, errors.New("the publisher was removed meanwhile"))
	}
	root, err := readBounded(d.at.trusted(p.Name, signed.SHA256), signed.Length)
	if err != nil {
		return nil, addAgain(fault.Unavailable, p.Name, err)
	}
	if signed.SHA256 != piecehash.Hash(sha256.Sum256(root)) {
		return nil, addAgain(fault.Untrusted, p.Name, errors.New("it is not the one that was signed"))
	}
	return &metadata.Trust{
		Format: metadata.TrustFormat, Publisher: p.Name, Root: root, Keys: p.Keys,
		Catalogues: p.Catalogues, CA: p.CA, Pins: p.Pins, Origins: p.Origins,
	}, nil
}

func addAgain(kind fault.Kind, name string, why error) error {
	return fault.WithHint(fault.New(kind, "read the root of %s's catalogue: %w", name, why), "add the publisher again with `dunlin depot publisher add`")
}
