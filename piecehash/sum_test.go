package piecehash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
)

// naiveRoot is BEP 52 as it reads: all leaves, zero hashes to the next power of two, joined level by level.
func naiveRoot(b []byte) Hash {
	var level []Hash
	for len(b) > 0 {
		n := min(LeafSize, len(b))
		level = append(level, sha256.Sum256(b[:n]))
		b = b[n:]
	}
	return naiveFold(level, nextPow2(len(level)), Hash{})
}

func naiveFold(level []Hash, width int, pad Hash) Hash {
	level = append([]Hash(nil), level...)
	for len(level) < width {
		level = append(level, pad)
	}
	for len(level) > 1 {
		for i := range len(level) / 2 {
			level[i] = join(level[2*i], level[2*i+1])
		}
		level = level[:len(level)/2]
	}
	return level[0]
}

func TestPadToEqualsPushingEveryPad(t *testing.T) {
	t.Parallel()
	pad := sha256.Sum256([]byte("pad"))
	for width := 1; width <= 64; width *= 2 {
		for n := 0; n <= width; n++ {
			var s subtree
			var level []Hash
			for i := range n {
				h := sha256.Sum256([]byte{byte(i)})
				s.push(h)
				level = append(level, h)
			}
			if got := s.padTo(width, pad); got != naiveFold(level, width, pad) {
				t.Errorf("%d nodes padded to %d", n, width)
			}
		}
	}
}

func TestSumEqualsTheNaiveTree(t *testing.T) {
	t.Parallel()
	const k = 1 << 10
	for _, n := range []int{
		1, 16*k - 1, 16 * k, 16*k + 1, 48 * k, 100*k + 1, 256*k - 1, 256 * k, 256*k + 1,
		512 * k, 600*k + 7, 1024 * k, 1024*k + 1, 3<<20 + 5,
	} {
		b := stream(n)
		for _, pieceLength := range []int64{0, 16 * k, 32 * k, 256 * k, 1 << 20, 4 << 20, 16 << 20} {
			t.Run(fmt.Sprintf("%d/%d", n, pieceLength), func(t *testing.T) {
				t.Parallel()
				m, whole, err := Sum(t.Context(), bytes.NewReader(b), pieceLength)
				if err != nil {
					t.Fatal(err)
				}
				checkSum(t, m, whole, b, pieceLength)
				m2, whole2, err := SumFile(t.Context(), bytes.NewReader(b), int64(n), pieceLength, nil)
				if err != nil || whole2 != whole || m2.Content != m.Content || !bytes.Equal(m2.Layer(), m.Layer()) {
					t.Errorf("SumFile differs: %v", err)
				}
			})
		}
	}
}

// checkSum checks a manifest against the bytes it is of, by other ways than Sum took.
func checkSum(t *testing.T, m *Manifest, whole Hash, b []byte, pieceLength int64) {
	t.Helper()
	if pieceLength == 0 {
		pieceLength = DefaultPieceLength(int64(len(b)))
	}
	if m.Length() != int64(len(b)) || m.PieceLength() != pieceLength {
		t.Errorf("length %d, piece length %d", m.Length(), m.PieceLength())
	}
	if m.Root() != Root(naiveRoot(b)) {
		t.Error("root differs from the naive tree's")
	}
	if whole != sha256.Sum256(b) {
		t.Error("SHA-256 differs")
	}
	if _, err := m.Prove(m.Layer()); err != nil {
		t.Errorf("layer does not prove itself: %v", err)
	}
	for i := range m.Pieces() {
		if err := m.Check(i, b[m.Offset(i):m.Offset(i)+m.PieceSize(i)]); err != nil {
			t.Errorf("piece %d of %d: %v", i, m.Pieces(), err)
		}
	}
}

// TestAutomaticPieceLengthIsThatOfTheLength has one file that is hashed at 256 KiB and folded to 1 MiB at the end.
func TestAutomaticPieceLengthIsThatOfTheLength(t *testing.T) {
	t.Parallel()
	b := stream(17<<20 + 3)
	m, whole, err := Sum(t.Context(), bytes.NewReader(b), 0)
	if err != nil {
		t.Fatal(err)
	}
	checkSum(t, m, whole, b, 1<<20)
}

