package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

func openStore(t *testing.T) *Store {
	t.Helper()
	return must[*Store](t)(Open(filepath.Join(t.TempDir(), "var", "store"), Options{}))
}

// fill makes a sealed file of a sample.
func fill(t *testing.T, st *Store, s sample) string {
	t.Helper()
	p := must[*Partial](t)(st.Begin(t.Context(), s.m))
	s.put(t, p, s.all()...)
	f := must[*File](t)(p.Seal(t.Context()))
	try(t, f.Close(), p.Close())
	return f.Path()
}

func TestStoreKeepsContentUnderItsRoot(t *testing.T) {
	t.Parallel()
	st, s := openStore(t), newSample(t, 5)
	root := s.m.Root().String()
	if _, err := st.File(s.m.Root()); !errors.Is(err, ErrNotFound) {
		t.Errorf("before: %v", err)
	}
	p := must[*Partial](t)(st.Begin(t.Context(), s.m))
	s.put(t, p, 2)
	if got := names(t, st.dir); !slices.Equal(got, []string{"partial/" + root, "partial/" + root + ".state"}) {
		t.Errorf("while partial: %v", got)
	}
	if _, err := st.File(s.m.Root()); !errors.Is(err, ErrNotFound) {
		t.Errorf("half of it: %v", err)
	}
	if got := must[[]piecehash.Root](t)(st.Roots()); len(got) != 0 {
		t.Errorf("half of it is listed: %v", got)
	}
	try(t, p.Close())
	path := fill(t, st, s) // goes on with piece 2
	if got := names(t, st.dir); !slices.Equal(got, []string{"sealed/" + root, "sealed/" + root + ".manifest"}) {
		t.Errorf("when sealed: %v", got)
	}
	for _, name := range names(t, st.dir) {
		if info, err := os.Lstat(filepath.Join(st.dir, name)); err != nil || info.Mode().Perm() != 0o400 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	checkFile(t, closing(t, must[*File](t)(st.File(s.m.Root()))), s, path)
	if got := must[[]piecehash.Root](t)(st.Roots()); !slices.Equal(got, []piecehash.Root{s.m.Root()}) {
		t.Errorf("listed %v", got)
	}
	if _, err := st.Begin(t.Context(), s.m); !errors.Is(err, ErrSealed) {
		t.Errorf("begin again: %v", err)
	}
	if got := names(t, st.dir); len(got) != 2 {
		t.Errorf("begin again left %v", got)
	}
}

func TestSealedPieceIsHashedBeforeItIsServed(t *testing.T) {
	t.Parallel()
	st, s := openStore(t), newSample(t, 5)
	flip(t, fill(t, st, s), samplePiece+3)
	f := closing(t, must[*File](t)(st.File(s.m.Root())))
	if !f.Bitmap().Full() {
		t.Error("not believed at first")
	}
	var m *piecehash.Mismatch
	if _, err := f.ReadPiece(1, nil); !errors.Is(err, ErrDropped) || !errors.As(err, &m) || m.Piece != 1 || !fault.Is(err, fault.Unavailable) {
		t.Errorf("served damage: %v", err)
	}
	if _, err := f.ReadPiece(1, nil); !errors.Is(err, ErrMissing) {
		t.Errorf("once more: %v", err)
	}
	if got := list(f.Bitmap()); !slices.Equal(got, []int{0, 2, 3, 4}) {
		t.Errorf("left %v", got)
	}
}

func TestRepair(t *testing.T) {
	t.Parallel()
	st, s := openStore(t), newSample(t, 5)
	if _, err := st.Repair(t.Context(), s.m); !errors.Is(err, ErrNotFound) {
		t.Errorf("nothing there: %v", err)
	}
	path := fill(t, st, s)
	flip(t, path, samplePiece+3)
	p := closing(t, must[*Partial](t)(st.Repair(t.Context(), s.m)))
	if got := list(p.Bitmap()); !slices.Equal(got, []int{0, 2, 3, 4}) {
		t.Errorf("kept %v", got)
	}
	if _, err := st.File(s.m.Root()); !errors.Is(err, ErrNotFound) {
		t.Errorf("still complete: %v", err)
	}
	if _, err := st.Repair(t.Context(), s.m); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a second repair: %v", err)
	}
	checkFile(t, closing(t, finish(t, s, p)), s, path)
}

// TestBeginMendsASealedFile has damage that File notices at once: without help, the next Begin goes on with what is right.
func TestBeginMendsASealedFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(path string) error
		keeps []int
	}{
		"manifest gone":    {func(p string) error { return os.Remove(p + recordSuffix) }, []int{0, 1, 2, 3, 4}},
		"manifest flipped": {func(p string) error { flip(t, p+recordSuffix, 12); return nil }, []int{0, 1, 2, 3, 4}},
		"manifest cut":     {func(p string) error { return os.Truncate(p+recordSuffix, 40) }, []int{0, 1, 2, 3, 4}},
		"manifest long":    {func(p string) error { return os.Truncate(p+recordSuffix, 1<<28) }, []int{0, 1, 2, 3, 4}},
		"file cut":         {func(p string) error { return os.Truncate(p, 3*samplePiece+9) }, []int{0, 1, 2}},
		"file long":        {func(p string) error { return os.Truncate(p, 1<<20) }, []int{0, 1, 2, 3, 4}},
		"file gone":        {os.Remove, nil},
	} {
		st, s := openStore(t), newSample(t, 5)
		path := fill(t, st, s)
		try(t, os.Chmod(path, 0o600), os.Chmod(path+recordSuffix, 0o600), c.spoil(path))
		if _, err := st.File(s.m.Root()); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: opened: %v", name, err)
		}
		p := must[*Partial](t)(st.Begin(t.Context(), s.m))
		if got := list(p.Bitmap()); !slices.Equal(got, c.keeps) {
			t.Errorf("%s: kept %v, want %v", name, got, c.keeps)
		}
		checkFile(t, closing(t, finish(t, s, p)), s, path)
		try(t, p.Close())
		checkFile(t, closing(t, must[*File](t)(st.File(s.m.Root()))), s, path)
	}
}

