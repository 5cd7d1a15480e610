package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// fuzz holds a decoder to its promises: no panic, malformed is malformed, and what it took encodes to something that
// decodes to the same.
func fuzz(f *testing.F, proto string) {
	c := codecs()[proto]
	for _, m := range samples()[proto] {
		f.Add(body(f, c.encode(m)))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := c.decode(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v is not ErrMalformed", err)
			}
			return
		}
		if m == nil {
			return
		}
		first := c.encode(m)
		again, err := c.decode(body(t, first))
		if err != nil || !bytes.Equal(first, c.encode(again)) {
			t.Fatalf("%#v came back as %#v, %v", m, again, err)
		}
	})
}

func FuzzAuth(f *testing.F)   { fuzz(f, "auth") }
func FuzzSite(f *testing.F)   { fuzz(f, "site") }
func FuzzAsk(f *testing.F)    { fuzz(f, "ask") }
func FuzzAnswer(f *testing.F) { fuzz(f, "answer") }
func FuzzLayer(f *testing.F)  { fuzz(f, "layer") }

// FuzzStream reads any bytes as answers, with the payload in place: it must agree with the decoder of whole messages.
func FuzzStream(f *testing.F) {
	var all []byte
	for _, m := range answers() {
		all = append(all, EncodeAnswer(m)...)
	}
	f.Add(all)
	f.Add(Frame(envelope(1, append([]byte{0x98, 0x06, 1}, []byte{0x22, 3, 'a', 'b', 'c'}...))))
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, inPlace := NewReader(bytes.NewReader(b)), NewReader(bytes.NewReader(b))
		for {
			frame, err1 := whole.Next()
			var want Answer
			if err1 == nil {
				want, err1 = DecodeAnswer(frame)
			}
			got, size, err2 := inPlace.NextAnswer()
			if s, ok := got.(*Slice); ok && err2 == nil {
				s.Data = make([]byte, size)
				err2 = inPlace.ReadData(s.Data)
			}
			if (err1 == nil) != (err2 == nil) {
				t.Fatalf("whole: %v, in place: %v", err1, err2)
			}
			if err1 != nil {
				return
			}
			if want == nil != (got == nil) || want != nil && !bytes.Equal(EncodeAnswer(want), EncodeAnswer(got)) {
				t.Fatalf("whole: %#v, in place: %#v", want, got)
			}
		}
	})
}

// FuzzFrames: no length makes the reader allocate or read more than a message.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{5, 1, 2, 3, 4, 5})
	f.Add(bytes.Repeat([]byte{0xff}, 12))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		for {
			m, err := r.Next()
			if err != nil {
				if !errors.Is(err, ErrMalformed) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				return
			}
			if len(m) == 0 || len(m) > MaxMessage {
				t.Fatalf("a message of %d bytes", len(m))
			}
		}
	})
}
