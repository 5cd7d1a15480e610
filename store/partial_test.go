package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

func TestDownloadBesideTarget(t *testing.T) {
	t.Parallel()
	s := newSample(t, 9)
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	p := closing(t, must[*Partial](t)(BeginAt(t.Context(), path, s.m, Options{WholeHash: true})))
	if got := names(t, dir); !slices.Equal(got, []string{"file.part", "file.part.state"}) {
		t.Errorf("while partial: %v", got)
	}
	order := rand.Perm(s.m.Pieces())
	for _, i := range order {
		if fresh, err := p.Put(i, s.piece(i)); !fresh || err != nil {
			t.Errorf("piece %d: %v %v", i, fresh, err)
		}
		if fresh, err := p.Put(i, s.piece(i)); fresh || err != nil {
			t.Errorf("piece %d again: %v %v", i, fresh, err)
		}
		if got, err := p.ReadPiece(i, nil); err != nil || !bytes.Equal(got, s.piece(i)) {
			t.Errorf("read piece %d: %v", i, err)
		}
	}
	f := closing(t, must[*File](t)(p.Seal(t.Context())))
	if got := names(t, dir); !slices.Equal(got, []string{"file"}) {
		t.Errorf("when sealed: %v", got)
	}
	if sum, ok := f.SHA256(); !ok || sum != sha256.Sum256(s.data) {
		t.Errorf("SHA-256 %v %v in order %v", sum, ok, order)
	}
	checkFile(t, f, s, path)
	for _, i := range s.all() { // a Partial stays readable after Seal, and open for late pieces
		if got, err := p.ReadPiece(i, nil); err != nil || !bytes.Equal(got, s.piece(i)) {
			t.Errorf("read piece %d after Seal: %v", i, err)
		}
		if fresh, err := p.Put(i, s.piece(i)); fresh || err != nil {
			t.Errorf("put piece %d after Seal: %v %v", i, fresh, err)
		}
	}
}

// checkFile checks that f is the whole sample under path.
func checkFile(t *testing.T, f *File, s sample, path string) {
	t.Helper()
	if f.Path() != path || !f.Bitmap().Full() || f.Manifest().Root() != s.m.Root() {
		t.Errorf("path %s, bitmap %v", f.Path(), list(f.Bitmap()))
	}
	if b := must[[]byte](t)(os.ReadFile(path)); !bytes.Equal(b, s.data) {
		t.Error("other bytes on disk")
	}
	r := closing(t, must[*os.File](t)(f.Open()))
	if b := must[[]byte](t)(io.ReadAll(r)); !bytes.Equal(b, s.data) {
		t.Error("other bytes from Open")
	}
	buf := make([]byte, samplePiece)
	for _, i := range s.all() {
		if got, err := f.ReadPiece(i, buf); err != nil || !bytes.Equal(got, s.piece(i)) {
			t.Errorf("read piece %d: %v", i, err)
		}
	}
}

func TestPutRefusesWrongBytes(t *testing.T) {
	t.Parallel()
	s := newSample(t, 3)
	p := closing(t, must[*Partial](t)(BeginAt(t.Context(), filepath.Join(t.TempDir(), "f"), s.m, Options{})))
	bad := bytes.Clone(s.piece(1))
	bad[5] ^= 1
	for name, b := range map[string][]byte{"flipped": bad, "short": s.piece(1)[1:], "other": s.piece(0), "none": nil} {
		var m *piecehash.Mismatch
		fresh, err := p.Put(1, b)
		if fresh || !errors.As(err, &m) || m.Piece != 1 || !fault.Is(err, fault.Untrusted) {
			t.Errorf("%s: %v %v", name, fresh, err)
		}
	}
	if p.Has(1) || p.Bitmap().Count() != 0 {
		t.Error("wrong bytes count")
	}
	if _, err := p.ReadPiece(1, nil); !errors.Is(err, ErrMissing) {
		t.Errorf("read: %v", err)
	}
	if _, err := p.Seal(t.Context()); !errors.Is(err, ErrIncomplete) {
		t.Errorf("seal: %v", err)
	}
}

