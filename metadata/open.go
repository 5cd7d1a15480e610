package metadata

import (
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Open verifies a bundle against the anchor, a root file of the approvals, and joins the two repositories.
func Open(anchor []byte, b Bundle, now time.Time) (*View, error) {
	return nil, fault.New(fault.Unavailable, "open bundle: not built yet")
}
