package depot

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// TestCaches: what is signed reaches devices, nothing else of the record changes, and what is no URL is refused.
func TestCaches(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	c.Caches = []string{"http://cache.example:7681"}
	if _, err := Init(t.Context(), c, time.Now()); err != nil {
		t.Fatal(err)
	}
	d, err := Open(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	before := deviceView(t, d, "pilot").Fleet()
	if !slices.Equal(before.Caches, c.Caches) {
		t.Errorf("after init devices are told of %v", before.Caches)
	}
	want := []string{"http://10.0.0.7:7681", "https://cache.example"}
	if err := d.SetCaches(t.Context(), want, unlock, time.Now()); err != nil {
		t.Fatal(err)
	}
	after := deviceView(t, d, "pilot").Fleet()
	if !slices.Equal(after.Caches, want) {
		t.Errorf("devices are told of %v", after.Caches)
	}
	if after.Caches = before.Caches; !reflect.DeepEqual(before, after) {
		t.Errorf("the record was %+v, is %+v", before, after)
	}
	for _, bad := range []string{"cache.example", "ftp://cache.example", "http://a:b@cache.example", ""} {
		if err := d.SetCaches(t.Context(), []string{bad}, unlock, time.Now()); !fault.Is(err, fault.Usage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	wrong := func() ([]byte, error) { return []byte("another"), nil }
	if err := d.SetCaches(t.Context(), nil, wrong, time.Now()); err == nil {
		t.Error("signed without the passphrase")
	}
	if got, err := d.Caches(); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if err := d.SetCaches(t.Context(), nil, unlock, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := deviceView(t, d, "pilot").Fleet().Caches; len(got) != 0 {
		t.Errorf("devices are still told of %v", got)
	}
}