func TestCheckRefusesEveryOtherPiece(t *testing.T) {
	t.Parallel()
	b := stream(3<<20 + 5)
	m, _, err := Sum(t.Context(), bytes.NewReader(b), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(b[:1<<20])
	flipped[77] ^= 4
	for name, bad := range map[string][]byte{
		"flipped bit": flipped, "short": b[:1<<20-1], "long": b[:1<<20+1], "empty": nil, "another piece": b[1<<20 : 2<<20],
	} {
		var mismatch *Mismatch
		if err := m.Check(0, bad); !errors.As(err, &mismatch) || mismatch.Piece != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAutomaticPieceLengthCoarsens drives the collector past MaxPieces with made-up roots: such a file is 256 GiB.
func TestAutomaticPieceLengthCoarsens(t *testing.T) {
	t.Parallel()
	for _, extra := range []int{0, 3} {
		c, err := newCollector(0, nil)
		if err != nil {
			t.Fatal(err)
		}
		var s subtree
		for i := range MaxPieces + extra {
			h := Hash{byte(i), byte(i >> 8), byte(i >> 16)}
			c.add(h, blockSize)
			s.push(h)
		}
		m, _, err := c.finish()
		if err != nil {
			t.Fatal(err)
		}
		want := s.padTo(nextPow2(MaxPieces+extra), zeroSubtree(blockSize/LeafSize))
		if m.Root() != Root(want) || m.PieceLength() != 4<<20 || m.Length() != int64(MaxPieces+extra)*blockSize {
			t.Errorf("%d extra: %d pieces of %d, root %v, want %v", extra, m.Pieces(), m.PieceLength(), m.Root(), want)
		}
	}
}

func TestSumFails(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	broken := errors.New("broken")
	cases := map[string]struct {
		ctx         context.Context
		r           io.Reader
		pieceLength int64
		want        error
	}{
		"nothing":      {t.Context(), bytes.NewReader(nil), 0, ErrEmpty},
		"cancelled":    {gone, bytes.NewReader(stream(1 << 20)), 0, context.Canceled},
		"broken":       {t.Context(), io.MultiReader(bytes.NewReader(stream(1<<20)), iotest.ErrReader(broken)), 0, broken},
		"piece length": {t.Context(), bytes.NewReader(stream(1)), 3 << 14, nil},
		"piece short":  {t.Context(), bytes.NewReader(stream(1)), 8 << 10, nil},
		"piece long":   {t.Context(), bytes.NewReader(stream(1)), 32 << 20, nil},
	}
	for name, c := range cases {
		m, _, err := Sum(c.ctx, c.r, c.pieceLength)
		if err == nil || m != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSumStopsAnEndlessStream(t *testing.T) {
	t.Parallel()
	line := pipeline{free: make(chan *block, 4), work: make(chan *block, 8), order: make(chan *block, 8)}
	for range 4 {
		line.free <- new(block)
	}
	if err := line.read(t.Context(), zeros{}, 1<<10, 3<<10); err == nil {
		t.Error("read on and on")
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestSumFileWantsTheWholeLength(t *testing.T) {
	t.Parallel()
	for _, have := range []int{0, 1, 99} {
		_, _, err := SumFile(t.Context(), bytes.NewReader(stream(have)), 100, 0, nil)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of 100 bytes: %v", have, err)
		}
	}
	if _, _, err := SumFile(t.Context(), bytes.NewReader(nil), 0, 0, nil); !errors.Is(err, ErrEmpty) {
		t.Errorf("empty: %v", err)
	}
	m, _, err := SumFile(t.Context(), bytes.NewReader(stream(200)), 100, 0, nil)
	if err != nil || m.Length() != 100 {
		t.Errorf("the first 100 of 200: %v", err)
	}
}

func TestSumFileTellsProgress(t *testing.T) {
	t.Parallel()
	const n = 3<<20 + 1
	var last int64
	_, _, err := SumFile(t.Context(), bytes.NewReader(stream(n)), n, 0, func(done int64) {
		if done <= last {
			t.Errorf("progress went from %d to %d", last, done)
		}
		last = done
	})
	if err != nil || last != n {
		t.Errorf("ended at %d of %d: %v", last, n, err)
	}
}

func BenchmarkSumFile(b *testing.B) {
	data := stream(64 << 20)
	for _, pieceLength := range []int64{256 << 10, 1 << 20, 4 << 20} {
		b.Run(fmt.Sprintf("piece=%dKiB", pieceLength>>10), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, _, err := SumFile(b.Context(), bytes.NewReader(data), int64(len(data)), pieceLength, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, pieceLength := range []int64{16 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("piece=%dKiB", pieceLength>>10), func(b *testing.B) {
			data := stream(int(2 * pieceLength))
			m, _, err := Sum(b.Context(), bytes.NewReader(data), pieceLength)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(pieceLength)
			for b.Loop() {
				if err := m.Check(0, data[:pieceLength]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSHA256 is the bound: a piece cannot be checked faster than its bytes are hashed.
func BenchmarkSHA256(b *testing.B) {
	data := stream(1 << 20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		sha256.Sum256(data)
	}
}
