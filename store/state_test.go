package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dunlin-project/dunlin/piecehash"
)

func TestStateComesBack(t *testing.T) {
	t.Parallel()
	for _, pieces := range []int{1, 7, 8, 9, 70000} {
		c, err := piecehash.NewContent(piecehash.Root{7}, int64(pieces)*samplePiece, samplePiece)
		try(t, err)
		in := state{c, 41, piecehash.NewBitmap(pieces)}
		in.have.Set(pieces / 2)
		older := state{c, 40, piecehash.NewBitmap(pieces)}
		for _, b := range [][]byte{slices.Concat(in.encode(), older.encode()), slices.Concat(older.encode(), in.encode())} {
			out, err := decodeState(b)
			if err != nil || out.content != c || out.seq != 41 || !bytes.Equal(out.have.Bytes(), in.have.Bytes()) {
				t.Errorf("%d pieces: %+v %v", pieces, out, err)
			}
		}
		if n := len(in.encode()); n != slotSize(c) || 2*n > maxState {
			t.Errorf("a slot of %d bytes", n)
		}
	}
}

// TestTornSave has a save that got any number of bytes to the disk: the state is the new one or the one before.
func TestTornSave(t *testing.T) {
	t.Parallel()
	s := newSample(t, 9)
	path := filepath.Join(t.TempDir(), "state")
	st := must[*stateFile](t)(openState(path))
	defer st.close()
	have := piecehash.NewBitmap(9)
	try(t, st.begin(s.m.Content, have))
	for i := range 9 {
		before := must[[]byte](t)(os.ReadFile(path))
		have.Set(i)
		try(t, st.save(s.m.Content, have))
		after := must[[]byte](t)(os.ReadFile(path))
		if len(after) != len(before) {
			t.Fatal("a save needs room")
		}
		for cut := 0; cut < len(after); cut += 13 {
			got, err := decodeState(slices.Concat(after[:cut], before[cut:]))
			if n := got.have.Count(); err != nil || n != i && n != i+1 {
				t.Fatalf("save %d torn at %d: %d pieces, %v", i, cut, n, err)
			}
			if n := got.have.Count(); !slices.Equal(list(got.have), span(0, n)) {
				t.Fatalf("save %d torn at %d: %v", i, cut, list(got.have))
			}
		}
	}
}

func TestStateIsLockedUntilItIsClosed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	a := must[*stateFile](t)(openState(path))
	if _, err := openState(path); !errors.Is(err, ErrBusy) {
		t.Errorf("opened twice: %v", err)
	}
	try(t, a.remove())
	b := must[*stateFile](t)(openState(path)) // a new file: the lock on the removed one is worth nothing
	if _, err := openState(path); !errors.Is(err, ErrBusy) {
		t.Errorf("opened twice: %v", err)
	}
	try(t, b.close())
}

func TestGroupSyncMarksWhatWasPut(t *testing.T) {
	t.Parallel()
	s := newSample(t, 9)
	path := filepath.Join(t.TempDir(), "f")
	p := beginAt(t, path, s)
	saved := func() []int { return list(must[state](t)(p.state.load()).have) }
	s.put(t, p, 0, 1)
	if got := saved(); len(got) != 0 {
		t.Errorf("synced at once: %v", got)
	}
	p.unsynced.Store(syncBytes - 1)
	s.put(t, p, 2)
	p.behind.Wait()
	if got := saved(); !slices.Equal(got, []int{0, 1, 2}) || p.unsynced.Load() != 0 {
		t.Errorf("by bytes: %v", got)
	}
	s.put(t, p, 3)
	p.lastSync.Store(int64(-syncEvery))
	s.put(t, p, 4)
	p.behind.Wait()
	if got := saved(); !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
		t.Errorf("by time: %v", got)
	}
	s.put(t, p, 5)
	try(t, p.Close())
	st := closing(t, closer{must[*stateFile](t)(openState(path + stateSuffix))})
	if got := list(must[state](t)(st.load()).have); !slices.Equal(got, []int{0, 1, 2, 3, 4, 5}) {
		t.Errorf("by Close: %v", got)
	}
}

type closer struct{ *stateFile }

func (c closer) Close() error { return c.close() }

// TestAFailedSyncEndsTheDownload has a disk that fails to sync once: nobody knows what it kept, so nothing more counts.
func TestAFailedSyncEndsTheDownload(t *testing.T) {
	t.Parallel()
	s := newSample(t, 5)
	path := filepath.Join(t.TempDir(), "f")
	p := beginAt(t, path, s)
	s.put(t, p, 0)
	good := p.state.f
	p.state.f = closing(t, must[*os.File](t)(os.Open(os.DevNull))) // cannot be written
	if err := p.sync(); err == nil {
		t.Fatal("synced to nowhere")
	}
	p.state.f = good
	if _, err := p.Put(1, s.piece(1)); err == nil {
		t.Error("put after a failed sync")
	}
	if _, err := p.ReadPiece(0, nil); err != nil {
		t.Errorf("read: %v", err)
	}
	if err := p.Close(); err == nil {
		t.Error("Close hides it")
	}
	p = closing(t, beginAt(t, path, s))
	if got := list(p.Bitmap()); !slices.Equal(got, []int{0}) {
		t.Errorf("after a restart: %v", got)
	}
}

func FuzzDecodeState(f *testing.F) {
	s := newSample(f, 9)
	have := piecehash.NewBitmap(9)
	a := state{s.m.Content, 1, have}.encode()
	have.Set(4)
	b := state{s.m.Content, 2, have}.encode()
	f.Add(slices.Concat(a, b))
	f.Add(slices.Concat(b, make([]byte, len(b))))
	f.Add(slices.Concat(make([]byte, len(b)), b))
	f.Fuzz(func(t *testing.T, in []byte) {
		st, err := decodeState(in)
		if err != nil {
			return
		}
		slot := in[:len(in)/2]
		if out := st.encode(); !bytes.HasPrefix(slot, trim(out)) && !bytes.HasPrefix(in[len(in)/2:], trim(out)) {
			t.Errorf("%+v was not in the input", st)
		}
		if st.have.Len() != st.content.Pieces() {
			t.Errorf("a bitmap of %d for %d pieces", st.have.Len(), st.content.Pieces())
		}
	})
}

// trim cuts the zeros at the end of a slot, of which the decoder takes no notice.
func trim(b []byte) []byte { return bytes.TrimRight(b, "\x00") }

func FuzzDecodeRecord(f *testing.F) {
	s, one := newSample(f, 9), sampleOf(f, "one", 5, samplePiece)
	f.Add(encodeRecord(s.m))
	f.Add(encodeRecord(one.m))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, root := range []piecehash.Root{s.m.Root(), one.m.Root()} {
			m, err := decodeRecord(in, root)
			if err == nil && !bytes.Equal(encodeRecord(m), in) {
				t.Error("the record came back different")
			}
		}
	})
}
