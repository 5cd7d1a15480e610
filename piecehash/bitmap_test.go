package piecehash

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestBitmapAgainstAMap(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 7, 8, 9, 63, 64, 65, 1000} {
		r := rand.New(rand.NewPCG(1, uint64(n)))
		m, want := NewBitmap(n), map[int]bool{}
		for range 3 * n {
			i := r.IntN(n)
			if r.IntN(3) > 0 {
				if got := m.Set(i); got == want[i] {
					t.Errorf("Set(%d) of %d: %v", i, n, got)
				}
				want[i] = true
			} else {
				if got := m.Clear(i); got != want[i] {
					t.Errorf("Clear(%d) of %d: %v", i, n, got)
				}
				delete(want, i)
			}
		}
		checkBitmap(t, m, n, want)
		back, err := ParseBitmap(n, m.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		checkBitmap(t, back, n, want)
	}
}

func checkBitmap(t *testing.T, m Bitmap, n int, want map[int]bool) {
	t.Helper()
	if m.Len() != n || m.Count() != len(want) || m.Full() != (len(want) == n) {
		t.Errorf("len %d count %d full %v, want %d %d", m.Len(), m.Count(), m.Full(), n, len(want))
	}
	next := -1
	for i := n; i >= 0; i-- {
		if i < n && !want[i] {
			next = i
		}
		if m.Has(i) != want[i] {
			t.Errorf("Has(%d) of %d: %v", i, n, m.Has(i))
		}
		if got := m.NextMissing(i); got != next {
			t.Errorf("NextMissing(%d) of %d: %d, want %d", i, n, got, next)
		}
	}
	if m.Has(-1) || m.NextMissing(-5) != next {
		t.Error("below 0")
	}
}

func TestCloneIsIndependent(t *testing.T) {
	t.Parallel()
	a := NewBitmap(10)
	b := a.Clone()
	a.Set(3)
	if b.Has(3) || b.Count() != 0 {
		t.Error("shared")
	}
}

func TestSetOutOfRangePanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	m := NewBitmap(3)
	m.Set(3)
}

func TestParseBitmapRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n int
		b []byte
	}{{-1, nil}, {MaxPieces + 1, make([]byte, MaxPieces/8+1)}, {8, nil}, {8, []byte{0, 0}}, {9, []byte{0}}, {7, []byte{0x80}}, {0, []byte{0}}} {
		if _, err := ParseBitmap(c.n, c.b); err == nil {
			t.Errorf("%d pieces, %x", c.n, c.b)
		}
	}
}

func FuzzParseBitmap(f *testing.F) {
	f.Add(9, []byte{0xff, 0x01})
	f.Add(9, []byte{0xff, 0x02})
	f.Add(0, []byte{})
	f.Fuzz(func(t *testing.T, n int, b []byte) {
		m, err := ParseBitmap(n, b)
		if err != nil {
			return
		}
		if !bytes.Equal(m.Bytes(), b) || m.Count() > m.Len() {
			t.Errorf("%x came back as %x", b, m.Bytes())
		}
	})
}
