package wire

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMalformed is the error of every message that breaks the format or a bound of docs/protocol.md.
var ErrMalformed = errors.New("malformed message")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// field is one field of a message: u holds a varint, b the bytes of a length-delimited one.
type field struct {
	num protowire.Number
	typ protowire.Type
	u   uint64
	b   []byte
}

// scan calls f for each field of b in order. Groups are refused, fixed-width fields are passed on with their type only:
// this protocol has none, so they are always unknown.
func scan(b []byte, f func(field) error) error {
	for n := 0; len(b) > 0; n++ {
		if n == maxFields {
			return malformed("more than %d fields", maxFields)
		}
		x, size, err := consume(b)
		if err != nil {
			return err
		}
		b = b[size:]
		if err := f(x); err != nil {
			return err
		}
	}
	return nil
}

func consume(b []byte) (field, int, error) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return field{}, 0, malformed("tag: %v", protowire.ParseError(n))
	}
	x := field{num: num, typ: typ}
	var m int
	switch typ {
	case protowire.VarintType:
		x.u, m = protowire.ConsumeVarint(b[n:])
	case protowire.BytesType:
		x.b, m = protowire.ConsumeBytes(b[n:])
	case protowire.Fixed32Type:
		_, m = protowire.ConsumeFixed32(b[n:])
	case protowire.Fixed64Type:
		_, m = protowire.ConsumeFixed64(b[n:])
	default:
		return field{}, 0, malformed("field %d has wire type %d", num, typ)
	}
	if m < 0 {
		return field{}, 0, malformed("field %d: %v", num, protowire.ParseError(m))
	}
	return x, n + m, nil
}

// message reads the fields of one message into the places that spec names. A known field of the wrong type, one that
// comes twice, or one over its bound is malformed; an unknown one is skipped.
func message(b []byte, spec map[protowire.Number]slot) error {
	var seen uint64
	return scan(b, func(x field) error {
		s, ok := spec[x.num]
		if !ok {
			return nil
		}
		if seen>>uint(x.num)&1 == 1 {
			return malformed("field %d comes twice", x.num)
		}
		seen |= 1 << uint(x.num)
		return s(x)
	})
}

// slot takes the value of one field.
type slot func(field) error

// number is a varint field of at most limit.
func number[T ~uint8 | ~uint32 | ~uint64 | ~int | ~int64](p *T, limit uint64) slot {
	return func(x field) error {
		switch {
		case x.typ != protowire.VarintType:
			return malformed("field %d is no number", x.num)
		case x.u > limit:
			return malformed("field %d is %d, at most %d is allowed", x.num, x.u, limit)
		}
		*p = T(x.u)
		return nil
	}
}

func boolean(p *bool) slot {
	return func(x field) error {
		var u uint64
		if err := number(&u, 1)(x); err != nil {
			return err
		}
		*p = u == 1
		return nil
	}
}

// array is a bytes field of exactly len(p) bytes.
func array(p []byte) slot {
	return func(x field) error {
		if x.typ != protowire.BytesType || len(x.b) != len(p) {
			return malformed("field %d is not %d bytes long", x.num, len(p))
		}
		copy(p, x.b)
		return nil
	}
}

// blob is a bytes field of at most limit bytes. The value aliases the message.
func blob(p *[]byte, limit int) slot {
	return func(x field) error {
		if x.typ != protowire.BytesType || len(x.b) > limit {
			return malformed("field %d is not of at most %d bytes", x.num, limit)
		}
		*p = x.b
		return nil
	}
}

func appendNumber[T ~uint8 | ~uint32 | ~uint64 | ~int | ~int64](b []byte, num protowire.Number, v T) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(v))
}

func appendBool(b []byte, num protowire.Number, v bool) []byte {
	if !v {
		return b
	}
	return appendNumber(b, num, uint8(1))
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}

// envelope puts a message of the given kind around body.
func envelope(kind protowire.Number, body []byte) []byte {
	b := make([]byte, 0, len(body)+6)
	b = protowire.AppendTag(b, kind, protowire.BytesType)
	return protowire.AppendBytes(b, body)
}

// open takes the envelope off: exactly one field, whose number is the kind of the message.
func open(b []byte) (protowire.Number, []byte, error) {
	if len(b) > MaxMessage {
		return 0, nil, malformed("%d bytes, at most %d are allowed", len(b), MaxMessage)
	}
	x, n, err := consume(b)
	if err != nil {
		return 0, nil, err
	}
	if n != len(b) {
		return 0, nil, malformed("%d bytes after the message", len(b)-n)
	}
	if x.typ != protowire.BytesType {
		return 0, nil, malformed("kind %d is no message", x.num)
	}
	return x.num, x.b, nil
}
