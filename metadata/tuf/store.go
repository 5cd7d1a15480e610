package tuf

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// Store is the memory of one repository: what was verified before. It is trusted to be ours, not to be whole: everything
// in it is verified again, and what is damaged is fetched again.
type Store interface {
	// Load returns a file, or nil when there is none or it cannot be read. It returns at most limit+1 bytes.
	Load(name string, limit int64) []byte
	// Save replaces a file durably.
	Save(name string, b []byte) error
}

// Dir is a store in a private folder, which is its path. Every role has one file, roots one for each version.
type Dir string

// OpenDir makes the folder if need be. It refuses one that others can write to.
func OpenDir(path string) (Dir, error) {
	if err := durable.MkdirPrivate(path); err != nil {
		return "", fmt.Errorf("open metadata store: %w", err)
	}
	return Dir(path), nil
}

// Load implements Store.
func (d Dir) Load(name string, limit int64) []byte {
	f, err := os.Open(filepath.Join(string(d), name))
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil
	}
	return b
}

// Save implements Store.
func (d Dir) Save(name string, b []byte) error {
	if err := durable.WriteFile(filepath.Join(string(d), name), b, 0o600); err != nil {
		return fault.WithHint(fault.New(fault.Unavailable, "save metadata: %w", err), "make room on the disk, or look at the rights of %s", string(d))
	}
	return nil
}

// Nowhere is a store that remembers nothing.
type Nowhere struct{}

// Load implements Store.
func (Nowhere) Load(string, int64) []byte { return nil }

// Save implements Store.
func (Nowhere) Save(string, []byte) error { return nil }

// state is what the store knows beyond the files: what must not go back.
type state struct {
	Root  int64     `json:"root"`  // highest version of the root that was ever verified
	Floor time.Time `json:"floor"` // latest time that a verified timestamp has proved
	// By names the keys that could sign that timestamp. With other keys the floor begins anew: whoever stole a key may
	// have put it ten thousand years ahead, and replacing the key must be a way out.
	By string `json:"by"`
}

const stateFile = "state"

// loadState reads the state: one line of JSON, and one with its checksum. No signature covers it, and a flipped bit in it
// could put the floor a hundred years ahead, so one that is not whole is as good as none: the files beside it still are
// verified.
func loadState(s Store) state {
	b := s.Load(stateFile, maxState)
	line, sum, _ := bytes.Cut(b, []byte("\n"))
	var st state
	if checksum(line) != string(sum) || json.Unmarshal(line, &st) != nil {
		return state{}
	}
	return st
}

func (st state) save(s Store) error {
	b, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("save metadata: %w", err)
	}
	return s.Save(stateFile, fmt.Appendf(b, "\n%s", checksum(b)))
}

func checksum(b []byte) string { return fmt.Sprintf("%x\n", sha256.Sum256(b)) }

func rootFile(version int64) string { return strconv.FormatInt(version, 10) + ".root.json" }

// Floor returns the latest time that a verified timestamp in a store has proved, or the zero time. It is good for choosing
// a clock, not for refusing anything: the keys that proved it may have been replaced.
func Floor(s Store) time.Time { return loadState(s).Floor }
