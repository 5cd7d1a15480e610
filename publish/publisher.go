package publish

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/filelock"
	"github.com/dunlin-project/dunlin/metadata/repository"
	"github.com/dunlin-project/dunlin/metadata/repository/ca"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
)

// Publisher is one publisher's folder. It keeps nothing in memory that another process might change; every call that
// changes something holds the lock of the folder. It is safe for concurrent use.
type Publisher struct {
	layout
	store  *keys.Store
	unlock keys.Unlock
	repo   *repository.Repository
}

// Open opens a folder that Init made. The record of the catalogue is verified. A folder that is none is fault.Usage.
func Open(c Config) (*Publisher, error) {
	l, store, err := c.open()
	if err != nil {
		return nil, err
	}
	if _, err := l.readSettings(); err != nil {
		return nil, err
	}
	repo, err := repository.Open(l.repository())
	if err != nil {
		return nil, err
	}
	return &Publisher{l, store, c.Unlock, repo}, nil
}

// Dir returns the absolute path of the folder.
func (p *Publisher) Dir() string { return p.dir }

// locked runs do while no other process changes the folder.
func (p *Publisher) locked(ctx context.Context, do func(*settings) error) error {
	lock, err := filelock.Acquire(ctx, p.lock())
	if err != nil {
		return err
	}
	s, err := p.readSettings()
	if err == nil {
		err = do(s)
	}
	return errors.Join(err, lock.Release())
}

// signers reads the keys of the named roles, each once.
func (p *Publisher) signers(s *settings, v *repository.View, roles ...string) ([]crypto.Signer, error) {
	var ids []string
	for _, name := range roles {
		role, _ := v.Role(name)
		ids = append(ids, role.KeyIDs...)
	}
	slices.Sort(ids)
	var out []crypto.Signer
	for _, id := range slices.Compact(ids) {
		file, ok := s.find(id)
		if !ok {
			continue // another holder's key; the repository says so when the threshold is missed
		}
		signer, err := p.signer(file)
		if err != nil {
			return nil, err
		}
		out = append(out, signer)
	}
	return out, nil
}

func (p *Publisher) signer(file keyFile) (crypto.Signer, error) {
	if file.Offline {
		return p.store.OfflineSigner(file.Name, p.unlock)
	}
	return p.store.OnlineSigner(file.Name)
}

// RoleState says how long a role is still good.
type RoleState struct {
	Role    string    `json:"role"`
	Version int64     `json:"version"`
	Expires time.Time `json:"expires"`
	Due     bool      `json:"due"`     // half of its life is over: sign it anew
	Expired bool      `json:"expired"` // clients refuse the catalogue until it is signed anew
}

func roleStates(roles []repository.RoleStatus, now time.Time) []RoleState {
	lifetimes := repository.CatalogueLifetimes()
	out := make([]RoleState, len(roles))
	for i, r := range roles {
		out[i] = RoleState{r.Name, r.Version, r.Expires, lifetimes.Due(r, now), !now.Before(r.Expires)}
	}
	return out
}

// listed makes an empty list of a nil one, for JSON.
func listed(list []string) []string { return append([]string{}, list...) }

// Refreshed says what Refresh did.
type Refreshed struct {
	Signed []string    `json:"signed"` // roles that got a new version
	Roles  []RoleState `json:"roles"`
}

// Refresh signs timestamp and snapshot anew with the online key when half of their life is over, or when forced. It
// needs no passphrase: it is for a timer. It also completes a release that was interrupted. When a role that needs an
// offline key has run out, the error is fault.Refused, beside what was done: a timer that succeeds in silence while
// devices refuse the catalogue would help nobody.
func (p *Publisher) Refresh(ctx context.Context, now time.Time, force bool) (Refreshed, error) {
	var out Refreshed
	err := p.locked(ctx, func(s *settings) error {
		v, err := p.repo.View()
		if err != nil {
			return err
		}
		online, err := p.signers(s, v, repository.RoleSnapshot, repository.RoleTimestamp)
		if err != nil {
			return err
		}
		report, err := p.repo.Refresh(ctx, now, online, force)
		out = Refreshed{listed(report.Signed), roleStates(report.Roles, now)}
		return err
	})
	if err != nil {
		return out, err
	}
	for _, r := range out.Roles {
		if r.Expired {
			return out, fault.WithHint(fault.New(fault.Refused, "refresh: role %s ran out at %v, devices refuse the catalogue", r.Role, r.Expires.Format(time.RFC3339)),
				"%s", p.renewal(r.Role))
		}
	}
	return out, nil
}

// renewal says which command signs a role anew.
func (p *Publisher) renewal(role string) string {
	if role == repository.RoleRoot {
		return "dunlin publish rotate " + p.dir
	}
	return "dunlin publish release " + p.dir
}

// Authority reads the certificate authority of the catalogue's web server; it needs the passphrase.
func (p *Publisher) authority() (*ca.Authority, error) {
	b, err := p.store.Offline(keyCA, p.unlock)
	if err != nil {
		return nil, err
	}
	a, err := ca.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", keyCA, err)
	}
	return a, nil
}
