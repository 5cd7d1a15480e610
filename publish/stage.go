package publish

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"slices"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository"
	"github.com/dunlin-project/dunlin/piecehash"
)

const stagedFormat = "dunlin-staged/1"

// staged is what the next release will change.
type staged struct {
	Format    string                  `json:"format"`
	Targets   map[string]stagedTarget `json:"targets"`   // by path, to add
	Withdrawn []string                `json:"withdrawn"` // paths to take out
}

type stagedTarget struct {
	Length int64           `json:"length"`
	SHA256 piecehash.Hash  `json:"sha256"`
	Custom json.RawMessage `json:"custom"`
}

func (t stagedTarget) target() repository.Target {
	return repository.Target{Length: t.Length, SHA256: t.SHA256, Custom: t.Custom}
}

func (l layout) readStaged() (*staged, error) {
	s := new(staged)
	if err := readFile(l.staged(), s); errors.Is(err, fs.ErrNotExist) {
		return &staged{Format: stagedFormat, Targets: map[string]stagedTarget{}}, nil
	} else if err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, fault.WithHint(fault.New(fault.Untrusted, "read %s: %w", l.staged(), err), "restore it from your copy, or delete it and add the updates again")
	}
	return s, nil
}

// check parses every record again: what is staged gets signed.
func (s *staged) check() error {
	if s.Format != stagedFormat {
		return fault.New(fault.Refused, "format %.40q, this program knows %q", s.Format, stagedFormat)
	}
	if s.Targets == nil {
		s.Targets = map[string]stagedTarget{}
	}
	for path, t := range s.Targets {
		if _, err := parseTarget(path, t.target()); err != nil {
			return err
		}
	}
	return nil
}

func (l layout) writeStaged(s *staged) error { return writeJSON(l.staged(), s, 0o600) }

func (s *staged) empty() bool { return len(s.Targets) == 0 && len(s.Withdrawn) == 0 }

// apply changes the catalogue. It does nothing a second time, so that a release which was cut after signing and before
// the list was emptied may be run again.
func (s *staged) apply(e *repository.Edit) error {
	for _, path := range s.Withdrawn {
		e.RemoveTarget(repository.RoleTargets, path)
	}
	for _, path := range slices.Sorted(maps.Keys(s.Targets)) {
		if err := e.SetTarget(repository.RoleTargets, path, s.Targets[path].target()); err != nil {
			return err
		}
	}
	return nil
}

// parseTarget turns a target of the repository into the domain's, and checks that path and record belong together.
func parseTarget(path string, t repository.Target) (*metadata.Target, error) {
	u, record, err := metadata.ParseUpdate(t.Custom)
	if err != nil {
		return nil, fault.New(fault.Refused, "read target %s: %w", path, err)
	}
	if want := metadata.CataloguePath(u.ID, u.Version); want != path {
		return nil, fault.New(fault.Refused, "read target %s: its record is of %s", path, want)
	}
	out := &metadata.Target{Path: path, Length: t.Length, SHA256: t.SHA256, Record: record, Update: u}
	if _, err := out.Content(); err != nil {
		return nil, fault.New(fault.Refused, "read target %s: %w", path, err)
	}
	return out, nil
}

// book is everything that is published or about to be, by path.
type book struct {
	published map[string]*metadata.Target
	staged    *staged
	added     map[string]*metadata.Target
}

func (p *Publisher) book() (*book, error) {
	v, err := p.repo.View()
	if err != nil {
		return nil, err
	}
	b := &book{published: map[string]*metadata.Target{}, added: map[string]*metadata.Target{}}
	if b.staged, err = p.readStaged(); err != nil {
		return nil, err
	}
	for path, t := range v.Targets(repository.RoleTargets) {
		if b.published[path], err = parseTarget(path, t); err != nil {
			return nil, err
		}
	}
	for path, t := range b.staged.Targets {
		if b.added[path], err = parseTarget(path, t.target()); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// targets returns what the catalogue will hold after the next release.
func (b *book) targets() map[string]*metadata.Target {
	out := maps.Clone(b.published)
	for _, path := range b.staged.Withdrawn {
		delete(out, path)
	}
	maps.Copy(out, b.added)
	return out
}
