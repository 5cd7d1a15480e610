package hostile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"testing"
)

// pieceLength is that of every payload up to 16 MiB.
const pieceLength = 256 << 10

// right returns the pieces of a partial file that are as they should be, whatever its records say.
func right(t *testing.T, path string, want []byte) map[int]bool {
	t.Helper()
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	have := map[int]bool{}
	buf := make([]byte, pieceLength)
	for i := 0; i*pieceLength < len(want); i++ {
		piece := want[i*pieceLength : min((i+1)*pieceLength, len(want))]
		n, err := f.ReadAt(buf[:len(piece)], int64(i)*pieceLength)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if bytes.Equal(buf[:n], piece) {
			have[i] = true
		}
	}
	return have
}

// notAgain checks that a range that was asked for holds no piece that was there.
func notAgain(t *testing.T, rng string, length int, have map[int]bool) {
	t.Helper()
	first, last := 0, length-1
	if rng != "" {
		if _, err := fmt.Sscanf(rng, "bytes=%d-%d", &first, &last); err != nil {
			t.Fatalf("range %q: %v", rng, err)
		}
	}
	for i := range have {
		if from, to := i*pieceLength, min((i+1)*pieceLength, length)-1; from <= last && to >= first {
			t.Errorf("piece %d was there and is in the range %q, which was asked for", i, rng)
		}
	}
}
