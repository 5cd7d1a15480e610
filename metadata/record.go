package metadata

import (
	"crypto/sha256"
	"encoding/json"
	"reflect"
	"slices"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/internal/strictjson"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Limits of one record.
const (
	MaxRecordSize  = 64 << 10 // bytes of the custom field of a target
	maxRecordDepth = 8
)

func recordLimits() strictjson.Limits {
	return strictjson.Limits{Bytes: MaxRecordSize, Depth: maxRecordDepth, PlainKeys: true}
}

// record is a custom.v1 of ours.
type record interface {
	check() error // that the values are sound and agree with one another
	// acted lists, by their names in JSON, the fields that this version acts on: what crit may name. A field that is only
	// parsed is not among them.
	acted() []string
}

// decodeRecord reads {"v1": {...}} into r and returns the SHA-256 of the canonical v1. Other versions beside v1 are
// ignored: they are for other readers.
func decodeRecord(custom []byte, r record) (piecehash.Hash, error) {
	var versions struct {
		V1 json.RawMessage `json:"v1"`
	}
	if err := strictjson.Unmarshal(custom, recordLimits(), &versions); err != nil {
		return piecehash.Hash{}, fault.New(fault.Refused, "read record: %w", err)
	}
	if len(versions.V1) == 0 || versions.V1[0] != '{' {
		return piecehash.Hash{}, newerAgent("read record: there is no object custom.v1")
	}
	if err := understood(versions.V1, r); err != nil {
		return piecehash.Hash{}, err
	}
	if err := json.Unmarshal(versions.V1, r); err != nil {
		return piecehash.Hash{}, fault.New(fault.Refused, "read record: %w", err)
	}
	if err := r.check(); err != nil {
		return piecehash.Hash{}, err
	}
	return digest(versions.V1)
}

// understood refuses a record whose crit names a field that this version does not act on. It looks at crit alone, before the rest is
// decoded: a newer record may have changed the type of a field.
func understood(v1 []byte, r record) error {
	var c struct {
		Crit []string `json:"crit"`
	}
	if err := json.Unmarshal(v1, &c); err != nil {
		return fault.New(fault.Refused, "read record: crit: %w", err)
	}
	known := r.acted()
	for _, name := range c.Crit {
		if !slices.Contains(known, name) {
			return newerAgent("read record: it needs a reader that understands %.40q", name)
		}
	}
	return nil
}

func newerAgent(format string, args ...any) error {
	return fault.WithHint(fault.New(fault.Refused, format, args...), "a newer agent is needed: update dunlin on this machine")
}

func (u *Update) acted() []string {
	return []string{
		"publisher", "id", "title", "version", "release", "severity", "released", "root", "piece_length", "uncompressed",
		"supersedes", "requires", "applicability", "hardware", "handler", "arguments", "destination", "mode", "owner", "timeout",
		"health_check", "success_codes", "reboot_codes", "lowest_downgrade", "signature", "origins",
	} // not kind: nothing depends on it; not removable: no device removes
}

func (a *Approval) acted() []string {
	return []string{"catalogue", "record", "action", "not_before", "deadline", "share_bp", "peering", "downgrade"}
}

func (p *Publisher) acted() []string {
	return []string{"publisher", "keys", "handlers", "destinations", "catalogues", "ca", "pins", "origins"}
}

func (f *Fleet) acted() []string {
	return []string{"origins", "caches", "depots", "ca", "pins", "group"} // not policy
}

// encodeRecord is the reverse of decodeRecord. Nothing is encoded that decodeRecord would refuse.
func encodeRecord(r record) (json.RawMessage, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	custom, err := strictjson.Marshal(map[string]any{"v1": r})
	if err != nil {
		return nil, err
	}
	again := reflect.New(reflect.TypeOf(r).Elem()).Interface().(record)
	if _, err := decodeRecord(custom, again); err != nil {
		return nil, err
	}
	return custom, nil
}

func digest(v1 []byte) (piecehash.Hash, error) {
	canonical, err := strictjson.Canonical(v1)
	if err != nil {
		return piecehash.Hash{}, err
	}
	return sha256.Sum256(canonical), nil
}

// ParseUpdate reads the custom field of a catalogue's target. It returns the record and its digest (Target.Record).
// An unknown entry of crit, and everything malformed, is refused.
func ParseUpdate(custom []byte) (*Update, piecehash.Hash, error) {
	u := new(Update)
	sum, err := decodeRecord(custom, u)
	if err != nil {
		return nil, piecehash.Hash{}, err
	}
	return u, sum, nil
}

// Custom encodes the record as the custom field of a target. It refuses what ParseUpdate would refuse.
func (u *Update) Custom() (json.RawMessage, error) { return encodeRecord(u) }

// ParseApproval reads the custom field of a target of a ring's role.
func ParseApproval(custom []byte) (*Approval, error) {
	a := new(Approval)
	if _, err := decodeRecord(custom, a); err != nil {
		return nil, err
	}
	return a, nil
}

// Custom encodes the record as the custom field of a target. It refuses what ParseApproval would refuse.
func (a *Approval) Custom() (json.RawMessage, error) { return encodeRecord(a) }

// ParsePublisher reads the custom field of the approvals' target `publisher/<name>`.
func ParsePublisher(custom []byte) (*Publisher, error) {
	p := new(Publisher)
	if _, err := decodeRecord(custom, p); err != nil {
		return nil, err
	}
	return p, nil
}

// Custom encodes the record as the custom field of a target. It refuses what ParsePublisher would refuse.
func (p *Publisher) Custom() (json.RawMessage, error) { return encodeRecord(p) }

// ParseFleet reads the custom field of the approvals' target `fleet`.
func ParseFleet(custom []byte) (*Fleet, error) {
	f := new(Fleet)
	if _, err := decodeRecord(custom, f); err != nil {
		return nil, err
	}
	return f, nil
}

// Custom encodes the record as the custom field of a target. It refuses what ParseFleet would refuse.
func (f *Fleet) Custom() (json.RawMessage, error) { return encodeRecord(f) }
