package wire

import (
	"bufio"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Ask is a message from the requester on PieceProtocol: a *Request or a *Cancel.
type Ask interface {
	ask() (protowire.Number, []byte)
}

// Request asks for one whole piece. ID is the requester's, unused by any request that is still open.
type Request struct {
	ID    uint32
	Room  uint32 // the requester's own number for the content, from its Interest
	Piece int
	Zstd  bool // the requester would rather have it compressed
}

// Cancel says that the answer to a request is not wanted any more.
type Cancel struct{ ID uint32 }

func (m *Request) ask() (protowire.Number, []byte) {
	b := appendNumber(nil, 1, m.ID)
	b = appendNumber(b, 2, m.Room)
	b = appendNumber(b, 3, m.Piece)
	return 1, appendBool(b, 4, m.Zstd)
}

func (m *Cancel) ask() (protowire.Number, []byte) { return 2, appendNumber(nil, 1, m.ID) }

// EncodeAsk returns the framed message.
func EncodeAsk(m Ask) []byte {
	kind, body := m.ask()
	return Frame(envelope(kind, body))
}

// DecodeAsk reads one message body. It returns nil and no error for a kind that is not known.
func DecodeAsk(b []byte) (Ask, error) {
	kind, body, err := open(b)
	if err != nil {
		return nil, err
	}
	switch kind {
	case 1:
		var m Request
		err = message(body, map[protowire.Number]slot{1: room(&m.ID), 2: room(&m.Room), 3: index(&m.Piece), 4: boolean(&m.Zstd)})
		return &m, err
	case 2:
		var m Cancel
		return &m, message(body, map[protowire.Number]slot{1: room(&m.ID)})
	}
	return nil, nil
}

// Answer is a message to the requester on PieceProtocol: a *Slice, *Busy or *NotHere.
type Answer interface {
	answer() (protowire.Number, []byte)
}

// Slice is a part of a piece. The parts of one request come in order and without gaps; the last ends at the end of the
// piece. Data is the last field, so that it can be read straight to its place.
type Slice struct {
	ID     uint32
	Offset int // in the piece
	Raw    int // length of the part when Data is compressed (one zstd frame), else 0
	Data   []byte
}

// Busy answers "not now".
type Busy struct {
	ID    uint32
	Retry time.Duration
}

// NotHere answers that the piece, or the content, is not there to be had.
type NotHere struct{ ID uint32 }

func (m *Slice) answer() (protowire.Number, []byte) {
	return 1, appendBytes(m.head(nil), 4, m.Data)
}

func (m *Slice) head(b []byte) []byte {
	b = appendNumber(b, 1, m.ID)
	b = appendNumber(b, 2, m.Offset)
	return appendNumber(b, 3, m.Raw)
}

func (m *Busy) answer() (protowire.Number, []byte) {
	return 2, appendNumber(appendNumber(nil, 1, m.ID), 2, m.Retry/time.Millisecond)
}
func (m *NotHere) answer() (protowire.Number, []byte) { return 3, appendNumber(nil, 1, m.ID) }

// EncodeAnswer returns the framed message.
func EncodeAnswer(m Answer) []byte {
	kind, body := m.answer()
	return Frame(envelope(kind, body))
}

// AppendSlice appends the framed slice to b, which has room for MaxMessage+3 bytes, without a second copy of the data.
func AppendSlice(b []byte, m *Slice) []byte {
	inner := len(m.head(make([]byte, 0, 24))) + protowire.SizeTag(4) + protowire.SizeBytes(len(m.Data))
	outer := protowire.SizeTag(1) + protowire.SizeBytes(inner)
	b = protowire.AppendVarint(b, uint64(outer))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	return appendBytes(m.head(b), 4, m.Data)
}

// DecodeAnswer reads one message body; a Slice's Data aliases b. It returns nil and no error for a kind that is not
// known.
func DecodeAnswer(b []byte) (Answer, error) {
	kind, body, err := open(b)
	if err != nil {
		return nil, err
	}
	switch kind {
	case 1:
		m, head, size, err := decodeSliceHead(body)
		if err != nil {
			return nil, err
		}
		if head+size != len(body) {
			return nil, malformed("the data does not end the slice")
		}
		m.Data = body[head:]
		return m, nil
	case 2:
		var m Busy
		return &m, message(body, map[protowire.Number]slot{1: room(&m.ID), 2: milliseconds(&m.Retry, MaxRetry)})
	case 3:
		var m NotHere
		return &m, message(body, map[protowire.Number]slot{1: room(&m.ID)})
	}
	return nil, nil
}

// decodeSliceHead reads the fields of a slice up to its data, which must be the last field and not empty. It returns
// the length of what it read, and of the data. b may end with the message or, at the earliest, where the data begins.
func decodeSliceHead(b []byte) (m *Slice, head, size int, err error) {
	m = new(Slice)
	spec := map[protowire.Number]slot{1: room(&m.ID), 2: number(&m.Offset, MaxPieceLength-1), 3: number(&m.Raw, MaxSlice)}
	var seen uint64
	for range maxFields {
		num, typ, n := protowire.ConsumeTag(b[head:])
		if n < 0 {
			return nil, 0, 0, malformed("slice: %v", protowire.ParseError(n))
		}
		if num == 4 && typ == protowire.BytesType {
			size, k, err := m.checkData(b[head+n:])
			return m, head + n + k, size, err
		}
		x, n, err := consume(b[head:])
		if err != nil {
			return nil, 0, 0, err
		}
		if s, ok := spec[num]; ok {
			if seen>>uint(num)&1 == 1 {
				return nil, 0, 0, malformed("field %d comes twice", num)
			}
			seen |= 1 << uint(num)
			if err := s(x); err != nil {
				return nil, 0, 0, err
			}
		}
		head += n
	}
	return nil, 0, 0, malformed("more than %d fields", maxFields)
}

// checkData reads the length of the data and checks that the slice as a whole is within bounds.
func (m *Slice) checkData(b []byte) (size, n int, err error) {
	u, n := protowire.ConsumeVarint(b)
	switch {
	case n < 0:
		return 0, 0, malformed("slice: %v", protowire.ParseError(n))
	case u == 0 || u > MaxSlice:
		return 0, 0, malformed("slice of %d bytes, from 1 to %d is allowed", u, MaxSlice)
	case m.Raw > 0 && uint64(m.Raw) < u:
		return 0, 0, malformed("slice of %d bytes compressed to %d", m.Raw, u)
	case m.Offset+max(m.Raw, int(u)) > MaxPieceLength:
		return 0, 0, malformed("slice beyond %d", MaxPieceLength)
	}
	return int(u), n, nil
}

// sliceHeadMax bounds the bytes before a slice's data when it carries known fields only: the envelope (4), id (6),
// offset (5), raw (4) and the data's own tag and length (4).
const sliceHeadMax = 32

// NextAnswer returns the next answer. For a Slice, Data is nil and size its length: the caller must call ReadData with
// a buffer of that size, or SkipData, before the next call.
func (r *Reader) NextAnswer() (m Answer, size int, err error) {
	n, err := r.length()
	if err != nil {
		return nil, 0, err
	}
	head, err := r.r.Peek(min(n, sliceHeadMax))
	if err != nil && err != bufio.ErrBufferFull {
		return nil, 0, unexpected(err)
	}
	if s, start, size, ok := peekSlice(head, n); ok {
		_, err := r.r.Discard(start)
		return s, size, err
	}
	b, err := r.rest(n)
	if err != nil {
		return nil, 0, err
	}
	return r.whole(b)
}

// whole is for answers without payload, and for slices with fields that are not known, whose data is put back.
func (r *Reader) whole(b []byte) (Answer, int, error) {
	m, err := DecodeAnswer(b)
	if s, ok := m.(*Slice); ok && err == nil {
		r.held, s.Data = s.Data, nil
		return s, len(r.held), nil
	}
	return m, 0, err
}

// peekSlice recognises a slice by its head alone: the start and the size of its data, which ends the message of n bytes.
func peekSlice(head []byte, n int) (s *Slice, start, size int, ok bool) {
	num, typ, t := protowire.ConsumeTag(head)
	if t < 0 || num != 1 || typ != protowire.BytesType {
		return nil, 0, 0, false
	}
	inner, k := protowire.ConsumeVarint(head[t:])
	if k < 0 || uint64(n) != uint64(t+k)+inner {
		return nil, 0, 0, false
	}
	s, h, size, err := decodeSliceHead(head[t+k:])
	if err != nil || t+k+h+size != n {
		return nil, 0, 0, false
	}
	return s, n - size, size, true
}
