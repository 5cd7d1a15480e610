package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// finish fetches what is missing and seals, as a caller would: a second round if a believed piece was dropped.
func finish(t *testing.T, s sample, p *Partial) *File {
	t.Helper()
	for range 2 {
		for _, i := range s.all() {
			if !p.Has(i) {
				s.put(t, p, i)
			}
		}
		f, err := p.Seal(t.Context())
		if err == nil {
			return f
		}
		if !errors.Is(err, ErrDropped) {
			t.Fatal(err)
		}
	}
	t.Fatal("dropped again")
	return nil
}

func beginAt(t *testing.T, path string, s sample) *Partial {
	t.Helper()
	return must[*Partial](t)(BeginAt(t.Context(), path, s.m, Options{WholeHash: true}))
}

func TestResumeAfterClose(t *testing.T) {
	t.Parallel()
	s := newSample(t, 9)
	path := filepath.Join(t.TempDir(), "f")
	p := beginAt(t, path, s)
	s.put(t, p, 1, 4, 8)
	try(t, p.Close())
	p = closing(t, beginAt(t, path, s))
	if got := list(p.Bitmap()); !slices.Equal(got, []int{1, 4, 8}) {
		t.Errorf("kept %v", got)
	}
	if got := p.unsure(); len(got) != 3 {
		t.Errorf("believed without a hash: %v", got)
	}
	if _, err := p.ReadPiece(4, nil); err != nil || slices.Contains(p.unsure(), 4) {
		t.Errorf("a read piece is still unsure: %v", err)
	}
	checkFile(t, closing(t, finish(t, s, p)), s, path)
}

func TestUnmarkedPiecesAreFoundAgain(t *testing.T) {
	t.Parallel()
	s := newSample(t, 9)
	path := filepath.Join(t.TempDir(), "f")
	p := beginAt(t, path, s)
	s.put(t, p, 0, 3)
	try(t, p.sync())
	s.put(t, p, 5, 6, 8)
	torn := slices.Concat(s.piece(2)[:100], make([]byte, samplePiece-100))
	_, err := p.data.Load().WriteAt(torn, s.m.Offset(2))
	try(t, err)
	crash(p)
	p = closing(t, beginAt(t, path, s))
	if got := list(p.Bitmap()); !slices.Equal(got, []int{0, 3, 5, 6, 8}) {
		t.Errorf("found %v", got)
	}
	if got := p.unsure(); !slices.Equal(got, []int{0, 3}) {
		t.Errorf("unsure %v", got)
	}
	crash(p) // what was found was saved at once
	st := must[*stateFile](t)(openState(path + stateSuffix))
	defer st.close()
	if got := list(must[state](t)(st.load()).have); !slices.Equal(got, []int{0, 3, 5, 6, 8}) {
		t.Errorf("saved %v", got)
	}
}

