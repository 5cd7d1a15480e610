package store

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// TestSealGivesNoNameToAnotherFile: what contradicts the expected SHA-256 never has the final name.
func TestSealGivesNoNameToAnotherFile(t *testing.T) {
	t.Parallel()
	s := newSample(t, 3)
	right := piecehash.Hash(sha256.Sum256(s.data))
	for name, c := range map[string]struct {
		want *piecehash.Hash
		kind fault.Kind
	}{
		"right": {&right, 0}, "wrong": {&piecehash.Hash{1}, fault.Untrusted}, "none": {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "f")
			p, err := BeginAt(t.Context(), path, s.m, Options{WholeHash: true, Expect: c.want})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			for i := range s.m.Pieces() {
				if _, err := p.Put(i, s.data[s.m.Offset(i):s.m.Offset(i)+s.m.PieceSize(i)]); err != nil {
					t.Fatal(err)
				}
			}
			f, err := p.Seal(t.Context())
			if fault.Of(err) != c.kind {
				t.Fatalf("got %v, want %v", err, c.kind)
			}
			if err == nil {
				f.Close()
				return
			}
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file has its name: %v", err)
			}
		})
	}
}
