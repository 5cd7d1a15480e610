package depot

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/repository"
)

func syncAll(t *testing.T, d *Depot) (*SyncResult, error) {
	t.Helper()
	r, err := d.Sync(t.Context(), SyncRequest{}, time.Now(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	return r, r.Err()
}

// mirrored compares what is served of a catalogue with the vendor's own bytes.
func mirrored(t *testing.T, d *Depot, v *vendor, names ...string) {
	t.Helper()
	for _, name := range names {
		got, err := os.ReadFile(d.at.public(catalogueDir, v.name, "metadata", name))
		if err != nil || !bytes.Equal(got, v.get(t, "metadata/"+name)) {
			t.Errorf("%s is not the publisher's, byte for byte: %v", name, err)
		}
	}
}

func TestSyncKeepsThePublishersBytes(t *testing.T) {
	t.Parallel()
	for _, served := range []bool{false, true} {
		v := newVendor(t, "acme")
		if served {
			v.serve(t)
		}
		v.release(t, "app", "1.0", 1, randomBytes(100), nil)
		d := newDepot(t, v)
		r, err := syncAll(t, d)
		if err != nil || len(r.Catalogues) != 1 || !r.Catalogues[0].Changed || r.Catalogues[0].Updates != 1 || r.Catalogues[0].Expires.Before(time.Now()) {
			t.Fatalf("served %v: %+v %v", served, r, err)
		}
		mirrored(t, d, v, "1.root.json", "2.targets.json", "2.snapshot.json", "timestamp.json")
		if r, err := syncAll(t, d); err != nil || r.Catalogues[0].Changed {
			t.Errorf("served %v: a second sync: %+v %v", served, r, err)
		}
		v.release(t, "app", "2.0", 2, randomBytes(100), nil)
		if r, err := syncAll(t, d); err != nil || !r.Catalogues[0].Changed || r.Catalogues[0].Updates != 2 {
			t.Errorf("served %v: after a release: %+v %v", served, r, err)
		}
		mirrored(t, d, v, "1.root.json", "2.targets.json", "3.targets.json", "timestamp.json")
		checkModes(t, string(d.at))
	}
}

func TestOldVersionsGoInTime(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	d := newDepot(t, v)
	for i := range keepVersions + 5 {
		v.release(t, "app", string(rune('a'+i)), int64(i+1), randomBytes(10), nil)
		if _, err := syncAll(t, d); err != nil {
			t.Fatal(err)
		}
	}
	dir := d.at.public(catalogueDir, "acme", "metadata")
	for name, want := range map[string]bool{"1.root.json": true, "2.targets.json": false, "5.snapshot.json": false, "6.targets.json": true, "16.targets.json": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnInterruptedSyncChangesNothingAndGoesOn(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.serve(t)
	v.release(t, "app", "1.0", 1, randomBytes(100), nil)
	d := newDepot(t, v)
	if _, err := syncAll(t, d); err != nil {
		t.Fatal(err)
	}
	before := publicState(t, d)
	v.release(t, "app", "2.0", 2, randomBytes(100), nil)
	for _, broken := range []string{"timestamp.json", "3.snapshot.json", "3.targets.json"} {
		v.during(func(w http.ResponseWriter, r *http.Request, folder http.Handler) {
			if strings.HasSuffix(r.URL.Path, broken) {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			folder.ServeHTTP(w, r)
		}, func() {
			r, err := syncAll(t, d)
			if !fault.Is(err, fault.Unavailable) || r.Catalogues[0].Changed || r.Catalogues[0].Updates != 1 {
				t.Errorf("without %s: %+v, %v", broken, r, err)
			}
			if !maps.Equal(before, publicState(t, d)) {
				t.Errorf("without %s: devices see a change", broken)
			}
		})
	}
	if r, err := syncAll(t, d); err != nil || r.Catalogues[0].Updates != 2 {
		t.Errorf("the next good run: %+v %v", r, err)
	}
}

func TestATamperedUpstreamIsUntrusted(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.serve(t)
	v.release(t, "app", "1.0", 1, randomBytes(100), nil)
	d := newDepot(t, v)
	if _, err := syncAll(t, d); err != nil {
		t.Fatal(err)
	}
	before := publicState(t, d)
	v.release(t, "app", "2.0", 2, randomBytes(100), nil)
	for _, name := range []string{"timestamp.json", "3.snapshot.json", "3.targets.json"} {
		good := v.get(t, "metadata/"+name)
		bad := bytes.Replace(good, []byte(`"spec_version":"1.0.34"`), []byte(`"spec_version":"1.0.35"`), 1)
		if bytes.Equal(good, bad) {
			t.Fatalf("%s was not changed", name)
		}
		v.put(t, "metadata/"+name, bad)
		r, err := syncAll(t, d)
		if !fault.Is(err, fault.Untrusted) {
			t.Errorf("%s: %v (%v)", name, err, fault.Of(err))
		}
		if r.Catalogues[0].Changed || !maps.Equal(before, publicState(t, d)) {
			t.Errorf("%s: devices see a change", name)
		}
		if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); !fault.Is(err, fault.Untrusted) {
			t.Errorf("%s: an approval meanwhile: %v", name, err)
		}
		v.put(t, "metadata/"+name, good)
	}
	if r, err := syncAll(t, d); err != nil || r.Catalogues[0].Updates != 2 {
		t.Errorf("the next good run: %+v %v", r, err)
	}
}

func TestARolledBackUpstreamIsUntrusted(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.serve(t)
	v.release(t, "app", "1.0", 1, randomBytes(100), nil)
	d := newDepot(t, v)
	old := v.get(t, "metadata/timestamp.json")
	v.release(t, "app", "2.0", 2, randomBytes(100), nil)
	if _, err := syncAll(t, d); err != nil {
		t.Fatal(err)
	}
	newest := v.get(t, "metadata/timestamp.json")
	v.put(t, "metadata/timestamp.json", old)
	if _, err := syncAll(t, d); !fault.Is(err, fault.Untrusted) {
		t.Errorf("an old timestamp: %v", err)
	}
	v.put(t, "metadata/timestamp.json", newest)
	if _, err := syncAll(t, d); err != nil {
		t.Error(err)
	}
}

func TestOneBadPublisherDoesNotKeepTheOthers(t *testing.T) {
	t.Parallel()
	good, bad, gone := newVendor(t, "good"), newVendor(t, "bad"), newVendor(t, "gone")
	good.release(t, "app", "1.0", 1, randomBytes(100), nil)
	d := newDepot(t, good, bad, gone)
	if err := os.RemoveAll(gone.dir); err != nil {
		t.Fatal(err)
	}
	bad.put(t, "metadata/timestamp.json", bytes.Replace(bad.get(t, "metadata/timestamp.json"), []byte(`"version":1`), []byte(`"version":7`), 1))
	r, err := syncAll(t, d)
	if !fault.Is(err, fault.Untrusted) {
		t.Errorf("the worst is %v: %v", fault.Of(err), err)
	}
	for _, c := range r.Catalogues {
		if (c.Failure == nil) != (c.Publisher == "good") {
			t.Errorf("%+v", c)
		}
	}
	if _, err := d.Sync(t.Context(), SyncRequest{Publishers: []string{"nobody"}}, time.Now(), quiet); !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "bad, gone, good") {
		t.Errorf("%v (%s)", err, fault.Hint(err))
	}
	if r, err := d.Sync(t.Context(), SyncRequest{Publishers: []string{"good"}}, time.Now(), quiet); err != nil || len(r.Catalogues) != 1 || r.Err() != nil {
		t.Errorf("%+v %v", r, err)
	}
}

func TestSyncEndsWithItsContext(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.serve(t)
	d := newDepot(t, v)
	ctx, cancel := context.WithCancel(t.Context())
	v.during(func(http.ResponseWriter, *http.Request, http.Handler) { cancel(); time.Sleep(10 * time.Millisecond) }, func() {
		if _, err := d.Sync(ctx, SyncRequest{}, time.Now(), quiet); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

func TestAKeyRotationAtThePublisherIsFollowed(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	d := newDepot(t, v)
	if _, err := v.repo.Update(t.Context(), time.Now(), v.signers, func(e *repository.Edit) error { return e.Touch(repository.RoleRoot) }); err != nil {
		t.Fatal(err)
	}
	v.release(t, "app", "1.0", 1, randomBytes(100), nil)
	if _, err := syncAll(t, d); err != nil {
		t.Fatal(err)
	}
	mirrored(t, d, v, "1.root.json", "2.root.json", "timestamp.json")
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
		t.Fatal(err)
	}
	if got := offered(t, d, "pilot"); len(got) != 1 {
		t.Errorf("offered: %v", got)
	}
}