// TestDamageAtEveryStep has the files of a download as they are after each step, and damages them in every way that a
// crash or a bad disk can: the next run must neither fail nor trust anything wrong, and must end with the right file.
func TestDamageAtEveryStep(t *testing.T) {
	t.Parallel()
	s := newSample(t, 7)
	steps := map[string]func(p *Partial){
		"begun":  func(*Partial) {},
		"put":    func(p *Partial) { s.put(t, p, 2, 5) },
		"synced": func(p *Partial) { s.put(t, p, 2, 5); try(t, p.sync()) },
		"more":   func(p *Partial) { s.put(t, p, 2, 5); try(t, p.sync()); s.put(t, p, 0, 6) },
		"full":   func(p *Partial) { s.put(t, p, s.all()...); try(t, p.sync()) },
	}
	slot := int64(slotSize(s.m.Content))
	size := s.m.Length()
	damages := map[string]func(part, state string) error{
		"none":          func(_, _ string) error { return nil },
		"state gone":    func(_, state string) error { return os.Remove(state) },
		"state empty":   func(_, state string) error { return os.Truncate(state, 0) },
		"state cut":     func(_, state string) error { return os.Truncate(state, slot+17) },
		"state zero":    func(_, state string) error { return os.WriteFile(state, make([]byte, 2*slot), 0o600) },
		"state garbage": func(_, state string) error { return os.WriteFile(state, bytes.Repeat([]byte("garbage "), 999), 0o600) },
		"state long":    func(_, state string) error { return os.Truncate(state, 1<<30) },
		"slot 0":        func(_, state string) error { flip(t, state, 70); return nil },
		"slot 1":        func(_, state string) error { flip(t, state, slot+70); return nil },
		"both slots":    func(_, state string) error { flip(t, state, 70); flip(t, state, slot+70); return nil },
		"data gone":     func(part, _ string) error { return os.Remove(part) },
		"data empty":    func(part, _ string) error { return os.Truncate(part, 0) },
		"data cut":      func(part, _ string) error { return os.Truncate(part, size/2) },
		"data long":     func(part, _ string) error { return os.Truncate(part, size+5000) },
		"data flipped":  func(part, _ string) error { flip(t, part, 2*samplePiece+9); return nil },
		"data flipped all": func(part, _ string) error {
			flip(t, part, 2*samplePiece)
			flip(t, part, 0)
			flip(t, part, size-1)
			return nil
		},
		"both gone": func(part, state string) error { return errors.Join(os.Remove(part), os.Remove(state)) },
		"renamed":   func(part, state string) error { return os.Remove(state) }, // a crash inside Seal
	}
	for step, prepare := range steps {
		for damage, do := range damages {
			t.Run(step+"/"+damage, func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "f")
				p := beginAt(t, path, s)
				prepare(p)
				crash(p)
				try(t, do(path+partSuffix, path+stateSuffix))
				p = closing(t, beginAt(t, path, s))
				mustBeRight(t, s, p)
				f := closing(t, finish(t, s, p))
				checkFile(t, f, s, path)
				if sum, ok := f.SHA256(); !ok || sum != sha256.Sum256(s.data) {
					t.Error("the whole-file hash is wrong")
				}
			})
		}
	}
}

// mustBeRight reads every piece that is said to be there: it is right, or it is dropped.
func mustBeRight(t *testing.T, s sample, p *Partial) {
	t.Helper()
	for _, i := range list(p.Bitmap()) {
		b, err := p.ReadPiece(i, nil)
		switch {
		case err == nil && !bytes.Equal(b, s.piece(i)):
			t.Errorf("piece %d was served wrong", i)
		case errors.Is(err, ErrDropped) && (p.Has(i) || !fault.Is(err, fault.Unavailable)):
			t.Errorf("piece %d: %v", i, err)
		case err != nil && !errors.Is(err, ErrDropped):
			t.Errorf("piece %d: %v", i, err)
		}
	}
}

func TestSealHashesWhatItOnlyBelieves(t *testing.T) {
	t.Parallel()
	for _, whole := range []bool{false, true} {
		s := newSample(t, 5)
		path := filepath.Join(t.TempDir(), "f")
		p := beginAt(t, path, s)
		s.put(t, p, s.all()...)
		try(t, p.Close())
		flip(t, path+partSuffix, 3*samplePiece)
		p = closing(t, must[*Partial](t)(BeginAt(t.Context(), path, s.m, Options{WholeHash: whole})))
		if _, err := p.Seal(t.Context()); !errors.Is(err, ErrDropped) || !fault.Is(err, fault.Unavailable) {
			t.Errorf("sealed a damaged piece: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Error("the name appeared")
		}
		if got := list(p.Bitmap()); !slices.Equal(got, []int{0, 1, 2, 4}) {
			t.Errorf("after the drop: %v", got)
		}
		if fresh, err := p.Put(3, s.piece(3)); !fresh || err != nil {
			t.Errorf("put again: %v %v", fresh, err)
		}
		checkFile(t, closing(t, must[*File](t)(p.Seal(t.Context()))), s, path)
	}
}

func TestSealEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := newSample(t, 5)
	path := filepath.Join(t.TempDir(), "f")
	p := beginAt(t, path, s)
	s.put(t, p, s.all()...)
	try(t, p.Close())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p = closing(t, beginAt(t, path, s))
	if _, err := p.Seal(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("seal: %v", err)
	}
	try(t, p.Close(), os.Remove(path+stateSuffix))
	if _, err := BeginAt(ctx, path, s.m, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("begin: %v", err)
	}
	p = closing(t, beginAt(t, path, s)) // and nothing was lost
	if !p.Bitmap().Full() {
		t.Errorf("left: %v", list(p.Bitmap()))
	}
}

