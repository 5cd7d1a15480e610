package wire

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// fill returns 32 bytes of one value, for ids and nonces.
func fill(c byte) (b [32]byte) {
	for i := range b {
		b[i] = c
	}
	return b
}

// auths, sites, asks, answers and layers are one message of each kind, with every field set.
func auths() []Auth {
	return []Auth{
		&Hello{Method: MethodOpen, Nonce: fill(1), Tag: fill(2)},
		&Hello{Method: MethodCert, Nonce: fill(1), Tag: fill(2)},
		&Challenge{Nonce: fill(3), Proof: fill(4)},
		&Proof{Proof: fill(5), Role: 1},
		&Welcome{Role: 1},
		&Welcome{},
		&Denied{Reason: DeniedGroup},
	}
}

func sites() []Site {
	return []Site{
		&Interest{Room: 7, Swarm: fill(6), Epoch: 2, Pieces: 300},
		&Bitmap{Room: 7, First: 8, Bits: []byte{0xff, 1}},
		&Bitmap{Room: 7, Bits: []byte{0x80}, Last: true},
		&Bitmap{Room: 7, Full: true, Last: true},
		&Bitmap{Room: 7, Last: true},
		&Have{Room: 7, Runs: []Run{{0, 1}, {5, 200}}},
		&Claim{Room: 7, Run: Run{16, 16}, Rate: 12_500_000, Done: 1 << 20},
		&Release{Room: 7, Run: Run{16, 16}},
		&Have{Room: 7, Runs: []Run{{5, 1}}, Word: Word{Seq: 1_700_000_000_000}},
		&Have{Room: 7, Runs: []Run{{5, 1}}, Word: Word{Sayer: "\x00\x02id", Seq: 9, Hops: 7}},
		&Claim{Room: 7, Run: Run{16, 16}, Rate: 12_500_000, Done: 1 << 20, Word: Word{Sayer: "\x00\x02id", Seq: 10}},
		&Release{Room: 7, Run: Run{16, 16}, Word: Word{Sayer: "\x00\x02id", Seq: 11, Hops: MaxHops}},
		&Links{Room: 7, Anew: true},
		&Links{Room: 7, Linked: []Short{{1, 2, 3, 4, 5, 6, 7, 8}, {9}}, Unlinked: []Short{{8}}},
		&Absent{Room: 7},
		&Leave{Room: 7},
	}
}

func asks() []Ask {
	return []Ask{&Request{ID: 1, Room: 7, Piece: 3, Zstd: true}, &Request{Room: 7}, &Cancel{ID: 1}}
}

func answers() []Answer {
	return []Answer{
		&Slice{ID: 1, Offset: 65_472, Raw: 6, Data: []byte("data")},
		&Slice{Data: []byte{0}},
		&Busy{ID: 1, Retry: 250 * time.Millisecond},
		&NotHere{ID: 1},
	}
}

func layers() []Layer {
	return []Layer{
		&LayerAsk{Swarm: fill(6), Epoch: 2, PieceLength: 1 << 20, Pieces: 300},
		&LayerPart{Data: []byte("hashes")},
		&LayerAbsent{},
	}
}

// codec is one protocol's encoder and decoder, without their types.
type codec struct {
	encode func(any) []byte
	decode func([]byte) (any, error)
}

func codecs() map[string]codec {
	return map[string]codec{
		"auth":   {func(m any) []byte { return EncodeAuth(m.(Auth)) }, func(b []byte) (any, error) { return plain(DecodeAuth(b)) }},
		"site":   {func(m any) []byte { return EncodeSite(m.(Site)) }, func(b []byte) (any, error) { return plain(DecodeSite(b)) }},
		"ask":    {func(m any) []byte { return EncodeAsk(m.(Ask)) }, func(b []byte) (any, error) { return plain(DecodeAsk(b)) }},
		"answer": {func(m any) []byte { return EncodeAnswer(m.(Answer)) }, func(b []byte) (any, error) { return plain(DecodeAnswer(b)) }},
		"layer":  {func(m any) []byte { return EncodeLayer(m.(Layer)) }, func(b []byte) (any, error) { return plain(DecodeLayer(b)) }},
	}
}

