package wire

import (
	"bufio"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// Reader reads frames: a varint length of at most three bytes, then that many bytes.
type Reader struct {
	r   *bufio.Reader
	buf []byte // the last frame; the caller's until the next call

	// Watch, if set, is called with true when the first byte of a frame has come and with false when all have, so that
	// the caller can give a deadline to the rest. A slice's data counts as the caller's.
	Watch func(begun bool)

	held []byte // data of a slice that was read with its frame; ReadData takes it from here
}

// readBuffer holds a few control messages, or the head of a slice. Payload is read past it.
const readBuffer = 4 << 10

// NewReader reads frames from r. It may read ahead.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, readBuffer)} }

// Next returns the next frame. It is valid until the next call. The error is io.EOF only between frames.
func (r *Reader) Next() ([]byte, error) {
	n, err := r.length()
	if err != nil {
		return nil, err
	}
	b, err := r.rest(n)
	r.watch(false)
	return b, err
}

func (r *Reader) watch(begun bool) {
	if r.Watch != nil {
		r.Watch(begun)
	}
}

// ReadData reads the data of the slice that NextAnswer announced into b, which has exactly its size. It can be called
// several times, for parts of it.
func (r *Reader) ReadData(b []byte) error {
	if r.held != nil {
		n := copy(b, r.held)
		r.held = r.held[n:]
		if len(r.held) == 0 {
			r.held = nil
		}
		b = b[n:]
	}
	if len(b) == 0 {
		return nil
	}
	_, err := io.ReadFull(r.r, b)
	return unexpected(err)
}

// SkipData reads n bytes of the slice that NextAnswer announced and forgets them.
func (r *Reader) SkipData(n int) error {
	k := min(n, len(r.held))
	if r.held = r.held[k:]; len(r.held) == 0 {
		r.held = nil
	}
	_, err := r.r.Discard(n - k)
	return unexpected(err)
}

func (r *Reader) rest(n int) ([]byte, error) {
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	b := r.buf[:n]
	if _, err := io.ReadFull(r.r, b); err != nil {
		return nil, unexpected(err)
	}
	return b, nil
}

func (r *Reader) length() (int, error) {
	n := 0
	for i := range 3 {
		c, err := r.r.ReadByte()
		if err != nil {
			if i == 0 {
				return 0, err
			}
			return 0, unexpected(err)
		}
		if i == 0 {
			r.watch(true)
		}
		n |= int(c&0x7f) << (7 * i)
		if c < 0x80 {
			return checkLength(n)
		}
	}
	return 0, malformed("length of more than three bytes")
}

func checkLength(n int) (int, error) {
	if n == 0 || n > MaxMessage {
		return 0, malformed("length %d, from 1 to %d is allowed", n, MaxMessage)
	}
	return n, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Frame puts the length before a message body. It panics when the body is longer than MaxMessage: what we say
// ourselves is bounded by how it is made.
func Frame(body []byte) []byte {
	if len(body) == 0 || len(body) > MaxMessage {
		panic(fmt.Sprintf("wire: message of %d bytes", len(body)))
	}
	b := make([]byte, 0, len(body)+3)
	b = protowire.AppendVarint(b, uint64(len(body)))
	return append(b, body...)
}