func TestAnotherFileUnderTheSameName(t *testing.T) {
	t.Parallel()
	older, newer := newSample(t, 5), sampleOf(t, "newer", 3*samplePiece+7, samplePiece)
	path := filepath.Join(t.TempDir(), "f")
	p := beginAt(t, path, older)
	older.put(t, p, older.all()...)
	try(t, p.Close())
	p = closing(t, beginAt(t, path, newer))
	if n := p.Bitmap().Count(); n != 0 {
		t.Errorf("%d pieces of another file are believed", n)
	}
	checkFile(t, closing(t, finish(t, newer, p)), newer, path)
}

func TestAnotherPieceLengthKeepsWhatIsRight(t *testing.T) {
	t.Parallel()
	s := newSample(t, 9)
	coarse := sampleOf(t, "sample", len(s.data), 2*samplePiece)
	if coarse.m.Root() != s.m.Root() {
		t.Fatal("the samples differ")
	}
	path := filepath.Join(t.TempDir(), "f")
	p := beginAt(t, path, s)
	s.put(t, p, 0, 1, 3, 8)
	try(t, p.Close())
	p = closing(t, beginAt(t, path, coarse))
	if got := list(p.Bitmap()); !slices.Equal(got, []int{0, 4}) {
		t.Errorf("kept %v", got)
	}
	checkFile(t, closing(t, finish(t, coarse, p)), coarse, path)
}

func TestStrangersAreNotTouched(t *testing.T) {
	t.Parallel()
	s := newSample(t, 3)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	try(t, os.WriteFile(elsewhere, []byte("mine"), 0o600))
	for name, plant := range map[string]func(path string) error{
		"target there":      func(p string) error { return os.WriteFile(p, []byte("mine"), 0o600) },
		"target is a link":  func(p string) error { return os.Symlink("nowhere", p) },
		"target is a dir":   func(p string) error { return os.Mkdir(p, 0o700) },
		"part of another":   func(p string) error { return os.WriteFile(p+partSuffix, []byte("mine"), 0o600) },
		"part is a link":    func(p string) error { return os.Symlink(elsewhere, p+partSuffix) },
		"part is a dir":     func(p string) error { return os.Mkdir(p+partSuffix, 0o700) },
		"state is a link":   func(p string) error { return os.Symlink(elsewhere, p+stateSuffix) },
		"state is a folder": func(p string) error { return os.Mkdir(p+stateSuffix, 0o700) },
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		try(t, plant(path))
		before := fmt.Sprint(names(t, dir))
		_, err := BeginAt(t.Context(), path, s.m, Options{})
		if !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
		if after := fmt.Sprint(names(t, dir)); after != before {
			t.Errorf("%s: %s became %s", name, before, after)
		}
	}
	if b := must[[]byte](t)(os.ReadFile(elsewhere)); string(b) != "mine" {
		t.Error("a link was followed")
	}
}

func TestTargetThatAppearsMeanwhileIsKept(t *testing.T) {
	t.Parallel()
	s := newSample(t, 3)
	path := filepath.Join(t.TempDir(), "f")
	p := beginAt(t, path, s)
	s.put(t, p, s.all()...)
	try(t, os.WriteFile(path, []byte("mine"), 0o600))
	if _, err := p.Seal(t.Context()); !fault.Is(err, fault.Refused) {
		t.Errorf("seal: %v", err)
	}
	if b := must[[]byte](t)(os.ReadFile(path)); string(b) != "mine" {
		t.Error("it was overwritten")
	}
	try(t, os.Remove(path))
	checkFile(t, closing(t, must[*File](t)(p.Seal(t.Context()))), s, path)
	try(t, p.Close())
}

func TestTwoDownloadsOfOneFile(t *testing.T) {
	t.Parallel()
	s := newSample(t, 3)
	path := filepath.Join(t.TempDir(), "f")
	p := beginAt(t, path, s)
	s.put(t, p, 1)
	_, err := BeginAt(t.Context(), path, s.m, Options{})
	if !fault.Is(err, fault.Unavailable) || !errors.Is(err, ErrBusy) || fault.Hint(err) == "" {
		t.Errorf("a second one: %v", err)
	}
	try(t, p.Close())
	p = closing(t, beginAt(t, path, s))
	if !p.Has(1) {
		t.Error("the second attempt did damage")
	}
}

