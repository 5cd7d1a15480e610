package store

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

const benchSize = 64 << 20

func benchPartial(b *testing.B, pieceLength int, o Options) (sample, *Partial) {
	b.Helper()
	s := sampleOf(b, "bench", benchSize, pieceLength)
	return s, must[*Partial](b)(BeginAt(b.Context(), filepath.Join(b.TempDir(), "f"), s.m, o))
}

// BenchmarkPut is hashing, writing and marking, with the group syncs that fall due; a download cannot be faster.
func BenchmarkPut(b *testing.B) {
	for _, whole := range []bool{false, true} {
		b.Run(fmt.Sprintf("whole=%v", whole), func(b *testing.B) {
			s := sampleOf(b, "bench", benchSize, 1<<20)
			b.SetBytes(benchSize)
			for b.Loop() {
				p := must[*Partial](b)(BeginAt(b.Context(), filepath.Join(b.TempDir(), "f"), s.m, Options{WholeHash: whole}))
				s.put(b, p, s.all()...)
				try(b, must[*File](b)(p.Seal(b.Context())).Close(), p.Close(), os.Remove(p.place.final))
			}
		})
	}
}

// BenchmarkReadPiece is serving without the network.
func BenchmarkReadPiece(b *testing.B) {
	for _, pieceLength := range []int{256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("piece=%dKiB", pieceLength>>10), func(b *testing.B) {
			s, p := benchPartial(b, pieceLength, Options{})
			defer p.Discard()
			s.put(b, p, s.all()...)
			b.SetBytes(int64(pieceLength))
			b.RunParallel(func(pb *testing.PB) {
				var buf []byte
				for i := 0; pb.Next(); i++ {
					got, err := p.ReadPiece(i%s.m.Pieces(), buf)
					if err != nil {
						b.Error(err)
						return
					}
					buf = got
				}
			})
		})
	}
}
