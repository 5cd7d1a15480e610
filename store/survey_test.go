package store

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/disktest"
)

// TestSurvey sees what is whole, begun and left over, and Look sees the same.
func TestSurvey(t *testing.T) {
	t.Parallel()
	st := must[*Store](t)(Open(filepath.Join(t.TempDir(), "store"), Options{}))
	whole, begun := newSample(t, 3), sampleOf(t, "begun", 8*samplePiece, samplePiece)
	p := must[*Partial](t)(st.Begin(t.Context(), whole.m))
	whole.put(t, p, whole.all()...)
	try(t, must[*File](t)(p.Seal(t.Context())).Close(), p.Close())
	p = must[*Partial](t)(st.Begin(t.Context(), begun.m))
	begun.put(t, p, 0, 5)
	try(t, p.Close())
	try(t, os.WriteFile(filepath.Join(st.dir, sealedDir, "notes.txt"), []byte("x"), 0o600))
	try(t, os.Symlink("/etc/passwd", filepath.Join(st.dir, sealedDir, sampleOf(t, "link", 100, samplePiece).m.Root().String())))
	used, worth := time.Unix(1_700_000_000, 0), time.Unix(1_700_086_400, 0)
	try(t, st.Note(whole.m.Root(), used, worth), st.Note(sampleOf(t, "other", 100, samplePiece).m.Root(), used, worth))
	all := must[[]Entry](t)(st.Survey())
	if len(all) != 2 {
		t.Fatalf("%d contents: %+v", len(all), all)
	}
	for _, e := range all {
		if again, there := st.Look(e.Root); !there || again != e {
			t.Errorf("looked at alone it is %+v, not %+v", again, e)
		}
		switch e.Root {
		case whole.m.Root():
			if !e.Whole || e.Length != whole.m.Length() || e.Bytes < e.Length || !e.Used.Equal(used) || !e.Worth.Equal(worth) {
				t.Errorf("whole: %+v", e)
			}
			if _, _, err := st.Pieces(e.Root); !errors.Is(err, ErrNotFound) {
				t.Errorf("pieces of what is whole: %v", err)
			}
		case begun.m.Root():
			if e.Whole || e.Length != begun.m.Length() || e.Bytes < e.Length || time.Since(e.Used) > time.Hour {
				t.Errorf("begun: %+v", e)
			}
			if have, of, err := st.Pieces(e.Root); have != 2 || of != 8 || err != nil {
				t.Errorf("it has %d of %d pieces: %v", have, of, err)
			}
		}
	}
	if must[*File](t)(st.File(whole.m.Root())).Close() != nil {
		t.Error("the times spoil it")
	}
	try(t, st.Remove(whole.m.Root()), st.Remove(begun.m.Root()))
	if all := must[[]Entry](t)(st.Survey()); len(all) != 0 {
		t.Errorf("left are %+v", all)
	}
}

func TestPins(t *testing.T) {
	t.Parallel()
	st := must[*Store](t)(Open(filepath.Join(t.TempDir(), "store"), Options{}))
	a, b := newSample(t, 1).m.Root(), newSample(t, 2).m.Root()
	try(t, st.Pin(a), st.Pin(b), st.Pin(a), st.Unpin(b), st.Unpin(b))
	try(t, os.WriteFile(filepath.Join(st.dir, pinnedDir, "README"), nil, 0o600))
	again := must[*Store](t)(Open(st.dir, Options{}))
	if got, err := again.Pinned(); len(got) != 1 || !got[a] || err != nil {
		t.Errorf("pinned are %v, %v", got, err)
	}
}

// TestFullDiskCanBeEmptied: what is complete can be deleted although there is no room for a lock.
func TestFullDiskCanBeEmptied(t *testing.T) {
	t.Parallel()
	dir := disktest.Real(t, 4<<20).Dir
	st := must[*Store](t)(Open(filepath.Join(dir, "store"), Options{}))
	s := newSample(t, 40)
	p := must[*Partial](t)(st.Begin(t.Context(), s.m))
	s.put(t, p, s.all()...)
	try(t, must[*File](t)(p.Seal(t.Context())).Close(), p.Close())
	fillDisk(t, dir)
	for n := 0; ; n++ { // the inodes, too
		f, err := os.Create(filepath.Join(st.dir, partialDir, strconv.Itoa(n)))
		if err != nil {
			break
		}
		f.Close()
	}
	try(t, st.Remove(s.m.Root()))
	if st.Has(s.m.Root()) {
		t.Error("it is still there")
	}
}
