package metadata

import (
	"context"
	"fmt"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/tuf"
)

// Catalogue is one publisher's catalogue, as far as it verified.
type Catalogue struct {
	publisher string
	record    *Publisher // nil for a catalogue that came straight from its publisher
	targets   []*Target
	byPath    map[string]*Target
	refused   map[string]error
	files     Files
	expires   time.Time
	stale     error
	err       error
}

// Publisher returns the publisher's name.
func (c *Catalogue) Publisher() string { return c.publisher }

// Targets returns all updates that this reader understands, in the order of their paths.
func (c *Catalogue) Targets() []*Target { return c.targets }

// Target returns the update at a path.
func (c *Catalogue) Target(path string) (*Target, bool) {
	t, ok := c.byPath[path]
	return t, ok
}

// Refused returns why a target that the catalogue signs is not among Targets, by path.
func (c *Catalogue) Refused() map[string]error { return c.refused }

// Files returns the raw files, to be kept and served byte for byte. They are enough to verify the catalogue again from
// the same root.
func (c *Catalogue) Files() Files { return c.files }

// Expires returns when the catalogue runs out.
func (c *Catalogue) Expires() time.Time { return c.expires }

// Stale returns why nothing may be installed from the catalogue although it verified, because it has run out; or nil.
func (c *Catalogue) Stale() error { return c.stale }

// Err returns why there is nothing in the catalogue at all: it did not verify (untrusted), is not there (unavailable), or
// the publisher's trust record needs a newer agent (refused). It is nil for one that has run out.
func (c *Catalogue) Err() error { return c.err }

// openCatalogue verifies the catalogue of a publisher. It never fails: what is wrong is in Err.
func openCatalogue(p trusted, files Files, now time.Time, missing error) *Catalogue {
	c := &Catalogue{publisher: p.name, record: p.record, byPath: map[string]*Target{}}
	switch {
	case p.err != nil:
		c.err = p.err
	case missing != nil:
		c.err = missing
	case len(files) == 0:
		c.err = fault.New(fault.Unavailable, "open catalogue of %s: it is not there", p.name)
	default:
		c.err = c.verify(p.root, files, now)
	}
	return c
}

func (c *Catalogue) verify(root []byte, files Files, now time.Time) error {
	u, err := tuf.New(tuf.Config{Anchor: root, Source: tuf.Memory(files), AllowExpired: true}, now)
	if err == nil {
		err = u.Refresh(context.Background()) // nothing is waited for: the source is in memory
	}
	if err == nil {
		err = u.LoadRoles(context.Background(), nil)
	}
	if err != nil {
		return fmt.Errorf("open catalogue of %s: %w", c.publisher, err)
	}
	c.fill(u)
	return nil
}

// fill takes over what an updater has verified.
func (c *Catalogue) fill(u *tuf.Updater) {
	c.files, c.expires, c.stale = u.Files(), u.Expires(), u.Stale()
	if c.stale != nil {
		c.stale = fmt.Errorf("catalogue of %s: %w", c.publisher, c.stale)
	}
	c.refused = map[string]error{}
	for _, t := range u.Targets() {
		target, err := c.read(t)
		if err != nil {
			c.refused[t.Path] = err
			continue
		}
		c.targets = append(c.targets, target)
		c.byPath[t.Path] = target
	}
}

// read makes an update of a target that is sound in itself.
func (c *Catalogue) read(t tuf.Target) (*Target, error) {
	u, digest, err := ParseUpdate(t.Custom)
	if err != nil {
		return nil, err
	}
	sum, ok := t.SHA256()
	err = firstError(
		demand(ok, "the payload is named by other hashes than one of SHA-256"),
		demand(u.Publisher == c.publisher, "the record is of publisher %q", u.Publisher),
		demand(t.Path == CataloguePath(u.ID, u.Version), "the record is of %s %s", u.ID, u.Version))
	if err != nil {
		return nil, err
	}
	target := &Target{Path: t.Path, Length: t.Length, SHA256: sum, Record: digest, Update: u}
	if _, err := target.Content(); err != nil {
		return nil, refuse("%w", err)
	}
	return target, nil
}
