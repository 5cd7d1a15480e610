package metadata

import (
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
)

// Kind says what sort of thing an update is. Policy acts on it.
type Kind string

// The kinds of update.
const (
	KindOS         Kind = "os"
	KindApp        Kind = "app"
	KindDriver     Kind = "driver"
	KindDefinition Kind = "definition"
	KindStore      Kind = "store"
)

// Severity says how urgent the publisher thinks an update is. Empty means that it does not say.
type Severity string

// The severities.
const (
	SeverityCritical  Severity = "critical"
	SeverityImportant Severity = "important"
	SeverityModerate  Severity = "moderate"
	SeverityLow       Severity = "low"
)

// Handlers that this version of the project installs with. A record may name another one; a device that does not have
// it refuses the update.
const (
	HandlerFile = "file" // one file at Destination
	HandlerTree = "tree" // an archive: Destination is a symlink to Destination.versions/<version>-<hash>, switched in one step
	HandlerExec = "exec" // the payload itself is run with Arguments
)

// Update is the custom.v1 of one target of a catalogue: everything that is needed to decide on an update and to install
// it. The target itself, signed with it, says the length and the SHA-256 of the payload.
//
// A field that is not known is ignored, unless Crit names it. Times are RFC 3339 in UTC and whole seconds, numbers are
// integers, nothing is null.
type Update struct {
	Publisher string    `json:"publisher"`          // must be the name the organisation knows the catalogue by
	ID        string    `json:"id"`                 // CheckID
	Title     string    `json:"title,omitempty"`    // for people; at most 200 bytes
	Kind      Kind      `json:"kind"`               // required
	Version   string    `json:"version"`            // CheckVersion; shown, never compared
	Release   int64     `json:"release"`            // release counter, from 1; of two releases of an id the higher is newer
	Severity  Severity  `json:"severity,omitempty"` // optional
	Released  time.Time `json:"released"`           // when the publisher released it

	Root         piecehash.Root `json:"root"`                   // of the payload (BEP 52)
	PieceLength  int64          `json:"piece_length"`           // in bytes
	Uncompressed int64          `json:"uncompressed,omitempty"` // bytes the payload unpacks to at most; required for an archive

	Supersedes []string      `json:"supersedes,omitempty"` // other ids of this publisher that this update replaces
	Requires   []Requirement `json:"requires,omitempty"`   // what must be installed before

	Applicability string   `json:"applicability,omitempty"` // CEL over Facts; empty means every device
	Hardware      []string `json:"hardware,omitempty"`      // the device must have one of these ids, byte for byte; empty means any

	Handler     string       `json:"handler"`                 // how to install
	Arguments   []string     `json:"arguments,omitempty"`     // argv after the program's own name; no shell sees them
	Destination string       `json:"destination,omitempty"`   // absolute clean path; required by file and tree; what file replaces, and what tree makes a symlink
	Mode        string       `json:"mode,omitempty"`          // file: octal permission bits such as "0755"; default 0644
	Owner       string       `json:"owner,omitempty"`         // file, tree: "user" or "user:group"; default: whoever installs
	Timeout     int64        `json:"timeout,omitempty"`       // seconds for the handler; 0 means the device's default
	Health      *HealthCheck `json:"health_check,omitempty"`  // run after the installation; failing means roll back; needs exec, see Needs
	Success     []int        `json:"success_codes,omitempty"` // exit codes of exec that mean done; empty means {0}
	Reboot      []int        `json:"reboot_codes,omitempty"`  // exit codes of exec that mean done, and a reboot is needed

	Removable       *Removal `json:"removable,omitempty"`        // set: the organisation may have it removed
	LowestDowngrade int64    `json:"lowest_downgrade,omitempty"` // lowest release of this id one may go back to; 0 means none

	Signature PayloadSignature `json:"signature"`         // over the payload, besides TUF; required
	Origins   []string         `json:"origins,omitempty"` // hints: http(s) base URLs, the content is at BASE/content/<root>

	Crit []string `json:"crit,omitempty"` // fields a reader must understand
}

// Requirement is one update of the same catalogue that must be installed before. The hash keeps anybody from putting
// another file in its place.
type Requirement struct {
	ID      string         `json:"id"`
	Version string         `json:"version"`
	SHA256  piecehash.Hash `json:"sha256"` // of its payload
}

// HealthCheck is a command that decides whether an installation holds.
type HealthCheck struct {
	Command []string `json:"command"`           // argv; the first is an absolute path
	Timeout int64    `json:"timeout,omitempty"` // seconds; 0 means the device's default
}

// Removal says how to take an update away again.
type Removal struct {
	Arguments []string `json:"arguments,omitempty"` // argv for the handler
}

// SchemeMinisign is the prehashed Ed25519 signature of minisign over the payload.
const SchemeMinisign = "minisign"

// PayloadSignature is the publisher's signature over the whole payload, or where it is.
type PayloadSignature struct {
	Scheme string `json:"scheme"`           // SchemeMinisign
	KeyID  string `json:"key_id"`           // as in PayloadKey.ID
	Inline string `json:"inline,omitempty"` // the signature file itself, at most 4 KiB; exactly one of Inline and URL
	URL    string `json:"url,omitempty"`    // http(s)
}

// Target is one update together with what the catalogue signs about its payload.
type Target struct {
	Path   string         // in the catalogue
	Length int64          // of the payload in bytes
	SHA256 piecehash.Hash // of the payload
	Record piecehash.Hash // SHA-256 of the canonical custom.v1: what an approval is bound to
	Update *Update
}

// Content names the payload for the transfer.
func (t *Target) Content() (piecehash.Content, error) {
	return piecehash.NewContent(t.Update.Root, t.Length, t.Update.PieceLength)
}

// VersionsSuffix is of the folder beside its destination in which the handler tree keeps what it has unpacked.
const VersionsSuffix = ".versions"

// Writes returns the paths, with all below them, that the handler writes to: the destination, if there is one, and for a
// tree also the folder of versions beside it. What a program writes to nobody can say.
func (u *Update) Writes() []string {
	switch {
	case u.Destination == "":
		return nil
	case u.Handler == HandlerTree:
		return []string{u.Destination, u.Destination + VersionsSuffix}
	default:
		return []string{u.Destination}
	}
}

// Needs returns the handlers that publisher and device must both be allowed to use: the one that installs, and exec where
// there is a health check, because that is any program of the machine with any arguments.
func (u *Update) Needs() []string {
	if u.Health == nil || u.Handler == HandlerExec {
		return []string{u.Handler}
	}
	return []string{u.Handler, HandlerExec}
}

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
