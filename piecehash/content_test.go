package piecehash

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

func TestHashText(t *testing.T) {
	t.Parallel()
	good := strings.Repeat("0f", 32)
	h, err := ParseHash(good)
	if err != nil || h.String() != good {
		t.Errorf("%v %v", h, err)
	}
	r, err := ParseRoot(good)
	if err != nil || r.String() != good {
		t.Errorf("%v %v", r, err)
	}
	for _, bad := range []string{"", good[1:], good + "00", strings.ToUpper(good), strings.Repeat("0g", 32), " " + good[1:]} {
		if _, err := ParseHash(bad); err == nil {
			t.Errorf("hash %q accepted", bad)
		}
		if _, err := ParseRoot(bad); err == nil {
			t.Errorf("root %q accepted", bad)
		}
	}
	var back struct {
		H Hash
		R Root
	}
	text, err := json.Marshal(map[string]any{"H": h, "R": r})
	if err != nil || json.Unmarshal(text, &back) != nil || back.H != h || back.R != r {
		t.Errorf("%s: %v", text, err)
	}
}

func TestGeometry(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		length, pieceLength int64
		pieces              int
		last, layer         int64
	}{
		{1, 16 << 10, 1, 1, 0},
		{16 << 10, 16 << 10, 1, 16 << 10, 0},
		{16<<10 + 1, 16 << 10, 2, 1, 64},
		{3<<20 + 5, 1 << 20, 4, 5, 128},
		{MaxPieces * MinPieceLength, MinPieceLength, MaxPieces, MinPieceLength, 32 * MaxPieces},
		{MaxPieces * MaxPieceLength, MaxPieceLength, MaxPieces, MaxPieceLength, 32 * MaxPieces},
	} {
		got, err := NewContent(Root{1}, c.length, c.pieceLength)
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		last := got.Pieces() - 1
		if got.Pieces() != c.pieces || got.PieceSize(last) != c.last || got.LayerSize() != c.layer ||
			got.Offset(last)+got.PieceSize(last) != c.length {
			t.Errorf("%+v: %d pieces, last %d, layer %d", c, got.Pieces(), got.PieceSize(last), got.LayerSize())
		}
	}
}

func TestUnsoundGeometry(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]int64{
		{0, 16 << 10},
		{-1, 16 << 10},
		{math.MinInt64, 16 << 10},
		{1, 0},
		{1, -16384},
		{1, 8 << 10},
		{1, 32 << 20},
		{1, 48 << 10},
		{1, math.MinInt64},
		{MaxPieces*MinPieceLength + 1, MinPieceLength},
		{math.MaxInt64, MaxPieceLength},
	} {
		if got, err := NewContent(Root{}, c[0], c[1]); err == nil {
			t.Errorf("%v: %+v", c, got)
		}
	}
}

func TestPieceOutOfRangePanics(t *testing.T) {
	t.Parallel()
	m, _, err := Sum(t.Context(), strings.NewReader("x"), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{-1, 1} {
		for name, call := range map[string]func(){
			"Offset": func() { m.Offset(i) }, "PieceSize": func() { m.PieceSize(i) },
			"PieceHash": func() { m.PieceHash(i) }, "Check": func() { _ = m.Check(i, nil) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s(%d) did not panic", name, i)
					}
				}()
				call()
			}()
		}
	}
}

func TestDefaultPieceLength(t *testing.T) {
	t.Parallel()
	for length, want := range map[int64]int64{
		0: 256 << 10, 1: 256 << 10, 16 << 20: 256 << 10, 16<<20 + 1: 1 << 20, 8 << 30: 1 << 20, 8<<30 + 1: 4 << 20,
		4 << 40: 4 << 20, 4<<40 + 1: 8 << 20, 16 << 40: 16 << 20, math.MaxInt64: 16 << 20,
	} {
		if got := DefaultPieceLength(length); got != want {
			t.Errorf("%d: %d, want %d", length, got, want)
		}
	}
}

func TestProveRefuses(t *testing.T) {
	t.Parallel()
	m, _, err := Sum(t.Context(), bytes.NewReader(stream(100<<10)), 16<<10)
	if err != nil {
		t.Fatal(err)
	}
	layer := m.Layer()
	for name, bad := range map[string][]byte{"none": nil, "short": layer[:32], "long": append(layer, layer...)} {
		if _, err := m.Prove(bad); !errors.Is(err, ErrLayerSize) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range layer {
		layer[i] ^= 0x80
		var mismatch *Mismatch
		if _, err := m.Prove(layer); !errors.As(err, &mismatch) || mismatch.Piece != -1 {
			t.Errorf("byte %d: %v", i, err)
		}
		layer[i] ^= 0x80
	}
	one, _, err := Sum(t.Context(), bytes.NewReader(stream(5)), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.Prove(make([]byte, 32)); !errors.Is(err, ErrLayerSize) {
		t.Errorf("a layer for one piece: %v", err)
	}
}

func TestMismatchSaysWhat(t *testing.T) {
	t.Parallel()
	if got := (&Mismatch{Piece: 7}).Error(); !strings.Contains(got, "piece 7") {
		t.Error(got)
	}
	if got := (&Mismatch{Piece: -1}).Error(); !strings.Contains(got, "layer") {
		t.Error(got)
	}
}

// FuzzProve has the layer of content that is real for one input in many: only the real layer may prove itself, and what
// proved itself encodes to what it was.
func FuzzProve(f *testing.F) {
	m, _, err := Sum(f.Context(), bytes.NewReader(stream(100<<10)), 16<<10)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Layer(), m.Length(), m.PieceLength())
	f.Add([]byte{}, int64(5), int64(16384))
	f.Add(m.Layer()[:64], int64(32<<10), int64(16<<10))
	root := m.Root()
	f.Fuzz(func(t *testing.T, layer []byte, length, pieceLength int64) {
		c, err := NewContent(root, length, pieceLength)
		if err != nil || c.LayerSize() > 1<<20 {
			return
		}
		got, err := c.Prove(layer)
		if err != nil {
			return
		}
		if !bytes.Equal(got.Layer(), layer) {
			t.Error("the layer came back different")
		}
		// Eight pieces of which the last is all padding have the same root as seven: the root does not say the length.
		same := pieceLength == m.PieceLength() && len(layer) == len(m.Layer())
		if c.Pieces() == 1 && len(layer) > 0 || same && !bytes.Equal(layer, m.Layer()) {
			t.Errorf("another layer led to the same root")
		}
	})
}