func TestRepairAt(t *testing.T) {
	t.Parallel()
	s := newSample(t, 5)
	path := filepath.Join(t.TempDir(), "f")
	try(t, os.WriteFile(path, append(bytes.Clone(s.data), "more"...), 0o600))
	flip(t, path, 2*samplePiece)
	p := closing(t, must[*Partial](t)(RepairAt(t.Context(), path, s.m, Options{})))
	if got := list(p.Bitmap()); !slices.Equal(got, []int{0, 1, 3, 4}) {
		t.Errorf("kept %v", got)
	}
	checkFile(t, closing(t, finish(t, s, p)), s, path)
	if _, err := RepairAt(t.Context(), path+"2", s.m, Options{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("repair of nothing: %v", err)
	}
	try(t, os.WriteFile(path+partSuffix, []byte("mine"), 0o600))
	if _, err := RepairAt(t.Context(), path, s.m, Options{}); !fault.Is(err, fault.Refused) {
		t.Errorf("repair over another partial: %v", err)
	}
}

// TestACrashInsideRepair has the two moments at which a repair can be cut: before and after the name goes back.
func TestACrashInsideRepair(t *testing.T) {
	t.Parallel()
	s := newSample(t, 5)
	path := filepath.Join(t.TempDir(), "f")
	damaged := append(bytes.Clone(s.data[:3*samplePiece+5]), "more"...)
	try(t, os.WriteFile(path, damaged, 0o600))
	cut := &Partial{ledger: newLedger(s.m), place: placeAt(path), state: must[*stateFile](t)(openState(path + stateSuffix))}
	try(t, cut.beginState(), cut.state.close())
	p := must[*Partial](t)(RepairAt(t.Context(), path, s.m, Options{}))
	crash(p)
	try(t, os.Truncate(path+partSuffix, int64(len(damaged)))) // as it was right after the rename
	p = closing(t, beginAt(t, path, s))
	if got := list(p.Bitmap()); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("kept %v", got)
	}
	checkFile(t, closing(t, finish(t, s, p)), s, path)
}

func TestNoFolder(t *testing.T) {
	t.Parallel()
	s := newSample(t, 2)
	_, err := BeginAt(t.Context(), filepath.Join(t.TempDir(), "no", "f"), s.m, Options{})
	if !fault.Is(err, fault.Unavailable) || !errors.Is(err, fs.ErrNotExist) || fault.Hint(err) == "" {
		t.Errorf("%v", err)
	}
}

func TestOpenAt(t *testing.T) {
	t.Parallel()
	s := newSample(t, 4)
	path := filepath.Join(t.TempDir(), "f")
	if _, err := OpenAt(t.Context(), path, s.m, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	try(t, os.WriteFile(path, s.data, 0o600))
	var done int64
	f := closing(t, must[*File](t)(OpenAt(t.Context(), path, s.m, func(n int64) { done = n })))
	if sum, ok := f.SHA256(); !ok || sum != sha256.Sum256(s.data) || done != s.m.Length() {
		t.Errorf("SHA-256 %v %v, progress %d", sum, ok, done)
	}
	checkFile(t, f, s, path)
	for name, c := range map[string]struct {
		data  []byte
		piece int
	}{
		"flipped": {slices.Concat(s.data[:samplePiece+1], []byte{s.data[samplePiece+1] ^ 1}, s.data[samplePiece+2:]), 1},
		"short":   {s.data[:2*samplePiece+5], 2},
		"long":    {append(bytes.Clone(s.data), 0), 3},
		"empty":   {nil, 0},
	} {
		try(t, os.WriteFile(path, c.data, 0o600))
		var m *piecehash.Mismatch
		if _, err := OpenAt(t.Context(), path, s.m, nil); !errors.As(err, &m) || m.Piece != c.piece || !fault.Is(err, fault.Untrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenAt(t.Context(), filepath.Dir(path), s.m, nil); !fault.Is(err, fault.Refused) {
		t.Errorf("a folder: %v", err)
	}
}
