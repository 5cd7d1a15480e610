package depot

import (
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// TokenRequest asks for a join token.
type TokenRequest struct {
	Ring string `json:"ring,omitempty"` // empty: the first ring
}

// TokenResult is a join token. It holds no secret yet: whoever has it learns what the depot serves to anybody.
type TokenResult struct {
	Ring  string `json:"ring"`
	Token string `json:"token"`
	Line  string `json:"line"` // the command for the device
}

// Token makes a join token.
func (d *Depot) Token(r TokenRequest) (*TokenResult, error) {
	ring := r.Ring
	if ring == "" {
		ring = d.set.Rings[0]
	}
	if err := d.checkRing(ring); err != nil {
		return nil, err
	}
	pin, err := d.pin()
	if err != nil {
		return nil, err
	}
	root, version, err := d.anchor()
	if err != nil {
		return nil, err
	}
	t := metadata.Token{
		Version: metadata.TokenVersion, Depots: []string{d.set.secureURL()}, Content: []string{d.set.contentURL()},
		CA: pin, Root: root, RootVersion: version, Ring: ring,
	}
	text, err := t.Encode()
	if err != nil {
		return nil, err
	}
	return &TokenResult{Ring: ring, Token: text, Line: "dunlin join " + text}, nil
}

// anchor returns the hash and the version of the newest root of the approvals.
func (d *Depot) anchor() (piecehash.Hash, int64, error) {
	view, err := d.repo.View()
	if err != nil {
		return piecehash.Hash{}, 0, err
	}
	roots := view.Roots()
	return sha256.Sum256(roots[len(roots)-1]), int64(len(roots)), nil
}

func (d *Depot) checkRing(ring string) error {
	if slices.Contains(d.set.Rings, ring) {
		return nil
	}
	return fault.WithHint(fault.New(fault.Refused, "find ring %.40q: the depot has none of that name", ring), "there are: %s", strings.Join(d.set.Rings, ", "))
}
