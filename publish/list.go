package publish

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// State of an update in the publisher's folder.
type State string

// The states.
const (
	StatePublished  State = "published"
	StateStaged     State = "staged"     // comes with the next release
	StateWithdrawal State = "withdrawal" // published, leaves with the next release
)

// Entry is one update in a Listing.
type Entry struct {
	ID       string         `json:"id"`
	Version  string         `json:"version"`
	Release  int64          `json:"release"`
	State    State          `json:"state"`
	Kind     metadata.Kind  `json:"kind"`
	Handler  string         `json:"handler"`
	Title    string         `json:"title,omitempty"`
	Released time.Time      `json:"released"`
	Length   int64          `json:"length"`
	SHA256   piecehash.Hash `json:"sha256"`
	Root     piecehash.Root `json:"root"`
}

// Listing is everything in the publisher's folder.
type Listing struct {
	Publisher   string      `json:"publisher"`
	Fingerprint string      `json:"fingerprint"` // of the trust file
	Catalogues  []string    `json:"catalogues"`
	Updates     []Entry     `json:"updates"` // by id, then release
	Roles       []RoleState `json:"roles"`
}

// List reads what is published and staged, and how long the signatures last.
func (p *Publisher) List(now time.Time) (*Listing, error) {
	s, err := p.readSettings()
	if err != nil {
		return nil, err
	}
	b, err := p.book()
	if err != nil {
		return nil, err
	}
	v, err := p.repo.View()
	if err != nil {
		return nil, err
	}
	roots := v.Roots()
	out := &Listing{
		Publisher: s.Publisher, Fingerprint: s.trust(roots[len(roots)-1]).Fingerprint().String(), Catalogues: s.Catalogues,
		Updates: []Entry{}, Roles: roleStates(v.Roles(), now),
	}
	for path, t := range b.published {
		state := StatePublished
		if slices.Contains(b.staged.Withdrawn, path) {
			state = StateWithdrawal
		}
		out.Updates = append(out.Updates, entryOf(t, state))
	}
	for t := range maps.Values(b.added) {
		out.Updates = append(out.Updates, entryOf(t, StateStaged))
	}
	slices.SortFunc(out.Updates, compareEntries)
	return out, nil
}

func entryOf(t *metadata.Target, state State) Entry {
	u := t.Update
	return Entry{
		ID: u.ID, Version: u.Version, Release: u.Release, State: state, Kind: u.Kind, Handler: u.Handler, Title: u.Title,
		Released: u.Released, Length: t.Length, SHA256: t.SHA256, Root: u.Root,
	}
}

func compareEntries(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Release, b.Release), cmp.Compare(a.Version, b.Version), cmp.Compare(a.State, b.State))
}
