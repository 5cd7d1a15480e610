package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"testing"

	"github.com/dunlin-project/dunlin/piecehash"
)

// sample is a file of some pieces, the last one short, with its manifest.
type sample struct {
	data []byte
	m    *piecehash.Manifest
}

const samplePiece = 16 << 10

func newSample(t testing.TB, pieces int) sample {
	t.Helper()
	return sampleOf(t, "sample", pieces*samplePiece-100, samplePiece)
}

func sampleOf(t testing.TB, seed string, size, pieceLength int) sample {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(data)
	m, _, err := piecehash.Sum(context.Background(), bytes.NewReader(data), int64(pieceLength))
	if err != nil {
		t.Fatal(err)
	}
	return sample{data, m}
}

func (s sample) piece(i int) []byte {
	return s.data[s.m.Offset(i) : s.m.Offset(i)+s.m.PieceSize(i)]
}

func (s sample) put(t testing.TB, p *Partial, pieces ...int) {
	t.Helper()
	for _, i := range pieces {
		if _, err := p.Put(i, s.piece(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func (s sample) all() []int { return span(0, s.m.Pieces()) }

func span(from, to int) []int {
	var out []int
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

func list(b piecehash.Bitmap) []int {
	var out []int
	for i := range b.Len() {
		if b.Has(i) {
			out = append(out, i)
		}
	}
	return out
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func try(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// closing closes c when the test ends.
func closing[T io.Closer](t testing.TB, c T) T {
	t.Helper()
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	try(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, rel)
		}
		return err
	}))
	sort.Strings(out)
	return out
}

// flip damages one bit of a file, whatever its mode.
func flip(t testing.TB, path string, offset int64) {
	t.Helper()
	info := must[fs.FileInfo](t)(os.Lstat(path))
	try(t, os.Chmod(path, 0o600))
	f := must[*os.File](t)(os.OpenFile(path, os.O_RDWR, 0))
	var b [1]byte
	_, err := f.ReadAt(b[:], offset)
	b[0] ^= 0x10
	_, err2 := f.WriteAt(b[:], offset)
	try(t, err, err2, f.Close(), os.Chmod(path, info.Mode().Perm()))
}

// crash ends a Partial as kill -9 does: what was written stays, nothing more is synced, the locks go.
func crash(p *Partial) {
	p.life.Lock()
	defer p.life.Unlock()
	_ = p.data.Load().Close()
	if p.stage == filling {
		_ = p.state.close()
	}
	p.stage = closed
}
