package metadata

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/internal/strictjson"
	"github.com/dunlin-project/dunlin/piecehash"
)

// TrustFormat is the value of the field "format" of a trust file.
const TrustFormat = "dunlin-publisher-trust/1"

// Trust is the file publisher.trust: what an organisation is given once, out of band, to know a publisher by.
//
// It is one JSON object. Nothing in it is secret, and nothing vouches for it: whoever adds it compares Fingerprint with
// what the publisher says.
type Trust struct {
	Format     string       `json:"format"`            // TrustFormat
	Publisher  string       `json:"publisher"`         // CheckPublisher
	Root       []byte       `json:"root"`              // a root file of the catalogue, verbatim (base64 in JSON)
	Keys       []PayloadKey `json:"keys"`              // who signs payloads
	Catalogues []string     `json:"catalogues"`        // base URLs: https://..., or file:///... for a folder
	CA         string       `json:"ca,omitempty"`      // PEM, one certificate; required with https
	Pins       []Pin        `json:"pins,omitempty"`    // SPKI pins; required with https
	Origins    []string     `json:"origins,omitempty"` // http(s) base URLs of content: BASE/content/<root>
}

// MaxTrustSize bounds a trust file, in bytes.
const MaxTrustSize = 1 << 20

// ParseTrust reads a trust file. Keys that are not known are refused: a person made the file for this very reader.
func ParseTrust(b []byte) (*Trust, error) {
	t := new(Trust)
	if err := decodeFile(b, MaxTrustSize, t); err != nil {
		return nil, fault.New(fault.Refused, "read trust file: %w", err)
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("read trust file: %w", err)
	}
	return t, nil
}

// Encode returns the trust file. It refuses what ParseTrust would refuse.
func (t *Trust) Encode() ([]byte, error) {
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("write trust file: %w", err)
	}
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write trust file: %w", err)
	}
	return append(b, '\n'), nil
}

// Fingerprint is what people compare: the SHA-256 over everything in the file that decides who is believed, which is the
// root, the payload keys, the authority and the pins, but not the addresses.
func (t *Trust) Fingerprint() piecehash.Hash {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%x\n", TrustFormat, t.Publisher, sha256.Sum256(t.Root))
	for _, k := range t.Keys {
		fmt.Fprintf(h, "key %s %s %s\n", k.Scheme, k.ID, k.Key)
	}
	fmt.Fprintf(h, "ca %x\n", sha256.Sum256([]byte(t.CA)))
	for _, p := range t.Pins {
		fmt.Fprintf(h, "pin %s\n", p)
	}
	return piecehash.Hash(h.Sum(nil))
}

// Record returns the approvals' record for the publisher, with what the organisation allows it.
func (t *Trust) Record(handlers, destinations []string) *Publisher {
	return &Publisher{
		Name: t.Publisher, Keys: t.Keys, Handlers: handlers, Destinations: destinations,
		Catalogues: t.Catalogues, CA: t.CA, Pins: t.Pins, Origins: t.Origins,
	}
}

// decodeFile reads one JSON object of ours that must hold nothing unknown.
func decodeFile(b []byte, most int, v any) error {
	if err := strictjson.Check(b, strictjson.Limits{Bytes: most, Depth: maxRecordDepth, PlainKeys: true}); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}
