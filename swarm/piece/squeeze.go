package piece

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/swarm/wire"
)

// worthwhile is the share of a piece that must be left at most, in percent, for compression to be used at all.
const worthwhile = 90

// squeeze compresses what of one content is served to slow links, if its first MiB shows that it shrinks. Most updates are
// compressed already; then that is all it costs.
type squeeze struct {
	mu      sync.Mutex // guards the rest
	zip     *zstd.Encoder
	decided bool
	pays    bool
	raw     int64 // of the first piece
	packed  int64
}

// slice makes the slice of a request: compressed when the peer wants it and it pays.
func (q *squeeze) slice(m *wire.Request, off int, data []byte) *wire.Slice {
	s := &wire.Slice{ID: m.ID, Offset: off, Data: data}
	if !m.Zstd {
		return s
	}
	zip := q.encoder()
	if zip == nil {
		return s
	}
	packed := zip.EncodeAll(data, make([]byte, 0, len(data)))
	q.learn(len(data), len(packed))
	if len(packed) < len(data) {
		s.Data, s.Raw = packed, len(data)
	}
	return s
}

// encoder returns nil when compression does not pay.
func (q *squeeze) encoder() *zstd.Encoder {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.decided && !q.pays {
		return nil
	}
	if q.zip == nil {
		zip, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(64<<10), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
		if err != nil {
			q.decided = true // only for options that are constant here
			return nil
		}
		q.zip = zip
	}
	return q.zip
}

// sampleBytes is how much is compressed before it is decided: about a piece.
const sampleBytes = 1 << 20

func (q *squeeze) learn(raw, packed int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.decided {
		return
	}
	q.raw += int64(raw)
	q.packed += int64(packed)
	if q.raw >= sampleBytes {
		q.decided, q.pays = true, q.packed*100 < q.raw*worthwhile
		if !q.pays {
			q.zip = nil
		}
	}
}

// errExpand is the error of a compressed slice that is not what it says.
var errExpand = errors.New("compressed slice does not give the bytes it promises")

// expander unpacks slices. Its memory is bounded by the window and by the place that the bytes go to.
type expander struct {
	zip    *zstd.Decoder
	packed []byte
}

// into reads size packed bytes and unpacks them to exactly dst.
func (x *expander) into(r *wire.Reader, dst []byte, size int) error {
	if x.zip == nil {
		zip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(128<<10), zstd.WithDecoderMaxMemory(wire.MaxSlice), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return fmt.Errorf("set up zstd: %w", err)
		}
		x.zip, x.packed = zip, make([]byte, wire.MaxSlice)
	}
	if err := r.ReadData(x.packed[:size]); err != nil {
		return err
	}
	out, err := x.zip.DecodeAll(x.packed[:size], dst[:0:len(dst)])
	if err != nil {
		return fmt.Errorf("%w: %w", errExpand, err)
	}
	if len(out) != len(dst) {
		return fmt.Errorf("%w: %d bytes, want %d", errExpand, len(out), len(dst))
	}
	return nil
}

func (x *expander) close() {
	if x.zip != nil {
		x.zip.Close()
	}
}
