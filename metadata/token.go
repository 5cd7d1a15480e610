package metadata

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/internal/strictjson"
	"github.com/dunlin-project/dunlin/piecehash"
)

// TokenVersion is the version of join tokens that this code writes and reads.
const TokenVersion = 1

// MaxTokenSize bounds the text of a token, in bytes.
const MaxTokenSize = 8 << 10

const (
	tokenPrefix   = "dunlin1."
	tokenSumBytes = 6 // of SHA-256; 8 characters
)

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

// Encode returns the text form. It refuses what ParseToken would refuse.
func (t *Token) Encode() (string, error) {
	if err := t.check(); err != nil {
		return "", fmt.Errorf("write token: %w", err)
	}
	b, err := strictjson.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("write token: %w", err)
	}
	text := tokenPrefix + base64.RawURLEncoding.EncodeToString(b) + "." + tokenSum(b)
	if len(text) > MaxTokenSize {
		return "", fault.New(fault.Usage, "write token: %d bytes, at most %d", len(text), MaxTokenSize)
	}
	return text, nil
}

// ParseToken reads the text form; white space around it is cut. Errors are of kind usage and say whether the token is
// cut, mistyped, or for another version.
func ParseToken(s string) (*Token, error) {
	b, err := tokenBody(strings.TrimSpace(s))
	if err != nil {
		return nil, err
	}
	t := new(Token)
	if err := decodeFile(b, MaxTokenSize, t); err != nil {
		return nil, fault.New(fault.Usage, "read token: %w", err)
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("read token: %w", err)
	}
	return t, nil
}

func tokenBody(s string) ([]byte, error) {
	again := "copy the whole line that `dunlin depot token create` printed"
	rest, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok || len(s) > MaxTokenSize {
		return nil, fault.WithHint(fault.New(fault.Usage, "read token: it does not begin with %q, or is longer than %d bytes", tokenPrefix, MaxTokenSize), "%s", again)
	}
	body, sum, ok := strings.Cut(rest, ".")
	if !ok || len(sum) < len(tokenSum(nil)) {
		return nil, fault.WithHint(fault.New(fault.Usage, "read token: its end is missing"), "%s", again)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || tokenSum(b) != sum {
		return nil, fault.WithHint(fault.New(fault.Usage, "read token: its checksum is wrong, so a character was lost or changed"), "%s", again)
	}
	return b, nil
}

func tokenSum(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:tokenSumBytes])
}
