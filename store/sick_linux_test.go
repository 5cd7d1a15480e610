package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dunlin-project/dunlin/internal/disktest"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// sickDisk is a store on a disk that can break, and a file behind whose first byte whatever is written later comes to lie.
func sickDisk(t *testing.T) (d *disktest.Disk, st *Store, fence string) {
	t.Helper()
	d = disktest.Real(t, 32<<20)
	st = must[*Store](t)(Open(filepath.Join(d.Dir, "store"), Options{}))
	fence = filepath.Join(d.Dir, "fence")
	try(t, os.WriteFile(fence, make([]byte, 1<<20), 0o600))
	disktest.Forget(t, fence)
	return d, st, fence
}

func mustBeBroken(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, syscall.EIO) || !fault.Is(err, fault.Unavailable) {
		t.Errorf("%s: kind %v: %v", what, fault.Of(err), err)
	}
}

// TestWhatTheDiskHasNotTakenIsNotBelieved: after a write has failed, the kernel still has the bytes in memory and calls them
// clean. The next run must not take them from there: what it seals is on the disk.
func TestWhatTheDiskHasNotTakenIsNotBelieved(t *testing.T) {
	t.Parallel()
	d, st, fence := sickDisk(t)
	s := newSample(t, 64)
	p := closing(t, must[*Partial](t)(st.Begin(t.Context(), s.m)))
	d.BreakAt(t, fence, 0)
	s.put(t, p, s.all()...) // into memory, so nothing is wrong yet
	mustBeBroken(t, "sync", p.sync())
	_, err := p.Seal(t.Context())
	mustBeBroken(t, "seal", err)
	_, err = p.Put(0, s.piece(0))
	mustBeBroken(t, "put", err)
	mustBeBroken(t, "close", p.Close())
	d.Mend(t)
	p = closing(t, must[*Partial](t)(st.Begin(t.Context(), s.m)))
	lost := p.missing()
	s.put(t, p, s.all()...)
	f := closing(t, must[*File](t)(p.Seal(t.Context())))
	disktest.Forget(t, f.Path())
	if got := must[[]byte](t)(os.ReadFile(f.Path())); !bytes.Equal(got, s.data) {
		t.Errorf("what is sealed is not on the disk (%d pieces were found missing)", lost)
	}
}

// TestUnreadablePieces are dropped one by one, the others are read on, and none is lost when the disk is well again.
func TestUnreadablePieces(t *testing.T) {
	t.Parallel()
	d, st, fence := sickDisk(t)
	s := newSample(t, 64)
	p := must[*Partial](t)(st.Begin(t.Context(), s.m))
	s.put(t, p, s.all()...)
	closing(t, must[*File](t)(p.Seal(t.Context())))
	try(t, p.Close())
	f := closing(t, must[*File](t)(st.File(s.m.Root())))
	disktest.Forget(t, f.Path())
	must[[]byte](t)(f.ReadPiece(0, nil)) // in memory from now on
	d.BreakAt(t, fence, 0)
	var buf []byte
	if got, err := f.ReadPiece(0, buf); err != nil || !bytes.Equal(got, s.piece(0)) {
		t.Errorf("what is in memory: %v", err)
	}
	_, err := f.ReadPiece(60, buf)
	mustBeBroken(t, "read", err)
	_, err = f.Scrub(61, buf)
	mustBeBroken(t, "scrub", err)
	if !errors.Is(err, ErrDropped) || f.Has(60) || f.Has(61) || !f.Has(62) {
		t.Errorf("dropped %v %v, kept %v: %v", !f.Has(60), !f.Has(61), f.Has(62), err)
	}
	d.Mend(t)
	p = closing(t, must[*Partial](t)(st.Repair(t.Context(), s.m)))
	if n := p.missing(); n != 0 {
		t.Errorf("%d pieces are lost", n)
	}
	closing(t, must[*File](t)(p.Seal(t.Context())))
}