func TestClosedPartial(t *testing.T) {
	t.Parallel()
	s := newSample(t, 3)
	p := must[*Partial](t)(BeginAt(t.Context(), filepath.Join(t.TempDir(), "f"), s.m, Options{}))
	s.put(t, p, 0)
	try(t, p.Close(), p.Close(), p.Discard())
	if _, err := p.Put(1, s.piece(1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("put: %v", err)
	}
	if _, err := p.ReadPiece(0, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if !p.Has(0) {
		t.Error("a read of a closed file dropped the piece")
	}
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	s := newSample(t, 3)
	dir := t.TempDir()
	p := must[*Partial](t)(BeginAt(t.Context(), filepath.Join(dir, "f"), s.m, Options{}))
	s.put(t, p, 0)
	try(t, p.Discard())
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
	p = must[*Partial](t)(BeginAt(t.Context(), filepath.Join(dir, "f"), s.m, Options{}))
	s.put(t, p, s.all()...)
	f := must[*File](t)(p.Seal(t.Context()))
	try(t, f.Close(), p.Discard())
	if got := names(t, dir); !slices.Equal(got, []string{"f"}) {
		t.Errorf("Discard of a sealed file left %v", got)
	}
}

func TestSealTwice(t *testing.T) {
	t.Parallel()
	s := newSample(t, 2)
	p := must[*Partial](t)(BeginAt(t.Context(), filepath.Join(t.TempDir(), "f"), s.m, Options{}))
	s.put(t, p, s.all()...)
	for range 2 {
		f := must[*File](t)(p.Seal(t.Context()))
		if _, ok := f.SHA256(); ok {
			t.Error("a SHA-256 without WholeHash")
		}
		try(t, f.Close())
	}
	try(t, p.Close())
	if _, err := p.Seal(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("seal after close: %v", err)
	}
}

// TestManyAtOnce has writers that put every piece, readers and a sealer at the same time; for the race detector.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s := newSample(t, 64)
	p := closing(t, must[*Partial](t)(BeginAt(t.Context(), filepath.Join(t.TempDir(), "f"), s.m, Options{WholeHash: true})))
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for w := range 4 {
		wg.Go(func() {
			for _, i := range rand.New(rand.NewPCG(1, uint64(w))).Perm(s.m.Pieces()) {
				was, err := p.Put(i, s.piece(i))
				if err != nil {
					t.Error(err)
				}
				if was {
					mu.Lock()
					fresh++
					mu.Unlock()
				}
			}
		})
		wg.Go(func() {
			buf := make([]byte, samplePiece)
			for n := 0; n < 4*s.m.Pieces(); n++ {
				i := n % s.m.Pieces()
				b, err := p.ReadPiece(i, buf)
				if err != nil && !errors.Is(err, ErrMissing) || err == nil && !bytes.Equal(b, s.piece(i)) {
					t.Errorf("read piece %d: %v", i, err)
				}
				p.Bitmap()
			}
		})
	}
	var f *File
	wg.Go(func() {
		for f == nil {
			var err error
			if f, err = p.Seal(t.Context()); err != nil && !errors.Is(err, ErrIncomplete) {
				t.Error(err)
				return
			}
		}
	})
	wg.Wait()
	defer f.Close()
	if sum, _ := f.SHA256(); fresh != s.m.Pieces() || sum != sha256.Sum256(s.data) {
		t.Errorf("%d fresh pieces, want %d; SHA-256 %v", fresh, s.m.Pieces(), sum)
	}
}

func TestASealedFileCanBeExecuted(t *testing.T) {
	t.Parallel()
	st := must[*Store](t)(Open(filepath.Join(t.TempDir(), "store"), Options{}))
	s := newSample(t, 2)
	p := closing(t, must[*Partial](t)(st.Begin(t.Context(), s.m)))
	s.put(t, p, s.all()...)
	f := closing(t, must[*File](t)(p.Seal(t.Context())))
	for _, open := range []*os.File{p.data.Load(), f.f} {
		if _, err := open.WriteAt([]byte("x"), 0); err == nil {
			t.Error("still open for writing")
		}
	}
}
