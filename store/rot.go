package store

import (
	"path/filepath"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Doubt has piece i hashed again at its next reading, although this process has hashed it before: disks rot.
func (l *ledger) Doubt(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sure.Clear(i)
}

// Scrub reads piece i from the disk, not from where the kernel keeps it in memory, and hashes it, whatever this process knows
// of it already. It leaves nothing of it in that memory. The error of a damaged piece is as that of ReadPiece.
func (f *File) Scrub(i int, buf []byte) ([]byte, error) {
	m := f.manifest
	forget := func() { dropCache(f.f, m.Offset(i), m.PieceSize(i)) }
	forget()
	defer forget()
	f.Doubt(i)
	b, err := readAt(f.f, m, i, buf)
	if err == nil {
		err = m.Check(i, b)
	}
	if err != nil {
		f.drop(i, false)
		return buf, fault.New(fault.Unavailable, "scrub piece %d: %w: %w", i, ErrDropped, err)
	}
	f.confirm(i)
	return b, nil
}

// Beside returns the path of a small file that belongs to the store and is its user's to keep.
func (s *Store) Beside(name string) string { return filepath.Join(s.dir, name) }