func TestACrashInsideSeal(t *testing.T) {
	t.Parallel()
	s := newSample(t, 5)
	for name, c := range map[string]func(pl place) error{
		"before the state went": func(place) error { return nil },
		"before the name came":  func(pl place) error { return os.Remove(pl.state) },
		"mode already changed":  func(pl place) error { return errors.Join(os.Remove(pl.state), os.Chmod(pl.data, 0o400)) },
	} {
		st := openStore(t)
		p := must[*Partial](t)(st.Begin(t.Context(), s.m))
		s.put(t, p, s.all()...)
		try(t, p.sync(), p.saveRecord())
		crash(p)
		try(t, c(p.place))
		p = must[*Partial](t)(st.Begin(t.Context(), s.m))
		if !p.Bitmap().Full() {
			t.Errorf("%s: lost pieces, left %v", name, list(p.Bitmap()))
		}
		checkFile(t, closing(t, finish(t, s, p)), s, p.place.final)
		try(t, p.Close())
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	st, s := openStore(t), newSample(t, 5)
	try(t, st.Remove(s.m.Root())) // nothing there
	fill(t, st, s)
	f := closing(t, must[*File](t)(st.File(s.m.Root())))
	try(t, st.Remove(s.m.Root()))
	if got := names(t, st.dir); len(got) != 0 {
		t.Errorf("left %v", got)
	}
	if b, err := f.ReadPiece(0, nil); err != nil || !bytes.Equal(b, s.piece(0)) {
		t.Errorf("an open file lost its bytes: %v", err)
	}
	if _, err := f.Open(); err == nil {
		t.Error("opened a name that is gone")
	}
	p := must[*Partial](t)(st.Begin(t.Context(), s.m))
	if err := st.Remove(s.m.Root()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("removed a running download: %v", err)
	}
	s.put(t, p, 1)
	try(t, p.Close(), st.Remove(s.m.Root()))
	if got := names(t, st.dir); len(got) != 0 {
		t.Errorf("left %v", got)
	}
}

func TestOpenRefusesAnOpenFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	try(t, os.Chmod(dir, 0o755))
	if _, err := Open(dir, Options{}); !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "chmod 700") {
		t.Errorf("mode 0755: %v", err)
	}
	try(t, os.Chmod(dir, 0o700), os.Mkdir(filepath.Join(dir, sealedDir), 0o700), os.Chmod(filepath.Join(dir, sealedDir), 0o770))
	if _, err := Open(dir, Options{}); !fault.Is(err, fault.Refused) {
		t.Errorf("sub-folder with mode 0770: %v", err)
	}
}

func TestOpenSweepsOldUnfinishedRecords(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	dir := filepath.Join(st.dir, sealedDir)
	old, young := filepath.Join(dir, ".x.1.dunlin-tmp"), filepath.Join(dir, ".x.2.dunlin-tmp")
	past := time.Now().Add(-2 * sweepAge)
	try(t, os.WriteFile(old, nil, 0o600), os.WriteFile(young, nil, 0o600), os.Chtimes(old, past, past))
	must[*Store](t)(Open(st.dir, Options{}))
	if got := names(t, dir); !slices.Equal(got, []string{filepath.Base(young)}) {
		t.Errorf("left %v", got)
	}
}

// TestOnePieceFile has content without a piece layer.
func TestOnePieceFile(t *testing.T) {
	t.Parallel()
	st, s := openStore(t), sampleOf(t, "one", 5, samplePiece)
	path := fill(t, st, s)
	checkFile(t, closing(t, must[*File](t)(st.File(s.m.Root()))), s, path)
}

func TestPartialsAreListedAndRemoved(t *testing.T) {
	t.Parallel()
	st, s, running := openStore(t), newSample(t, 5), sampleOf(t, "another", 40_000, samplePiece)
	fill(t, st, sampleOf(t, "complete", 40_000, samplePiece))
	if got := must[[]piecehash.Root](t)(st.Partials()); len(got) != 0 {
		t.Errorf("nothing was begun: %v", got)
	}
	p := must[*Partial](t)(st.Begin(t.Context(), s.m))
	s.put(t, p, 2)
	try(t, p.Close(), os.WriteFile(filepath.Join(st.dir, partialDir, "notes.state"), nil, 0o600))
	closing(t, must[*Partial](t)(st.Begin(t.Context(), running.m)))
	got := must[[]piecehash.Root](t)(st.Partials())
	if len(got) != 2 || !slices.Contains(got, s.m.Root()) || !slices.Contains(got, running.m.Root()) {
		t.Errorf("listed %v", got)
	}
	try(t, st.Remove(s.m.Root()))
	if err := st.Remove(running.m.Root()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a download that runs: %v", err)
	}
	if got := must[[]piecehash.Root](t)(st.Partials()); !slices.Equal(got, []piecehash.Root{running.m.Root()}) {
		t.Errorf("left %v", got)
	}
	root := s.m.Root().String()
	try(t, os.WriteFile(filepath.Join(st.dir, partialDir, root), []byte("data alone"), 0o600))
	if got := must[[]piecehash.Root](t)(st.Partials()); len(got) != 2 {
		t.Errorf("data without a state is not listed: %v", got)
	}
}
