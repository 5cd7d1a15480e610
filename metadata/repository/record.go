package repository

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/dunlin-project/dunlin/internal/fault"
)

const (
	recordFormat = "dunlin-repository/1"
	// maxRecord bounds the private record, in bytes: every role at its largest would not fit, but 64 MiB of metadata are
	// far beyond what clients are meant to carry.
	maxRecord = 64 << 20
)

// record is everything that is current, as exact file contents. It is what the private file holds.
type record struct {
	Format    string            `json:"format"`
	Roots     [][]byte          `json:"roots"` // version 1, 2, ...
	Timestamp []byte            `json:"timestamp"`
	Snapshot  []byte            `json:"snapshot"`
	Targets   map[string][]byte `json:"targets"` // by role: targets and every delegated one
}

func (r *record) encode() ([]byte, error) {
	r.Format = recordFormat
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	if len(b) > maxRecord {
		return nil, fault.New(fault.Refused, "encode record: %d bytes, more than %d", len(b), maxRecord)
	}
	return append(b, '\n'), nil
}

// parseRecord is strict about the frame; what the contents are worth is for verify to say.
func parseRecord(b []byte) (*record, error) {
	if len(b) > maxRecord+1 {
		return nil, fmt.Errorf("parse record: more than %d bytes", maxRecord)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var r record
	if err := dec.Decode(&r); err != nil {
		return nil, fmt.Errorf("parse record: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("parse record: something follows its end")
	}
	switch {
	case r.Format != recordFormat:
		return nil, fmt.Errorf("parse record: format %q, this program knows %q", clip(r.Format), recordFormat)
	case len(r.Roots) == 0 || len(r.Roots) > MaxRoots:
		return nil, fmt.Errorf("parse record: %d roots, want 1 to %d", len(r.Roots), MaxRoots)
	case len(r.Targets) == 0 || len(r.Targets) > MaxDelegations+1:
		return nil, fmt.Errorf("parse record: %d targets roles, want 1 to %d", len(r.Targets), MaxDelegations+1)
	}
	return &r, r.checkSizes()
}

// checkSizes refuses what clients refuse for its size.
func (r *record) checkSizes() error {
	for i, b := range r.Roots {
		if err := checkSize(strconv.Itoa(i+1)+".root", b, MaxRoot); err != nil {
			return err
		}
	}
	for role, b := range r.Targets {
		if err := checkSize(role, b, MaxTargets); err != nil {
			return err
		}
	}
	return errors.Join(
		checkSize(RoleTimestamp, r.Timestamp, MaxTimestamp),
		checkSize(RoleSnapshot, r.Snapshot, MaxSnapshot))
}

func checkSize(role string, b []byte, most int) error {
	if len(b) == 0 || len(b) > most {
		return fault.WithHint(fault.New(fault.Refused, "check %s: %d bytes, want 1 to %d", role, len(b), most),
			"withdraw what is superseded, or use a second repository")
	}
	return nil
}

// readRecord reads and verifies the private file. A missing one wraps fs.ErrNotExist.
func readRecord(path string) (*tree, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecord+2))
	if err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	r, err := parseRecord(b)
	if err != nil {
		return nil, damaged(path, err)
	}
	t, err := verify(r)
	if err != nil {
		return nil, damaged(path, err)
	}
	return t, nil
}

func damaged(path string, err error) error {
	return fault.WithHint(fault.New(fault.Untrusted, "read record %s: %w", path, err),
		"restore it from your copy; nothing has been published")
}
