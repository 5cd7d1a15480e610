package metadata

import (
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
)

// View is what both repositories, verified, say at one time. Only Open makes one. It does not change and may be shared.
type View struct {
	now      time.Time
	behind   time.Duration
	expires  time.Time
	fleet    *Fleet
	catalogs []*Catalogue
	rings    map[string]*ringView
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

// Catalogues returns the catalogues of the trusted publishers, in the order of their names.
func (v *View) Catalogues() []*Catalogue { return v.catalogs }

// Offers returns what a ring may install: what the publisher's catalogue and the organisation's approval agree on.
// Neither order nor applicability are decided yet; see Select.
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
	Key     Key
	Version string
	Err     error // its kind says whether it is policy (refused), an attack (untrusted), or a lack (unavailable)
}

// Catalogue is one publisher's verified catalogue.
type Catalogue struct {
	publisher string
	targets   []*Target
	byPath    map[string]*Target
	refused   map[string]error
	files     Files
	expires   time.Time
	stale     error
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

// Files returns the raw files, to be kept and served byte for byte.
func (c *Catalogue) Files() Files { return c.files }

// Expires returns when the catalogue runs out.
func (c *Catalogue) Expires() time.Time { return c.expires }

// Stale returns why nothing may be installed from the catalogue although it verified, because it has run out; or nil.
func (c *Catalogue) Stale() error { return c.stale }
