package metadata

import "github.com/dunlin-project/dunlin/piecehash"

// TokenVersion is the version of join tokens that this code writes and reads.
const TokenVersion = 1

// Token is what a device is given to join: it anchors everything that comes after. Its text form is
// "dunlin1.", the JSON object in unpadded base64url, ".", and 8 characters of checksum, so that a token that was cut when
// it was pasted is told from a wrong one.
type Token struct {
	Version     int            `json:"v"`                // TokenVersion
	Depots      []string       `json:"depots"`           // https base URLs of the device listener
	Content     []string       `json:"content"`          // http base URLs of the plain listener: BASE/ca.pem, BASE/content/<root>
	CA          Pin            `json:"ca"`               // of the depot's authority
	Root        piecehash.Hash `json:"root"`             // SHA-256 of the approvals' root file
	RootVersion int64          `json:"root_version"`     // its version, usually 1
	Ring        string         `json:"ring"`             // the device's ring
	Secret      string         `json:"secret,omitempty"` // for enrolment; not used yet
}
