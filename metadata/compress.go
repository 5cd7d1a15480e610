package metadata

import "github.com/klauspost/compress/zstd"

// compressWindow bounds, in bytes, what a client must keep in memory to unpack what Compress gave. It is within what our
// own client allows (package metadata/tuf).
const compressWindow = 4 << 20

// Compress returns b as one zstd frame, for a server of metadata to send to clients that say they can unpack it. It is
// not cheap to begin, so what does not change should be compressed once.
func Compress(b []byte) []byte {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(compressWindow),
		zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithLowerEncoderMem(true))
	if err != nil { // only a wrong option makes one
		return b
	}
	defer enc.Close()
	return enc.EncodeAll(b, make([]byte, 0, len(b)/2))
}
