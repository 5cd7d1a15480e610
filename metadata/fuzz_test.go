package metadata_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// FuzzRecords reads any bytes as each of the records. What is accepted can be written again, and reads the same.
func FuzzRecords(f *testing.F) {
	for _, s := range []string{
		`{"v1":{"catalogue":"a/1","record":"0100000000000000000000000000000000000000000000000000000000000000","action":"hold","share_bp":1,"peering":true}}`,
		`{"v1":{"group":"lan","origins":["http://x"],"policy":{"a":[1]}}}`, `{"v1":{"crit":["x"]}}`,
		`{"v1":{"publisher":"acme","keys":[{"scheme":"minisign","id":"E7620F1842B4E81F","key":"` + keyLine + `"}],"destinations":["/"]}}`,
	} {
		f.Add([]byte(s))
	}
	custom, err := full().Custom()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(custom))
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, _, err := metadata.ParseUpdate(b); err == nil {
			again(t, u, func(b []byte) (*metadata.Update, error) { u, _, err := metadata.ParseUpdate(b); return u, err })
		}
		if a, err := metadata.ParseApproval(b); err == nil {
			again(t, a, metadata.ParseApproval)
		}
		if p, err := metadata.ParsePublisher(b); err == nil {
			again(t, p, metadata.ParsePublisher)
		}
		if l, err := metadata.ParseFleet(b); err == nil {
			again(t, l, metadata.ParseFleet)
		}
	})
}

func again[T interface {
	Custom() (json.RawMessage, error)
}](t *testing.T, v T, parse func([]byte) (T, error)) {
	t.Helper()
	b, err := v.Custom()
	if err != nil {
		t.Fatalf("%+v was read, and cannot be written: %v", v, err)
	}
	got, err := parse(b)
	if err != nil {
		t.Fatalf("%s was written, and cannot be read: %v", b, err)
	}
	b2, err := got.Custom()
	if err != nil || !bytes.Equal(b, b2) {
		t.Fatalf("%s became %s (%v)", b, b2, err)
	}
}

// FuzzToken reads any text as a token.
func FuzzToken(f *testing.F) {
	text, err := token().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("dunlin1.e30.AAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := metadata.ParseToken(s)
		if err != nil {
			if !fault.Is(err, fault.Usage) {
				t.Fatal(err)
			}
			return
		}
		text, err := tok.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if same, err := metadata.ParseToken(text); err != nil || !reflect.DeepEqual(same, tok) {
			t.Fatalf("%+v became %+v (%v)", tok, same, err)
		}
	})
}

// FuzzFiles reads any bytes as a trust file and as a bundle, and opens the bundle.
func FuzzFiles(f *testing.F) {
	f.Add([]byte(`{"format":"dunlin-bundle/1","approvals":{"metadata/timestamp.json":"e30="},"catalogues":{"acme":{}}}`))
	f.Add([]byte(`{"format":"dunlin-publisher-trust/1","publisher":"acme","root":"e30=","keys":[],"catalogues":["file:///x"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tr, err := metadata.ParseTrust(b); err == nil {
			if _, err := tr.Encode(); err != nil {
				t.Fatal(err)
			}
		}
		bundle, err := metadata.ParseBundle(b)
		if err != nil {
			return
		}
		if v, err := metadata.Open(b, bundle, start()); v != nil || !fault.Is(err, fault.Untrusted) {
			t.Fatalf("opened: %v", err)
		}
	})
}
