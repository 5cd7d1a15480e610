package approved

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/member"
)

const (
	enrolmentFormat = "dunlin-cache-enrolment/1"
	enrolmentMode   = 0o600
	maxEnrolment    = 64 << 10 // bytes
	maxEntries      = 64       // of a list
)

// Enrolment is what joining an organisation gives a cache node. It lies in the node's private folder, beside the anchors:
// joined.json. So the node can join as the user that it runs as.
type Enrolment struct {
	Format  string   `json:"format"`
	Depots  []string `json:"depots"`            // as in Config
	Content []string `json:"content,omitempty"` // as in Config
	Rings   []string `json:"rings"`             // as in Config
	Groups  []string `json:"groups,omitempty"`  // of devices to share with; empty: what the organisation has signed
}

func enrolmentFile(dir string) string { return filepath.Join(dir, "joined.json") }

// Write keeps the anchors and then the enrolment in the folder, durably: an enrolled node always has its anchors. Another
// organisation's is refused (fault.Refused) unless replace is set.
func (e Enrolment) Write(dir string, anchors member.Anchors, replace bool) error {
	e.Format = enrolmentFormat
	if err := e.check(); err != nil {
		return fmt.Errorf("enrol node: %w", err)
	}
	if err := anchors.Write(dir, replace); err != nil {
		return fmt.Errorf("enrol node: %w", err)
	}
	b, err := json.MarshalIndent(e, "", "  ")
	if err == nil {
		err = durable.WriteFile(enrolmentFile(dir), append(b, '\n'), enrolmentMode)
	}
	if err != nil {
		return fmt.Errorf("enrol node: %w", err)
	}
	return nil
}

// ReadEnrolment reads what joining has left in the folder. The error is fs.ErrNotExist for a node that has not joined.
func ReadEnrolment(dir string) (e Enrolment, a member.Anchors, err error) {
	f, err := os.Open(enrolmentFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return e, a, err
	}
	if err == nil {
		defer f.Close()
		dec := json.NewDecoder(io.LimitReader(f, maxEnrolment))
		dec.DisallowUnknownFields()
		err = dec.Decode(&e)
	}
	if err == nil {
		err = e.check()
	}
	if err == nil {
		a, err = member.ReadAnchors(dir)
	}
	if err != nil {
		return Enrolment{}, a, fault.WithHint(fault.New(fault.Usage, "read enrolment %s: %v", enrolmentFile(dir), err), "join again: dunlin cache join TOKEN")
	}
	return e, a, nil
}

func (e Enrolment) check() error {
	if e.Format != enrolmentFormat {
		return fault.New(fault.Usage, "format %.40q, want %q", e.Format, enrolmentFormat)
	}
	if len(e.Depots) == 0 || len(e.Rings) == 0 {
		return fault.New(fault.Usage, "it names no depot or no ring")
	}
	for _, list := range [][]string{e.Depots, e.Content, e.Rings, e.Groups} {
		if len(list) > maxEntries {
			return fault.New(fault.Usage, "%d entries of a list, at most %d", len(list), maxEntries)
		}
	}
	for _, ring := range e.Rings {
		if err := metadata.CheckRing(ring); err != nil {
			return fault.New(fault.Usage, "%w", err)
		}
	}
	for _, s := range slices.Concat(e.Depots, e.Content) {
		if u, err := url.Parse(s); err != nil || !slices.Contains([]string{"https", "http", "file"}, u.Scheme) {
			return fault.New(fault.Usage, "%.80q is no URL of a depot", s)
		}
	}
	return nil
}
