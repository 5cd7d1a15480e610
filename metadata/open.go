package metadata

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/tuf"
)

// Open verifies a bundle against the anchor, a root file of the approvals, and joins the two repositories. It is the
// only maker of a View, and needs neither a network nor a disk.
//
// Approvals that do not verify or have run out are an error, untrusted or unavailable, because without them nobody has
// said anything. A catalogue that does not verify, has run out or is missing only takes its own updates away: see
// Catalogue.Err and View.Refusals.
func Open(anchor []byte, b Bundle, now time.Time) (*View, error) {
	return open(anchor, b, now, nil)
}

// open is Open for a caller that knows better why a catalogue is not in the bundle.
func open(anchor []byte, b Bundle, now time.Time, missing map[string]error) (*View, error) {
	a, err := openApprovals(anchor, b.Approvals, now)
	if err != nil {
		return nil, fmt.Errorf("open approvals: %w", err)
	}
	v := &View{
		now: a.updater.Now(), behind: a.updater.ClockBehind(), expires: a.updater.Expires(), fleet: a.fleet,
		byName: map[string]*Catalogue{}, rings: map[string]*ringView{},
	}
	for _, p := range a.publishers {
		c := openCatalogue(p, b.Catalogues[p.name], v.now, missing[p.name])
		v.catalogues = append(v.catalogues, c)
		v.byName[p.name] = c
	}
	for _, role := range a.updater.Roles() {
		if ring, ok := RingOfRole(role); ok {
			v.rings[ring] = &ringView{}
		}
	}
	for _, t := range a.approved {
		v.join(t)
	}
	return v, nil
}

// approvals is the organisation's repository, verified and sorted by what its targets are.
type approvals struct {
	updater    *tuf.Updater
	fleet      *Fleet
	publishers []trusted
	approved   []tuf.Target
}

// trusted is a publisher of the approvals. err says why its record cannot be used.
type trusted struct {
	name   string
	record *Publisher
	root   []byte
	err    error
}

func openApprovals(anchor []byte, files Files, now time.Time) (*approvals, error) {
	u, err := tuf.New(tuf.Config{Anchor: anchor, Source: tuf.Memory(files)}, now)
	if err != nil {
		return nil, err
	}
	// Nothing is waited for: the source is in memory.
	ctx := context.Background()
	if err := u.Refresh(ctx); err != nil {
		return nil, err
	}
	if err := u.LoadRoles(ctx, files.hasRole); err != nil {
		return nil, err
	}
	return sortApprovals(ctx, u)
}

// hasRole reports whether the files hold any version of a role. A device's bundle holds its own ring alone.
func (f Files) hasRole(role string) bool {
	for name := range f {
		if strings.HasSuffix(name, "."+role+".json") {
			return true
		}
	}
	return false
}

// sortApprovals takes the verified targets apart. Publishers and fleet are for the top-level role alone to name.
func sortApprovals(ctx context.Context, u *tuf.Updater) (*approvals, error) {
	a := &approvals{updater: u}
	for _, t := range u.Targets() {
		name, isPublisher := strings.CutPrefix(t.Path, PublisherPath(""))
		top := t.Role == topRole
		switch {
		case top && t.Path == FleetTarget:
			fleet, err := ParseFleet(t.Custom)
			if err != nil {
				return nil, fmt.Errorf("target %s: %w", FleetTarget, err)
			}
			a.fleet = fleet
		case top && isPublisher && CheckPublisher(name) == nil:
			p, err := openPublisher(ctx, u, name, t)
			if err != nil {
				return nil, err
			}
			a.publishers = append(a.publishers, p)
		case strings.Count(t.Path, "/") == 3:
			a.approved = append(a.approved, t)
		}
	}
	if a.fleet == nil {
		return nil, fault.New(fault.Refused, "there is no target %q: nobody has said what holds for the fleet", FleetTarget)
	}
	return a, nil
}

const topRole = "targets"

// openPublisher reads a trust record and gets the catalogue's root. A record that a newer agent would understand takes
// only the publisher away; a root that is not the signed one is an error of the whole repository.
func openPublisher(ctx context.Context, u *tuf.Updater, name string, t tuf.Target) (trusted, error) {
	p := trusted{name: name}
	p.record, p.err = ParsePublisher(t.Custom)
	if p.err == nil && p.record.Name != name {
		p.err = refuse("the record is about %q", p.record.Name)
	}
	if p.err != nil {
		p.err = fmt.Errorf("publisher %s: %w", name, p.err)
		return p, nil
	}
	var err error
	if p.root, err = u.TargetFile(ctx, t, tuf.MaxRootSize); err != nil {
		return p, fmt.Errorf("root of publisher %s: %w", name, err)
	}
	return p, nil
}
