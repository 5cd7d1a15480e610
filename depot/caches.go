package depot

import (
	"context"
	"crypto"
	"fmt"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
)

// Caches returns the base URLs of the caching nodes that the organisation has signed.
func (d *Depot) Caches() ([]string, error) {
	view, err := d.repo.View()
	if err != nil {
		return nil, err
	}
	fleet, err := readFleet(view.Target(repository.RoleTargets, metadata.FleetTarget))
	if err != nil {
		return nil, err
	}
	return fleet.Caches, nil
}

// SetCaches signs the base URLs of the caching nodes that devices ask by HTTP, in place of those before. Nothing else of the fleet
// record changes. It needs the offline targets key.
func (d *Depot) SetCaches(ctx context.Context, bases []string, unlock keys.Unlock, now time.Time) error {
	signer, err := d.keys.OfflineSigner(keyTargets, unlock)
	if err != nil {
		return err
	}
	return d.update(ctx, now, []crypto.Signer{signer}, func(e *repository.Edit) error {
		t, ok := e.Targets(repository.RoleTargets)[metadata.FleetTarget]
		fleet, err := readFleet(t, ok)
		if err != nil {
			return err
		}
		fleet.Caches = bases
		if t.Custom, err = fleet.Custom(); err != nil {
			return fault.New(fault.Usage, "sign caching nodes: %w", err)
		}
		return e.SetTarget(repository.RoleTargets, metadata.FleetTarget, t)
	})
}

func readFleet(t repository.Target, ok bool) (*metadata.Fleet, error) {
	if !ok {
		return nil, fault.New(fault.Untrusted, "read %s: it is not among what was signed", metadata.FleetTarget)
	}
	fleet, err := metadata.ParseFleet(t.Custom)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", metadata.FleetTarget, err)
	}
	return fleet, nil
}
