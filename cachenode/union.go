package cachenode

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Union is a Catalogue of several. What one of them refuses is refused, whatever the others say; of content that several
// know, the first says what it is, and all say where.
type Union []Catalogue

// Find implements Catalogue. What one of them knows is found although another is not ready to say.
func (u Union) Find(root piecehash.Root) (*Item, error) {
	items := make(map[piecehash.Root]*Item, 1)
	worst := ErrUnknown
	for _, c := range u {
		item, err := c.Find(root)
		switch {
		case err == nil:
			merge(items, item)
		case fault.Is(err, fault.Refused):
			return nil, err
		case !errors.Is(err, ErrUnknown):
			worst = err
		}
	}
	if item := items[root]; item != nil {
		return item, nil
	}
	return nil, worst
}

// Refresh implements Catalogue: what the first wants comes first.
func (u Union) Refresh(ctx context.Context) (out []piecehash.Root) {
	seen := make(map[piecehash.Root]bool)
	for _, c := range u {
		for _, root := range c.Refresh(ctx) {
			if !seen[root] {
				seen[root] = true
				out = append(out, root)
			}
		}
	}
	return slices.Clip(out)
}

// Expires implements Expirer: it is the earliest of those that hold for a time only, zero if none does.
func (u Union) Expires() (first time.Time) {
	for _, c := range u {
		e, ok := c.(Expirer)
		if !ok {
			continue
		}
		if t := e.Expires(); !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// FindOrigin returns the content that has an origin at a URL, which is in the form of urlcache.Canonical.
func (u Union) FindOrigin(url string) (piecehash.Root, bool) {
	for _, c := range u {
		if known, ok := c.(byOrigin); ok {
			if root, ok := known.FindOrigin(url); ok {
				return root, true
			}
		}
	}
	return piecehash.Root{}, false
}
