package store

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestWriteAtInSteps: all of it comes to its place, whatever its length is to the step.
func TestWriteAtInSteps(t *testing.T) {
	t.Parallel()
	f := must[*os.File](t)(os.Create(filepath.Join(t.TempDir(), "f")))
	defer f.Close()
	const before = 1000
	for _, n := range []int{0, 1, writeStep - 1, writeStep, writeStep + 1, 2*writeStep + 77} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i*i>>8 + n)
		}
		try(t, f.Truncate(0), writeAt(f, b, before))
		got := must[[]byte](t)(io.ReadAll(io.NewSectionReader(f, before, 1<<30)))
		if !bytes.Equal(got, b) {
			t.Errorf("%d bytes: %d were written, or others", n, len(got))
		}
	}
}

// brokenAfter takes so many bytes.
type brokenAfter int64

func (w brokenAfter) WriteAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > int64(w) {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

// TestWriteAtFails when any of the steps does.
func TestWriteAtFails(t *testing.T) {
	t.Parallel()
	b := make([]byte, 2*writeStep+1)
	for most, want := range map[brokenAfter]error{
		0: io.ErrShortWrite, writeStep: io.ErrShortWrite, 2 * writeStep: io.ErrShortWrite, 2*writeStep + 1: nil,
	} {
		if err := writeAt(most, b, 0); !errors.Is(err, want) {
			t.Errorf("a disk that takes %d bytes: %v, want %v", most, err, want)
		}
	}
}
