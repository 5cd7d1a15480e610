package publish

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository"
)

// Released says what Release did.
type Released struct {
	Added     []string    `json:"added"`     // catalogue paths
	Withdrawn []string    `json:"withdrawn"` // catalogue paths
	Signed    []string    `json:"signed"`    // roles that got a new version; empty: nothing was due
	Roles     []RoleState `json:"roles"`
}

// Release signs the catalogue with everything that is staged, using the offline targets key and the online key, and
// publishes it. With nothing staged it signs targets, snapshot and timestamp anew if half of the life of targets is
// over, or when forced.
func (p *Publisher) Release(ctx context.Context, now time.Time, force bool) (Released, error) {
	var out Released
	err := p.locked(ctx, func(s *settings) error {
		var err error
		out, err = p.release(ctx, s, now, force)
		return err
	})
	return out, err
}

func (p *Publisher) release(ctx context.Context, s *settings, now time.Time, force bool) (Released, error) {
	b, err := p.book()
	if err != nil {
		return Released{}, err
	}
	if err := p.checkContents(b); err != nil {
		return Released{}, err
	}
	v, err := p.repo.View()
	if err != nil {
		return Released{}, err
	}
	targets, _ := v.Role(repository.RoleTargets)
	sign := force || repository.CatalogueLifetimes().Due(targets, now)
	var by []crypto.Signer
	if sign || !b.staged.empty() {
		if by, err = p.signers(s, v, repository.RoleTargets, repository.RoleSnapshot, repository.RoleTimestamp); err != nil {
			return Released{}, err
		}
	}
	if err := p.retire(s, b); err != nil {
		return Released{}, err
	}
	report, err := p.repo.Update(ctx, now, by, func(e *repository.Edit) error {
		if sign {
			if err := e.Touch(repository.RoleTargets); err != nil {
				return err
			}
		}
		return b.staged.apply(e)
	})
	if err != nil {
		return Released{}, err
	}
	out := Released{listed(slices.Sorted(maps.Keys(b.added))), listed(b.staged.Withdrawn), listed(report.Signed), roleStates(report.Roles, now)}
	return out, durable.Remove(p.staged())
}

// retire remembers the release counters of what is about to be withdrawn, before it is gone.
func (p *Publisher) retire(s *settings, b *book) error {
	changed := false
	for _, path := range b.staged.Withdrawn {
		t := b.published[path]
		if t == nil || slices.Contains(s.Retired[t.Update.ID], t.Update.Release) {
			continue
		}
		if s.Retired == nil {
			s.Retired = map[string][]int64{}
		}
		s.Retired[t.Update.ID] = append(s.Retired[t.Update.ID], t.Update.Release)
		changed = true
	}
	if !changed {
		return nil
	}
	return diskFault(writeJSON(p.settings(), s, 0o600))
}

// checkContents refuses to announce a payload that the web server does not have.
func (p *Publisher) checkContents(b *book) error {
	for _, path := range slices.Sorted(maps.Keys(b.added)) {
		t := b.added[path]
		info, err := os.Lstat(p.content(t.Update.Root))
		if err != nil || !info.Mode().IsRegular() || info.Size() != t.Length {
			return fault.WithHint(fault.New(fault.Refused, "release %s: its payload is not whole in %s", path, p.contents()),
				"add it again: dunlin publish add %s FILE --id %s --version %s ...", p.dir, t.Update.ID, t.Update.Version)
		}
	}
	return nil
}

// Withdraw stages that one update leaves the catalogue with the next release, or forgets it if it was only staged. Its
// payload stays where it is, for devices in the middle of it. An update that is nowhere is fault.Usage.
func (p *Publisher) Withdraw(ctx context.Context, id, version string) error {
	path := metadata.CataloguePath(id, version)
	return p.locked(ctx, func(*settings) error {
		b, err := p.book()
		if err != nil {
			return err
		}
		if b.targets()[path] == nil {
			return fault.WithHint(fault.New(fault.Usage, "withdraw %s: there is none", path), "see what there is: dunlin publish list %s", p.dir)
		}
		delete(b.staged.Targets, path)
		if b.published[path] != nil && !slices.Contains(b.staged.Withdrawn, path) {
			b.staged.Withdrawn = append(b.staged.Withdrawn, path)
		}
		return p.writeStaged(b.staged)
	})
}

// Sweep deletes the payloads that neither the catalogue nor a staged update names any more, and what interrupted calls
// left behind. It returns the paths of what it deleted.
func (p *Publisher) Sweep(ctx context.Context) ([]string, error) {
	var gone []string
	err := p.locked(ctx, func(*settings) error {
		b, err := p.book()
		if err != nil {
			return err
		}
		keep := map[string]bool{}
		for _, t := range slices.Concat(slices.Collect(maps.Values(b.published)), slices.Collect(maps.Values(b.added))) {
			for _, path := range []string{p.content(t.Update.Root), p.signature(t.Update.Root), p.layer(t.Update.Root)} {
				keep[path] = true
			}
		}
		for _, dir := range []string{p.contents(), p.layers()} {
			deleted, err := sweep(dir, keep)
			gone = append(gone, deleted...)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return gone, err
}

func sweep(dir string, keep map[string]bool) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	var gone []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if keep[path] || !e.Type().IsRegular() {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return gone, fmt.Errorf("sweep: %w", err)
		}
		gone = append(gone, path)
	}
	return gone, durable.SyncDir(dir)
}
