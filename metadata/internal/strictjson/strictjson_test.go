package strictjson_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/metadata/internal/strictjson"
)

func limits() strictjson.Limits { return strictjson.Limits{Bytes: 1 << 10, Depth: 4} }

func TestCheck(t *testing.T) {
	t.Parallel()
	cases := []struct {
		text string
		err  string // a part of the error; empty means that the text is good
	}{
		{`{}`, ""},
		{`[]`, ""},
		{`""`, ""},
		{`0`, ""},
		{`-1`, ""},
		{`true`, ""},
		{`false`, ""},
		{"{\n\t\"a\" : [ 1 , 2 ] }\n", ""},
		{`{"a":{"b":1},"c":{"b":1}}`, ""},
		{`9007199254740991`, ""},
		{`-9007199254740991`, ""},
		{`"\u003c\ud83d\ude00\"\\\/\b\f\n\r\t"`, ""},
		{`"ü\u00fc"`, ""},
		{``, "want a value"},
		{` `, "want a value"},
		{`{} {}`, "after the value"},
		{`{}x`, "after the value"},
		{"\ufeff{}", "want a value"},
		{`null`, "null"},
		{`{"a":null}`, "null"},
		{`[null]`, "null"},
		{`nul`, "null"},
		{`tru`, "true"},
		{`falsy`, "false"},
		{`1.0`, "integers"},
		{`1e3`, "integers"},
		{`1E3`, "integers"},
		{`-0`, "shortest"},
		{`00`, "shortest"},
		{`01`, "shortest"},
		{`-`, "shortest"},
		{`+1`, "want a value"},
		{`9007199254740992`, "2^53"},
		{`-9007199254740992`, "2^53"},
		{`99999999999999999999999999`, "2^53"},
		{`{"a":1,"a":2}`, "twice"},
		{`{"a":1,"\u0061":2}`, "twice"},
		{`[{"a":1,"b":{"a":1},"a":1}]`, "twice"},
		{`{a:1}`, "want a key"},
		{`{"a"}`, "':'"},
		{`{"a":}`, "want a value"},
		{`{"a":1,}`, "want a key"},
		{`[1,]`, "want a value"},
		{`{"a":1`, "'}'"},
		{`[1`, "']'"},
		{`[1 2]`, "']'"},
		{"{}\r", "carriage return"},
		{`"\u00FC"`, "lower-case hex"},
		{`"\u00g0"`, "lower-case hex"},
		{`"\u00`, "without an end"},
		{`"\ud83d"`, "surrogate"},
		{`"\ud83d\u0041"`, "surrogate"},
		{`"\ude00\ud83d"`, "surrogate"},
		{`"\ud83dx"`, "surrogate"},
		{`"\x"`, "escape"},
		{`"`, "without an end"},
		{`"\`, "without an end"},
		{"\"\n\"", "control"},
		{"\"\x00\"", "control"},
		{"\"\xff\"", "UTF-8"},
		{"\"\xed\xa0\x80\"", "UTF-8"},
		{`[[[[]]]]`, ""},
		{`[[[[[]]]]]`, "deeper"},
		{strings.Repeat("[", 1000), "deeper"},
		{strings.Repeat(`{"a":`, 100), "deeper"},
		{`"` + strings.Repeat("x", 1<<10) + `"`, "at most 1024"},
	}
	for _, c := range cases {
		err := strictjson.Check([]byte(c.text), limits())
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%.60q: %v, want %q", c.text, err, c.err)
		}
	}
}

func TestPlainKeys(t *testing.T) {
	t.Parallel()
	l := limits()
	l.PlainKeys = true
	for text, ok := range map[string]bool{
		`{"a_1":1}`: true, `{"A":1}`: false, `{"a-b":1}`: false, `{"":1}`: false, `{"ſ":1}`: false, `{"a":[{"B":1}]}`: false, `{"a":"B"}`: true,
	} {
		if err := strictjson.Check([]byte(text), l); ok != (err == nil) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	const want = `{"a":[1,"<&>é"],"b":{"c":true}}`
	for _, text := range []string{
		want, `{"b":{"c":true},"a":[1,"\u003c\u0026\u003e\u00e9"]}`, "{ \"b\" : { \"c\" : true } , \"a\" : [ 1 , \"<&>é\" ] }\n",
	} {
		if got, err := strictjson.Canonical([]byte(text)); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	if _, err := strictjson.Canonical([]byte("{")); err == nil {
		t.Error("half an object has a canonical form")
	}
}

func TestUnmarshal(t *testing.T) {
	t.Parallel()
	var v struct{ A int }
	if err := strictjson.Unmarshal([]byte(`{"a":3}`), limits(), &v); err != nil || v.A != 3 {
		t.Errorf("%+v, %v", v, err)
	}
	if err := strictjson.Unmarshal([]byte(`{"a":3,"a":4}`), limits(), &v); err == nil {
		t.Error("a key twice was taken")
	}
	if _, err := strictjson.Marshal(func() {}); err == nil {
		t.Error("a function was encoded")
	}
}

// FuzzCheck holds Check to encoding/json: what it lets through, that decodes, and the canonical form means the same.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2,true,"x\u00e9\n"]}`, `{"a":{"a":{}}}`, `"\ud83d\ude00"`, `{"a":1,"a":1}`, `1e9`, "\"\xff\"", `-0`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if strictjson.Check(b, limits()) != nil {
			return
		}
		var v, again any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("%q passed, but: %v", b, err)
		}
		c, err := strictjson.Canonical(b)
		if err != nil || json.Unmarshal(c, &again) != nil || !reflect.DeepEqual(v, again) {
			t.Fatalf("%q: canonical form %q, %v", b, c, err)
		}
		if err := strictjson.Check(c, limits()); err != nil && len(c) <= limits().Bytes {
			t.Fatalf("%q: its canonical form does not pass: %v", b, err)
		}
	})
}
