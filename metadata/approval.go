package metadata

import (
	"encoding/json"
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
)

// Action is what an approval wants done.
type Action string

// The actions.
const (
	ActionInstall Action = "install"
	ActionRemove  Action = "remove" // only where the publisher's record says removable
	ActionHold    Action = "hold"   // touch nothing of this id; works while the catalogue has run out, too
)

// FullShare is a rollout share of everything, in basis points.
const FullShare = 10_000

// Approval is the custom.v1 of a target `<ring>/<publisher>/<id>/<version>` of a ring's role. The target's length and
// SHA-256 are those of the payload and must equal the catalogue's.
type Approval struct {
	Catalogue string         `json:"catalogue"`           // path of the target in the catalogue
	Record    piecehash.Hash `json:"record"`              // Target.Record that was approved: arguments are approved with the file; may be zero for hold
	Action    Action         `json:"action"`              // required
	NotBefore time.Time      `json:"not_before,omitzero"` // do nothing earlier
	Deadline  time.Time      `json:"deadline,omitzero"`   // from then on without regard to windows and deferrals
	ShareBP   int            `json:"share_bp"`            // rollout share in basis points, 0 (nobody yet) to FullShare
	Peering   bool           `json:"peering"`             // may be exchanged between devices
	Downgrade bool           `json:"downgrade,omitempty"` // may replace a newer release, as far as the catalogue allows
	Crit      []string       `json:"crit,omitempty"`      // fields a reader must understand
}

// Publisher is the custom.v1 of the approvals' target `publisher/<name>`: whom the organisation trusts, and for what.
// The target's file is the root of the publisher's catalogue.
type Publisher struct {
	Name         string       `json:"publisher"`
	Keys         []PayloadKey `json:"keys"`                   // who may sign payloads; at least one
	Handlers     []string     `json:"handlers,omitempty"`     // allowed handlers; empty allows none
	Destinations []string     `json:"destinations,omitempty"` // allowed path prefixes, by whole elements; empty allows none, "/" all
	Catalogues   []string     `json:"catalogues,omitempty"`   // base URLs of the catalogue: https, or file for a folder
	CA           string       `json:"ca,omitempty"`           // PEM, one certificate: the only authority for the https ones
	Pins         []Pin        `json:"pins,omitempty"`         // of keys in the chain; required with https
	Origins      []string     `json:"origins,omitempty"`      // hints where content is: BASE/content/<root>
	Crit         []string     `json:"crit,omitempty"`
}

// Fleet is the custom.v1 of the approvals' target `fleet`: what holds for every device.
type Fleet struct {
	Origins []string        `json:"origins,omitempty"` // http(s) base URLs of the organisation; content at BASE/content/<root>
	Caches  []string        `json:"caches,omitempty"`  // base URLs of cache nodes, same form
	Depots  []string        `json:"depots,omitempty"`  // https base URLs of the device listener; empty keeps what the device has
	CA      string          `json:"ca,omitempty"`      // PEM: the authority for Depots
	Pins    []Pin           `json:"pins,omitempty"`    // of the depot's authority
	Group   string          `json:"group"`             // name of the group that devices exchange in; the open method derives its key from it
	Policy  json.RawMessage `json:"policy,omitempty"`  // an object the agent understands; keys are [a-z0-9_]
	Crit    []string        `json:"crit,omitempty"`
}

// PayloadKey is a public key that payloads are signed with.
type PayloadKey struct {
	Scheme string `json:"scheme"` // SchemeMinisign
	ID     string `json:"id"`     // minisign: the key id as minisign prints it, 16 upper-case hex digits
	Key    string `json:"key"`    // minisign: the base64 line of the public key file ("RW...")
}
