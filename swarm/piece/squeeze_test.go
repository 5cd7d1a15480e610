package piece

import (
	"bytes"
	"errors"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// packed is a compressed slice that says it stands for raw bytes.
func packed(id uint32, data []byte, raw int) *wire.Slice {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return &wire.Slice{ID: id, Raw: raw, Data: w.EncodeAll(data, nil)}
}

// through sends a slice over the wire and unpacks it to n bytes.
func through(t *testing.T, x *expander, s *wire.Slice, n int) ([]byte, error) {
	t.Helper()
	r := wire.NewReader(bytes.NewReader(wire.EncodeAnswer(s)))
	_, size, err := r.NextAnswer()
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, n)
	return dst, x.into(r, dst, size)
}

func TestSqueezeWhatShrinks(t *testing.T) {
	t.Parallel()
	var q squeeze
	var x expander
	defer x.close()
	text := bytes.Repeat([]byte("all the same words, "), wire.MaxSlice)[:wire.MaxSlice]
	for range 40 {
		s := q.slice(&wire.Request{ID: 1, Zstd: true}, 0, text)
		if s.Raw != len(text) || len(s.Data) > len(text)/10 {
			t.Fatalf("%d bytes of %d, raw %d", len(s.Data), len(text), s.Raw)
		}
		if got, err := through(t, &x, s, len(text)); err != nil || !bytes.Equal(got, text) {
			t.Fatal("not the same again", err)
		}
	}
	if s := q.slice(&wire.Request{ID: 1}, 0, text); s.Raw != 0 {
		t.Error("compressed, though nobody asked for it")
	}
}

// TestSqueezeGivesUp: what does not shrink is tried once.
func TestSqueezeGivesUp(t *testing.T) {
	t.Parallel()
	var q squeeze
	noise, _ := fetchtest.Content(3, wire.MaxSlice, 256<<10)
	for i := range 40 {
		if s := q.slice(&wire.Request{Zstd: true}, 0, noise); s.Raw != 0 || !bytes.Equal(s.Data, noise) {
			t.Fatalf("slice %d: raw %d", i, s.Raw)
		}
	}
	if !q.decided || q.pays || q.zip != nil {
		t.Error("it still tries")
	}
}

func TestExpanderRefuses(t *testing.T) {
	t.Parallel()
	var x expander
	defer x.close()
	for name, s := range map[string]*wire.Slice{
		"less":      packed(1, make([]byte, 999), 1000),
		"more":      packed(1, make([]byte, 1001), 1000),
		"much more": packed(1, make([]byte, 8<<20), 1000),
		"a stream":  {Raw: 1000, Data: append(packed(1, make([]byte, 500), 0).Data, 1, 2, 3)},
		"nothing":   {Raw: 1000, Data: []byte{0x28, 0xb5, 0x2f, 0xfd}},
	} {
		if _, err := through(t, &x, s, 1000); !errors.Is(err, errExpand) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add(packed(1, []byte("hello"), 5).Data, uint16(5))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0}, uint16(100))
	var x expander
	f.Fuzz(func(t *testing.T, b []byte, n uint16) {
		if len(b) == 0 || len(b) > wire.MaxSlice || int(n) > wire.MaxSlice || int(n) < len(b) {
			return
		}
		if _, err := through(t, &x, &wire.Slice{Raw: int(n), Data: b}, int(n)); err != nil && !errors.Is(err, errExpand) {
			t.Fatal(err)
		}
	})
}
