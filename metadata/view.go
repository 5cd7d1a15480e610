package metadata

import (
	"maps"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// View is what both repositories, verified, say at one time. Only Open makes one. It does not change and may be shared.
type View struct {
	now        time.Time
	behind     time.Duration
	expires    time.Time
	fleet      *Fleet
	catalogues []*Catalogue
	byName     map[string]*Catalogue
	rings      map[string]*ringView
}

// ringView is what the approvals of one ring come to.
type ringView struct {
	offers   []Offer
	holds    []Directive
	removals []Directive
	refusals []Refusal
}

// Now returns the time that everything was checked at: the one given to Open, or the newest time that the verified
// metadata proves, if that is later.
func (v *View) Now() time.Time { return v.now }

// ClockBehind returns by how much the clock given to Open is behind a time that the metadata proves; 0 if it is not.
func (v *View) ClockBehind() time.Duration { return v.behind }

// Expires returns when the approvals run out. After that nothing may be started from the view.
func (v *View) Expires() time.Time { return v.expires }

// Fleet returns what holds for every device.
func (v *View) Fleet() *Fleet { return v.fleet }

// Catalogues returns the catalogues of the trusted publishers, in the order of their names. One that cannot be used is
// among them; its Err says why.
func (v *View) Catalogues() []*Catalogue { return v.catalogues }

// Catalogue returns the catalogue of a trusted publisher.
func (v *View) Catalogue(publisher string) (*Catalogue, bool) {
	c, ok := v.byName[publisher]
	return c, ok
}

// Err returns the worst error of a catalogue, or nil: what is to be reported although the rest can be acted on.
func (v *View) Err() error {
	var worst error
	for _, c := range v.catalogues {
		worst = fault.WorstOf(worst, c.err)
	}
	return worst
}

// Rings returns the rings that the organisation has, as far as they are in the bundle, in order. A device whose ring is
// not among them was told a name that does not exist (any more).
func (v *View) Rings() []string { return slices.Sorted(maps.Keys(v.rings)) }

// Offers returns what a ring may install: what the publisher's catalogue and the organisation's approval agree on.
// Neither order nor applicability are decided yet; that is for the device (Rules.Applies and its plan).
func (v *View) Offers(ring string) []Offer { return v.ring(ring).offers }

// Holds returns what a ring must leave alone.
func (v *View) Holds(ring string) []Directive { return v.ring(ring).holds }

// Removals returns what a ring is to remove.
func (v *View) Removals(ring string) []Directive { return v.ring(ring).removals }

// Refusals returns what is approved for a ring and must not be acted on, and why.
func (v *View) Refusals(ring string) []Refusal { return v.ring(ring).refusals }

func (v *View) ring(name string) *ringView {
	if r := v.rings[name]; r != nil {
		return r
	}
	return &ringView{}
}

// Key names an update without its version.
type Key struct{ Publisher, ID string }

// Offer is one update that publisher and organisation agree on. Only a View has one.
type Offer struct {
	ring      string
	publisher *Publisher
	target    *Target
	approval  *Approval
	content   piecehash.Content
}

// Key returns the publisher and id of the update.
func (o Offer) Key() Key { return Key{o.publisher.Name, o.target.Update.ID} }

// Ring returns the ring it is approved for.
func (o Offer) Ring() string { return o.ring }

// Publisher returns what the organisation trusts the publisher for.
func (o Offer) Publisher() *Publisher { return o.publisher }

// Target returns the signed target: path, length and SHA-256 of the payload, and the update.
func (o Offer) Target() *Target { return o.target }

// Update returns the publisher's record.
func (o Offer) Update() *Update { return o.target.Update }

// Approval returns the organisation's record.
func (o Offer) Approval() *Approval { return o.approval }

// Content names the payload for the transfer.
func (o Offer) Content() piecehash.Content { return o.content }

// Directive is an approval to hold or to remove.
type Directive struct {
	Key      Key
	Version  string
	Length   int64          // of the payload that was approved
	SHA256   piecehash.Hash // of the payload that was approved
	Approval *Approval
	Target   *Target // nil when the catalogue does not have it (any more), or has run out
}

// Refusal is an approval, or a target of a catalogue, that must not be acted on.
type Refusal struct {
	Key      Key
	Version  string
	Approval *Approval // nil when it could not be read
	Err      error     // its kind says whether it is policy (refused), an attack (untrusted), or a lack (unavailable)
}