// plain makes a nil interface of a nil message.
func plain[M any](m M, err error) (any, error) {
	if v := reflect.ValueOf(&m).Elem(); v.IsNil() {
		return nil, err
	}
	return m, err
}

func samples() map[string][]any {
	return map[string][]any{
		"auth": anys(auths()), "site": anys(sites()), "ask": anys(asks()), "answer": anys(answers()), "layer": anys(layers()),
	}
}

func anys[M any](ms []M) (out []any) {
	for _, m := range ms {
		out = append(out, m)
	}
	return out
}

// body takes the length off a frame.
func body(t testing.TB, frame []byte) []byte {
	t.Helper()
	b, err := NewReader(bytes.NewReader(frame)).Next()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b)
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for proto, ms := range samples() {
		c := codecs()[proto]
		for _, m := range ms {
			got, err := c.decode(body(t, c.encode(m)))
			if err != nil || !reflect.DeepEqual(got, m) {
				t.Errorf("%s: %#v came back as %#v, %v", proto, m, got, err)
			}
		}
	}
}

// TestUnknown: what a later version adds is skipped, whole messages and fields alike.
func TestUnknown(t *testing.T) {
	t.Parallel()
	extra := protowire.AppendTag(nil, 99, protowire.BytesType)
	extra = protowire.AppendString(extra, "later")
	extra = protowire.AppendTag(extra, 98, protowire.Fixed64Type)
	extra = protowire.AppendFixed64(extra, 1)
	extra = protowire.AppendTag(extra, 97, protowire.Fixed32Type)
	extra = protowire.AppendFixed32(extra, 1)
	for proto, ms := range samples() {
		c := codecs()[proto]
		if m, err := c.decode(envelope(200, extra)); m != nil || err != nil {
			t.Errorf("%s: an unknown kind is %v, %v", proto, m, err)
		}
		for _, m := range ms {
			kind, inner, err := open(body(t, c.encode(m)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.decode(envelope(kind, append(bytes.Clone(extra), inner...)))
			if err != nil || !reflect.DeepEqual(got, m) {
				t.Errorf("%s: with unknown fields %#v came back as %#v, %v", proto, m, got, err)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	num := func(n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
	}
	raw := func(n protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), v)
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	id := make([]byte, 32)
	runs := func(v ...uint64) (b []byte) {
		for _, u := range v {
			b = protowire.AppendVarint(b, u)
		}
		return b
	}
	for name, c := range map[string]struct {
		proto string
		b     []byte
	}{
		"nothing":                   {"site", nil},
		"two messages in one":       {"site", join(envelope(8, num(1, 7)), envelope(8, num(1, 7)))},
		"an envelope of a number":   {"site", num(8, 7)},
		"a group":                   {"site", protowire.AppendTag(nil, 8, protowire.StartGroupType)},
		"field number 0":            {"site", []byte{2, 0}},
		"cut short":                 {"site", envelope(8, num(1, 7))[:3]},
		"a varint of 11 bytes":      {"site", envelope(8, join([]byte{8}, bytes.Repeat([]byte{0xff}, 10), []byte{1}))},
		"over the largest message":  {"site", make([]byte, MaxMessage+1)},
		"a field of the wrong type": {"site", envelope(8, raw(1, []byte{7}))},
		"a field twice":             {"site", envelope(8, join(num(1, 7), num(1, 7)))},
		"a room of 33 bits":         {"site", envelope(8, num(1, 1<<32))},
		"too many fields":           {"site", envelope(8, bytes.Repeat(num(99, 1), maxFields+1))},
		"nonce of 31 bytes":         {"auth", envelope(1, raw(2, id[1:]))},
		"tag of 33 bytes":           {"auth", envelope(1, raw(3, append(id, 0)))},
		"role 256":                  {"auth", envelope(4, num(1, 256))},
		"content of no pieces":      {"site", envelope(1, join(num(1, 1), raw(2, id)))},
		"content of 2^20+1 pieces":  {"site", envelope(1, join(num(1, 1), raw(2, id), num(4, MaxPieces+1)))},
		"bitmap off the byte":       {"site", envelope(2, join(num(1, 1), num(2, 7), raw(3, []byte{1})))},
		"bitmap beyond 2^20":        {"site", envelope(2, join(num(1, 1), num(2, MaxPieces), raw(3, []byte{1})))},
		"bitmap too long":           {"site", envelope(2, join(num(1, 1), raw(3, make([]byte, MaxBitmapPart+1))))},
		"full bitmap with bits":     {"site", envelope(2, join(num(1, 1), raw(3, []byte{1}), num(4, 1), num(5, 1)))},
		"full bitmap with a sequel": {"site", envelope(2, join(num(1, 1), num(4, 1)))},
		"empty part of a bitmap":    {"site", envelope(2, num(1, 1))},
		"a bool of 2":               {"site", envelope(2, join(num(1, 1), num(4, 2), num(5, 1)))},
		"half a run":                {"site", envelope(3, join(num(1, 1), raw(2, runs(1))))},
		"a run of nothing":          {"site", envelope(3, join(num(1, 1), raw(2, runs(1, 0))))},
		"a run from -1":             {"site", envelope(3, join(num(1, 1), raw(2, runs(1<<64-1, 1))))},
		"a run beyond 2^20":         {"site", envelope(3, join(num(1, 1), raw(2, runs(MaxPieces-1, 2))))},
		"too many runs":             {"site", envelope(3, join(num(1, 1), raw(2, bytes.Repeat([]byte{1, 1}, MaxRuns+1))))},
		"claim of nothing":          {"site", envelope(4, join(num(1, 1), num(2, 3)))},
		"claim beyond 2^20":         {"site", envelope(4, join(num(1, 1), num(2, MaxPieces-1), num(3, MaxPieces)))},
		"claim at a mad rate":       {"site", envelope(4, join(num(1, 1), num(3, 1), num(4, MaxRate+1)))},
		"release of nothing":        {"site", envelope(5, num(1, 1))},
		"request for piece 2^20":    {"ask", envelope(1, num(3, MaxPieces))},
		"slice without data":        {"answer", envelope(1, num(1, 1))},
		"slice of no data":          {"answer", envelope(1, raw(4, nil))},
		"slice too long":            {"answer", envelope(1, raw(4, make([]byte, MaxSlice+1)))},
		"slice beyond a piece":      {"answer", envelope(1, join(num(2, MaxPieceLength-1), raw(4, id)))},
		"slice that grew":           {"answer", envelope(1, join(num(3, 31), raw(4, id)))},
		"slice with a tail":         {"answer", envelope(1, join(raw(4, id), num(1, 1)))},
		"slice with a field twice":  {"answer", envelope(1, join(num(1, 1), num(1, 1), raw(4, id)))},
		"busy for an hour":          {"answer", envelope(2, num(2, 3_600_000))},
		"layer part of nothing":     {"layer", envelope(2, nil)},
		"layer part too long":       {"layer", envelope(2, raw(1, make([]byte, MaxLayerPart+1)))},
		"layer of huge pieces":      {"layer", envelope(1, join(raw(1, id), num(3, MaxPieceLength+1)))},
	} {
		if _, err := codecs()[c.proto].decode(c.b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"nothing":               {nil, io.EOF},
		"length 0":              {[]byte{0}, ErrMalformed},
		"length too large":      {[]byte{0xf1, 0xff, 0x03}, ErrMalformed},
		"length of four bytes":  {[]byte{0x80, 0x80, 0x80, 1}, ErrMalformed},
		"half a length":         {[]byte{0x80}, io.ErrUnexpectedEOF},
		"half a message":        {[]byte{5, 1, 2}, io.ErrUnexpectedEOF},
		"no message after it":   {[]byte{5}, io.ErrUnexpectedEOF},
		"2^32-1":                {[]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, ErrMalformed},
		"length of eleven 0xff": {bytes.Repeat([]byte{0xff}, 11), ErrMalformed},
	} {
		r := NewReader(bytes.NewReader(c.in))
		if _, err := r.Next(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestSliceIsReadInPlace: however the bytes come, NextAnswer and ReadData give what DecodeAnswer gives.
func TestSliceIsReadInPlace(t *testing.T) {
	t.Parallel()
	big := &Slice{ID: 1 << 31, Offset: MaxPieceLength - MaxSlice, Data: bytes.Repeat([]byte("x"), MaxSlice)}
	unknown := Frame(envelope(1, append(append([]byte{0x9a, 0x06, 40}, make([]byte, 40)...), []byte{0x22, 3, 'a', 'b', 'c'}...)))
	var stream []byte
	stream = append(stream, EncodeAnswer(&Busy{ID: 9, Retry: time.Second})...)
	stream = append(stream, AppendSlice(nil, big)...)
	stream = append(stream, unknown...)
	stream = append(stream, EncodeAnswer(&Slice{ID: 3, Raw: 9, Data: []byte("zz")})...)
	stream = append(stream, Frame(envelope(77, []byte{8, 1}))...)
	stream = append(stream, EncodeAnswer(&NotHere{ID: 4})...)
	want := []Answer{&Busy{ID: 9, Retry: time.Second}, big, &Slice{Data: []byte("abc")}, &Slice{ID: 3, Raw: 9, Data: []byte("zz")}, nil, &NotHere{ID: 4}}
	for name, in := range map[string]io.Reader{
		"at once":       bytes.NewReader(stream),
		"byte for byte": iotest.OneByteReader(bytes.NewReader(stream)),
		"in halves":     iotest.HalfReader(bytes.NewReader(stream)),
	} {
		r := NewReader(in)
		for i, w := range want {
			m, size, err := r.NextAnswer()
			if err != nil {
				t.Fatalf("%s, message %d: %v", name, i, err)
			}
			if s, ok := m.(*Slice); ok {
				s.Data = make([]byte, size)
				if err := r.ReadData(s.Data); err != nil {
					t.Fatal(err)
				}
			}
			if m != nil && !reflect.DeepEqual(m, w) || m == nil && w != nil {
				t.Errorf("%s, message %d: %.80v, want %.80v", name, i, m, w)
			}
		}
		if _, _, err := r.NextAnswer(); err != io.EOF {
			t.Errorf("%s: %v at the end", name, err)
		}
	}
}

func TestSkipData(t *testing.T) {
	t.Parallel()
	odd := Frame(envelope(1, append([]byte{0x98, 0x06, 1}, []byte{0x22, 3, 'a', 'b', 'c'}...)))
	stream := append(AppendSlice(nil, &Slice{ID: 1, Data: make([]byte, 50_000)}), odd...)
	stream = append(stream, EncodeAnswer(&NotHere{ID: 4})...)
	r := NewReader(strings.NewReader(string(stream)))
	for range 2 {
		_, size, err := r.NextAnswer()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.SkipData(size); err != nil {
			t.Fatal(err)
		}
	}
	if m, _, err := r.NextAnswer(); err != nil || !reflect.DeepEqual(m, &NotHere{ID: 4}) {
		t.Errorf("%v, %v", m, err)
	}
}

// TestAppendSliceIsEncodeAnswer: the two encoders of a slice agree at the edges of their length fields.
func TestAppendSliceIsEncodeAnswer(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 100, 120, 127, 128, 16_000, 16_383, 16_384, MaxSlice} {
		for _, s := range []*Slice{{Data: make([]byte, n)}, {ID: 1<<32 - 1, Offset: MaxPieceLength - MaxSlice, Raw: n, Data: make([]byte, n)}} {
			if a, b := AppendSlice(nil, s), EncodeAnswer(s); !bytes.Equal(a, b) {
				t.Errorf("%d bytes: %x and %x", n, a[:min(len(a), 40)], b[:min(len(b), 40)])
			}
		}
	}
}

// TestHelloIsTheLongest: nothing that is said before the proof is longer than what asked for it, so that nobody can use
// a listener to multiply traffic.
func TestHelloIsTheLongest(t *testing.T) {
	t.Parallel()
	hello := len(EncodeAuth(&Hello{Method: MethodOpen, Nonce: fill(1), Tag: fill(2)}))
	for _, m := range []Auth{&Challenge{Nonce: fill(1), Proof: fill(2)}, &Denied{Reason: DeniedProof}} {
		if n := len(EncodeAuth(m)); n > hello {
			t.Errorf("%T has %d bytes, a Hello %d", m, n, hello)
		}
	}
}
