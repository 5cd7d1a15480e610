package approved

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/piecehash"
)

const (
	ledgerFormat = "dunlin-approved/1"
	ledgerMode   = 0o600
	// MaxLedger bounds the file of what was learnt, in bytes.
	MaxLedger = 64 << 20
	// MaxWithdrawn is how many contents are remembered that are not approved any more. Beyond, the one that was withdrawn first
	// is forgotten: if it is still in the store, it is served again.
	MaxWithdrawn = 16384
)

// ledger is what was learnt, by root. It is not changed once it was made.
type ledger struct {
	Format  string    `json:"format"`
	Group   string    `json:"group,omitempty"` // that the organisation has signed
	Synced  time.Time `json:"synced,omitzero"` // when it was last verified
	Expires time.Time `json:"expires,omitzero"`
	Entries []*entry  `json:"entries"`

	byRoot map[piecehash.Root]*entry
}

// entry is one content.
type entry struct {
	Root        piecehash.Root `json:"root"`
	Length      int64          `json:"length"`
	PieceLength int64          `json:"piece_length"`
	As          []approval     `json:"as"`                 // what it is approved as
	Peering     bool           `json:"peering"`            // every approval lets it be exchanged
	Ahead       bool           `json:"ahead"`              // worth having before anybody asks
	Deadline    time.Time      `json:"deadline,omitzero"`  // the first of its approvals'
	Released    time.Time      `json:"released,omitzero"`  // the last of its updates'
	Origins     []string       `json:"origins,omitempty"`  // URLs that the organisation wrote down
	Hints       []string       `json:"hints,omitempty"`    // URLs that the publisher named
	Withdrawn   time.Time      `json:"withdrawn,omitzero"` // since when nobody approves it; zero: it is approved
	content     piecehash.Content
}

// approval names one approval.
type approval struct {
	Ring      string `json:"ring"`
	Publisher string `json:"publisher"`
	ID        string `json:"id"`
	Version   string `json:"version"`
}

// name is for people.
func (e *entry) name() string {
	if len(e.As) == 0 {
		return ""
	}
	a := e.As[0]
	return a.Publisher + "/" + a.ID + "@" + a.Version
}

// newLedger indexes entries, in a stable order, and forgets what was withdrawn long ago.
func newLedger(entries []*entry) *ledger {
	slices.SortFunc(entries, func(a, b *entry) int {
		return cmp.Or(b.Withdrawn.Compare(a.Withdrawn), slices.Compare(a.Root[:], b.Root[:]))
	})
	l := &ledger{Format: ledgerFormat, byRoot: make(map[piecehash.Root]*entry, len(entries))}
	withdrawn := 0
	for _, e := range entries {
		if !e.Withdrawn.IsZero() {
			if withdrawn++; withdrawn > MaxWithdrawn {
				continue
			}
		}
		l.Entries = append(l.Entries, e)
		l.byRoot[e.Root] = e
	}
	return l
}

// readLedger reads what an earlier run has learnt: an empty one if there was none. A damaged file is an error, because what
// may not be given away would be forgotten with it.
func readLedger(path string) (*ledger, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newLedger(nil), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was approved: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxLedger+1))
	if err == nil && len(b) > MaxLedger {
		err = fmt.Errorf("more than %d bytes", MaxLedger)
	}
	var raw ledger
	if err == nil {
		err = json.Unmarshal(b, &raw)
	}
	if err == nil && raw.Format != ledgerFormat {
		err = fmt.Errorf("format %.40q, want %q", raw.Format, ledgerFormat)
	}
	for _, e := range raw.Entries {
		if err == nil {
			e.content, err = piecehash.NewContent(e.Root, e.Length, e.PieceLength)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read what was approved: %s: %w", path, err)
	}
	l := newLedger(raw.Entries)
	l.Group, l.Synced, l.Expires = raw.Group, raw.Synced, raw.Expires
	return l, nil
}

func (l *ledger) write(path string) error {
	b, err := json.Marshal(l)
	if err == nil && len(b) > MaxLedger {
		err = fmt.Errorf("%d bytes, at most %d", len(b), MaxLedger)
	}
	if err == nil {
		err = durable.WriteFile(path, append(b, '\n'), ledgerMode)
	}
	if err != nil {
		return fmt.Errorf("keep what was approved: %w", err)
	}
	return nil
}

// ahead lists what is worth having before anybody asks: the nearest deadline first, then what was released last.
func (l *ledger) ahead() []piecehash.Root {
	var some []*entry
	for _, e := range l.Entries {
		if e.Ahead && e.Peering && e.Withdrawn.IsZero() {
			some = append(some, e)
		}
	}
	slices.SortStableFunc(some, func(a, b *entry) int {
		if a.Deadline.IsZero() != b.Deadline.IsZero() {
			if a.Deadline.IsZero() {
				return 1
			}
			return -1
		}
		return cmp.Or(a.Deadline.Compare(b.Deadline), b.Released.Compare(a.Released))
	})
	out := make([]piecehash.Root, 0, len(some))
	for _, e := range some {
		out = append(out, e.Root)
	}
	return out
}
