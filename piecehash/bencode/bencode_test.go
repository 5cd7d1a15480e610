package bencode_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/piecehash/bencode"
)

func TestCanonicalValues(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		"i0e":                    int64(0),
		"i-9223372036854775808e": int64(-1 << 63),
		"i9223372036854775807e":  int64(1<<63 - 1),
		"0:":                     "",
		"3:\x00\xffe":            "\x00\xffe",
		"le":                     []any{},
		"li1e1:ae":               []any{int64(1), "a"},
		"de":                     map[string]any{},
		"d0:i1e1:a1:b2:aalee":    map[string]any{"": int64(1), "a": "b", "aa": []any{}},
		strings.Repeat("l", bencode.MaxDepth+1) + strings.Repeat("e", bencode.MaxDepth+1): nil,
	} {
		got, err := bencode.Decode([]byte(text))
		if err != nil || want != nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v %v", text, got, err)
		}
		if back, err := bencode.Encode(got); string(back) != text || err != nil {
			t.Errorf("%q became %q: %v", text, back, err)
		}
	}
}

func TestEverythingElseIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "x", "i", "ie", "i1", "i-0e", "i01e", "i+1e", "i1.0e", "i 1e", "i9223372036854775808e", "i-e", "i0x1e",
		"i00000000000000000000000000000000000000001e", "1_0:aaaaaaaaaa",
		"-1:a", "01:a", "2:a", "1", "1a", ":", "99999999999999999999:", "9223372036854775807:a",
		"l", "li1e", "lx", "d", "d1:a", "d1:ae", "di1ei1ee", "d1:bi1e1:ai1ee", "d1:ai1e1:ai1ee", "dle1:ae",
		"i1ei2e", "le ", strings.Repeat("l", 200) + strings.Repeat("e", 200),
		"l" + strings.Repeat("le", bencode.MaxValues) + "e",
	} {
		var syntax *bencode.SyntaxError
		if v, err := bencode.Decode([]byte(text)); !errors.As(err, &syntax) || v != nil {
			t.Errorf("%.40q: %v %v", text, v, err)
		}
	}
}

func TestEncodeTakesBytesAndInts(t *testing.T) {
	t.Parallel()
	got, err := bencode.Encode(map[string]any{"b": []byte("x"), "a": 7})
	if string(got) != "d1:ai7e1:b1:xe" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	for _, v := range []any{nil, 1.5, []any{true}, map[string]any{"a": uint8(1)}} {
		if _, err := bencode.Encode(v); err == nil {
			t.Errorf("encoded %T", v)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"i-12e", "5:hello", "l1:ai2ee", "d1:ad1:bleee", "d1:ai1e1:ai1ee", "i01e"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := bencode.Decode(b)
		if err != nil {
			return
		}
		if back, err := bencode.Encode(v); err != nil || !bytes.Equal(back, b) {
			t.Errorf("%q became %q: %v", b, back, err)
		}
	})
}
