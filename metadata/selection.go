package metadata

import (
	"cmp"
	"slices"

	"github.com/dunlin-project/dunlin/piecehash"
)

// Replaces reports whether u takes the place of other: a higher release of the same update, or an update that its
// publisher says replaces it. The release counter alone orders releases; versions are for people.
func (u *Update) Replaces(other *Update) bool {
	if u.Publisher != other.Publisher {
		return false
	}
	if u.ID == other.ID {
		return u.Release > other.Release
	}
	return slices.Contains(u.Supersedes, other.ID)
}

// Newest picks from offers what is worth installing: of each update the highest release that applies, without those that
// another one of them supersedes. The result is ordered by publisher and id. Two updates that supersede one another
// cannot both be right; the one that was released later stays.
func Newest(offers []Offer, applies func(*Update) bool) []Offer {
	best := map[Key]Offer{}
	for _, o := range offers {
		have, ok := best[o.Key()]
		if applies(o.Update()) && (!ok || o.Update().Replaces(have.Update())) {
			best[o.Key()] = o
		}
	}
	var out []Offer
	for _, o := range best {
		if !superseded(o, best) {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b Offer) int {
		return cmp.Or(cmp.Compare(a.Key().Publisher, b.Key().Publisher), cmp.Compare(a.Key().ID, b.Key().ID))
	})
	return out
}

func superseded(o Offer, among map[Key]Offer) bool {
	u := o.Update()
	for _, other := range among {
		v := other.Update()
		if v.Replaces(u) && (!u.Replaces(v) || cmp.Or(v.Released.Compare(u.Released), cmp.Compare(v.ID, u.ID)) > 0) {
			return true
		}
	}
	return false
}

// Unmet returns what an update requires and is not installed. installed returns the SHA-256 of the payload that an update
// of the same publisher was installed from.
func (u *Update) Unmet(installed func(id string) (piecehash.Hash, bool)) []Requirement {
	var out []Requirement
	for _, r := range u.Requires {
		if sum, ok := installed(r.ID); !ok || sum != r.SHA256 {
			out = append(out, r)
		}
	}
	return out
}
