package publish

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/repository"
)

// Rotated says what Rotate did.
type Rotated struct {
	Keys   []KeyInfo   `json:"keys"`   // the new ones
	Signed []string    `json:"signed"` // roles that got a new version
	Roles  []RoleState `json:"roles"`
}

// Rotate signs a new root, for another year, and puts a new key in the place of each named one (root, targets, online).
// It needs the passphrase. Devices and depots follow by themselves: the new root is signed by the old key and the new.
// The old key files stay where they are; after a theft, destroy them by hand.
func (p *Publisher) Rotate(ctx context.Context, names []string, now time.Time) (*Rotated, error) {
	for _, name := range names {
		if !slices.Contains([]string{keyRoot, keyTargets, keyOnline}, name) {
			return nil, fault.New(fault.Usage, "rotate key %.40q: there are root, targets and online", name)
		}
	}
	out := &Rotated{Keys: []KeyInfo{}}
	err := p.locked(ctx, func(s *settings) error {
		v, err := p.repo.View()
		if err != nil {
			return err
		}
		by, err := p.signers(s, v, repository.RoleRoot, repository.RoleSnapshot)
		if err != nil {
			return err
		}
		fresh, err := p.newKeys(s, slices.Compact(slices.Sorted(slices.Values(names))), out)
		if err != nil {
			return err
		}
		for _, k := range fresh {
			by = append(by, k)
		}
		report, err := p.repo.Update(ctx, now, by, func(e *repository.Edit) error { return rotate(e, fresh) })
		if err != nil {
			return err
		}
		out.Signed, out.Roles = listed(report.Signed), roleStates(report.Roles, now)
		return p.writeTrust(s)
	})
	return out, err
}

func rotate(e *repository.Edit, fresh map[string]crypto.Signer) error {
	if err := e.Touch(repository.RoleRoot); err != nil {
		return err
	}
	for name, key := range fresh {
		roles := map[string][]string{
			keyRoot: {repository.RoleRoot}, keyTargets: {repository.RoleTargets},
			keyOnline: {repository.RoleSnapshot, repository.RoleTimestamp},
		}[name]
		for _, role := range roles {
			if err := e.SetKeys(role, repository.One(key.Public())); err != nil {
				return err
			}
		}
	}
	return nil
}

// newKeys makes the key files and notes them in the settings before any of them is used, so that a crash between never
// leaves a catalogue whose key nobody finds.
func (p *Publisher) newKeys(s *settings, names []string, out *Rotated) (map[string]crypto.Signer, error) {
	fresh := map[string]crypto.Signer{}
	for _, name := range names {
		file := keyFile{Name: p.freeName(name), Offline: name != keyOnline}
		var err error
		if file.Offline {
			var passphrase []byte
			if passphrase, err = p.unlock(); err != nil {
				return nil, err
			}
			fresh[name], err = p.store.NewOffline(file.Name, passphrase)
		} else {
			fresh[name], err = p.store.NewOnline(file.Name)
		}
		if err != nil {
			return nil, err
		}
		if file.ID, err = repository.KeyID(fresh[name].Public()); err != nil {
			return nil, err
		}
		s.Keys = append(s.Keys, file)
		out.Keys = append(out.Keys, KeyInfo{file.Name, "replaces " + name, p.keyPath(file), file.ID, file.Offline})
	}
	if len(names) == 0 {
		return fresh, nil
	}
	return fresh, writeJSON(p.settings(), s, 0o600)
}

func (p *Publisher) keyPath(f keyFile) string {
	if f.Offline {
		return p.store.OfflinePath(f.Name)
	}
	return p.store.OnlinePath(f.Name)
}

// freeName finds root-2, root-3, ... that no file has yet.
func (p *Publisher) freeName(name string) string {
	for n := 2; ; n++ {
		try := name + "-" + strconv.Itoa(n)
		_, offline := os.Lstat(p.store.OfflinePath(try))
		_, online := os.Lstat(p.store.OnlinePath(try))
		if errors.Is(offline, fs.ErrNotExist) && errors.Is(online, fs.ErrNotExist) {
			return try
		}
	}
}

// writeTrust writes the trust file anew, with the newest root, so that who gets it now need not follow all the steps.
func (p *Publisher) writeTrust(s *settings) error {
	v, err := p.repo.View()
	if err != nil {
		return err
	}
	roots := v.Roots()
	text, err := s.trust(roots[len(roots)-1]).Encode()
	if err != nil {
		return fmt.Errorf("write trust file: %w", err)
	}
	return durable.WriteFile(p.trust(), text, publicMode)
}
