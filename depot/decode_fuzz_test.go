package depot

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
)

func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{
		`{"list":{}}`, `{"sync":{"publishers":["acme"]}}`, `{"approve":{"update":"acme/app@1","rings":["pilot"],"share_bp":5,"not_before":"2026-12-24T00:00:00Z"}}`,
		`{"unapprove":{"update":"x"}}`, `{"token":{"ring":"a"}}`, `{"publishers":{}}`, `{"list":null}`, `{}`, `null`, `[]`, `{"list":{}}x`, `{"LIST":{}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err != nil {
			if !fault.Is(err, fault.Usage) {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseRequest(again); err != nil {
			t.Errorf("%s is not read again: %v", again, err)
		}
	})
}

func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte(`{"progress":{"step":"x"}}` + "\n" + `{"done":{"list":{"rings":[],"approved":[]}}}`))
	f.Add([]byte(`{"failed":{"kind":4,"text":"x","hint":"y"}}`))
	f.Add([]byte(`{"failed":{"kind":-1,"text":""}}`))
	f.Add([]byte(`{}{}{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readAnswer(bytes.NewReader(b), func(Progress) {})
		if (r == nil) == (err == nil) {
			t.Errorf("%v, %v", r, err)
		}
		if k := fault.Of(err); err != nil && (k < fault.Internal || k > fault.Install) {
			t.Errorf("kind %d", k)
		}
	})
}

func FuzzParseSettings(f *testing.F) {
	f.Add([]byte(`{"format":"dunlin-depot/1","hosts":["x"],"listen":":8443","content_listen":":80","rings":["a"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSettings(b)
		if err == nil && (!strings.HasPrefix(s.secureURL(), "https://") || len(s.Rings) == 0) {
			t.Errorf("%+v", s)
		}
	})
}

func FuzzParseRef(f *testing.F) {
	f.Add("acme/app@1.0")
	f.Add("a/b@c@d")
	f.Add("a/../b@1")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRef(s)
		if err != nil {
			return
		}
		if r.String() != s || strings.Count(s, "/") != 1 || strings.Contains(r.ID, "@") || strings.HasPrefix(r.ID, ".") {
			t.Errorf("%q was read as %+v", s, r)
		}
	})
}
