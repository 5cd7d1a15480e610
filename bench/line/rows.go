package line

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Rows writes what a bench has measured, for machines: a JSON object a line.
type Rows struct{ f *os.File }

// OpenRows makes the file with that name, out/TEST.jsonl beside the benches for "". It is closed when the test ends.
func OpenRows(t *testing.T, name string) Rows {
	t.Helper()
	if name == "" {
		name = filepath.Join("..", "out", t.Name()+".jsonl")
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return Rows{f}
}

// Add writes one row. A failure is the test's.
func (r Rows) Add(t *testing.T, row any) {
	t.Helper()
	if err := json.NewEncoder(r.f).Encode(row); err != nil {
		t.Error(err)
	}
}
