package metadata

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/tuf"
	"github.com/dunlin-project/dunlin/piecehash"
)

// approved is one approval on its way into the view.
type approved struct {
	ring, version string
	key           Key
	length        int64
	sum           piecehash.Hash
	record        *Approval
	catalogue     *Catalogue // nil when the organisation does not trust the publisher
}

// join puts one approval where it belongs: among offers, holds, removals, or refusals.
func (v *View) join(t tuf.Target) {
	ring, _, _ := strings.Cut(t.Path, "/")
	if t.Role != topRole && t.Role != RingRole(ring) {
		return // a role speaks for its own ring only
	}
	r := v.rings[ring]
	if r == nil {
		r = &ringView{}
		v.rings[ring] = r
	}
	a, err := v.readApproval(t)
	if err == nil {
		err = r.add(a)
	}
	if err != nil {
		r.refusals = append(r.refusals, Refusal{a.key, a.version, a.record, fmt.Errorf("approval %s: %w", t.Path, err)})
	}
}

func (v *View) readApproval(t tuf.Target) (approved, error) {
	part := strings.Split(t.Path, "/")
	a := approved{ring: part[0], key: Key{part[1], part[2]}, version: part[3], length: t.Length, catalogue: v.byName[part[1]]}
	if err := firstError(CheckRing(part[0]), CheckPublisher(part[1]), CheckID(part[2]), CheckVersion(part[3])); err != nil {
		return a, err
	}
	record, err := ParseApproval(t.Custom)
	if err != nil {
		return a, err
	}
	a.record = record
	if want := CataloguePath(a.key.ID, a.version); record.Catalogue != want {
		return a, refuse("it names %q in the catalogue", record.Catalogue)
	}
	sum, ok := t.SHA256()
	a.sum = sum
	return a, demand(ok, "the payload is named by other hashes than one of SHA-256")
}

func (r *ringView) add(a approved) error {
	switch {
	case a.record.Action == ActionHold:
		// Leaving something alone needs nobody's word but the organisation's.
		r.holds = append(r.holds, a.directive())
		return nil
	case a.catalogue == nil:
		return refuse("the organisation does not trust publisher %s", a.key.Publisher)
	case a.record.Action == ActionRemove:
		return r.addRemoval(a)
	default:
		return r.addOffer(a)
	}
}

// target finds what was approved in the catalogue, byte for byte. It is nil without an error when the catalogue does not
// have it.
func (a approved) target() (*Target, error) {
	if a.catalogue == nil {
		return nil, nil
	}
	t, ok := a.catalogue.Target(a.record.Catalogue)
	if !ok {
		return nil, nil
	}
	if t.Length != a.length || t.SHA256 != a.sum {
		return nil, fault.WithHint(
			fault.New(fault.Untrusted, "what was approved has %d bytes with SHA-256 %v, the catalogue signs %d with %v", a.length, a.sum, t.Length, t.SHA256),
			"ask the publisher why one version has two contents, and do not approve it before you know")
	}
	if t.Record != a.record.Record {
		return nil, fault.WithHint(refuse("the publisher has changed the record since it was approved"), "look at the change and approve it again")
	}
	return t, nil
}

func (a approved) directive() Directive {
	d := Directive{Key: a.key, Version: a.version, Length: a.length, SHA256: a.sum, Approval: a.record}
	if t, err := a.target(); err == nil {
		d.Target = t
	}
	return d
}

// addRemoval lets the device remove what the catalogue calls removable. Where the catalogue no longer has it, the record
// that was kept at the installation decides; that is for the device to look at.
func (r *ringView) addRemoval(a approved) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	if t != nil && t.Update.Removable == nil {
		return refuse("its publisher does not call it removable")
	}
	r.removals = append(r.removals, a.directive())
	return nil
}

func (r *ringView) addOffer(a approved) error {
	t, err := a.agreed()
	if err != nil {
		return err
	}
	content, err := t.Content()
	if err != nil {
		return refuse("%w", err)
	}
	r.offers = append(r.offers, Offer{a.ring, a.catalogue.record, t, a.record, content})
	return nil
}

// agreed returns the target if both sides agree on it and the organisation trusts the publisher that far.
func (a approved) agreed() (*Target, error) {
	c := a.catalogue
	if c.err != nil {
		return nil, c.err
	}
	t, err := a.target()
	switch {
	case err != nil:
		return nil, err
	case t == nil && c.refused[a.record.Catalogue] != nil:
		return nil, c.refused[a.record.Catalogue]
	case t == nil:
		return nil, fault.WithHint(refuse("the catalogue does not have it (any more)"), "withdraw the approval")
	case c.stale != nil:
		return nil, c.stale
	}
	return t, c.record.allows(t.Update)
}

// allows is the organisation's bound on what a publisher may do, whatever it signs.
func (p *Publisher) allows(u *Update) error {
	for _, h := range u.Needs() {
		if !slices.Contains(p.Handlers, h) {
			return refuse("publisher %s may not use the handler %s%s", p.Name, h, forHealth(u, h))
		}
	}
	for _, w := range u.Writes() {
		if !slices.ContainsFunc(p.Destinations, func(d string) bool { return within(d, w) }) {
			return refuse("publisher %s may not write to %s", p.Name, w)
		}
	}
	known := slices.ContainsFunc(p.Keys, func(k PayloadKey) bool { return k.Scheme == u.Signature.Scheme && k.ID == u.Signature.KeyID })
	return demand(known, "its payload is signed with key %s, which the organisation does not trust", u.Signature.KeyID)
}

// forHealth says what a handler is needed for when it is not the one that installs.
func forHealth(u *Update, handler string) string {
	if handler == u.Handler {
		return ""
	}
	return ", which a health check needs"
}

// within reports whether the path p is the prefix or below it, by whole elements.
func within(prefix, p string) bool {
	prefix = path.Clean(prefix)
	return prefix == "/" || p == prefix || strings.HasPrefix(p, prefix+"/")
}
