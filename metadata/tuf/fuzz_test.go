package tuf_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/tuf"
	"github.com/dunlin-project/dunlin/metadata/tuf/tuftest"
)

// FuzzRefresh puts any bytes in the place of any file. Whatever happens must be an error with a kind, and only the bytes
// that were signed are accepted.
func FuzzRefresh(f *testing.F) {
	r := tuftest.New("fuzz", start())
	r.Delegate("targets", "ring-a", "a/*")
	r.AddTarget("targets", "x", 1, [32]byte{1}, []byte(`{"v1":{}}`))
	r.Publish("targets", "ring-a")
	anchor := r.Files["metadata/1.root.json"]
	r.PublishRoot()
	names := []string{r.Name("root"), r.Name("timestamp"), r.Name("snapshot"), r.Name("targets"), r.Name("ring-a")}
	for i, n := range names {
		f.Add(uint8(i), r.Files[n])
		f.Add(uint8(i), r.Files[n][:len(r.Files[n])/2])
	}
	f.Add(uint8(1), []byte(`{"signatures":[null],"signed":null}`))
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		name := names[int(which)%len(names)]
		files := r.Snap()
		files[name] = b
		err := refresh(t, anchor, files)
		// White space, and signatures that are not needed, may differ where no hash covers the file.
		if err == nil && !reflect.DeepEqual(signed(t, b), signed(t, r.Files[name])) {
			t.Fatalf("%s: accepted %q", name, b)
		}
		if k := fault.Of(err); err != nil && k != fault.Untrusted && k != fault.Unavailable {
			t.Fatalf("%s: %v: %v", name, k, err)
		}
	})
}

func signed(t *testing.T, b []byte) any {
	t.Helper()
	var v struct{ Signed any }
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v.Signed
}

// FuzzAnchor opens any bytes as a root.
func FuzzAnchor(f *testing.F) {
	r := tuftest.New("fuzz", start())
	f.Add(r.Files["metadata/1.root.json"])
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := tuf.New(tuf.Config{Anchor: b}, start()); err != nil && !fault.Is(err, fault.Untrusted) {
			t.Fatal(err)
		}
	})
}
