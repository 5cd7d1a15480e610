package depot

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository"
	"github.com/dunlin-project/dunlin/piecehash"
)

func TestAWrongPayloadIsUntrusted(t *testing.T) {
	t.Parallel()
	for _, served := range []bool{false, true} {
		v := newVendor(t, "acme")
		if served {
			v.serve(t)
		}
		payload := randomBytes(200_000)
		root := v.release(t, "app", "1.0", 1, payload, nil)
		bad := bytes.Clone(payload)
		bad[150_000] ^= 1
		v.put(t, "content/"+root.String(), bad)
		d := newDepot(t, v)
		before, _ := d.repo.View()
		for range 2 {
			if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); !fault.Is(err, fault.Untrusted) {
				t.Fatalf("served %v: %v (%v)", served, err, fault.Of(err))
			}
		}
		after, _ := d.repo.View()
		if _, err := os.Stat(d.at.public(contentDir, root.String())); err == nil || !before.Issued().Equal(after.Issued()) {
			t.Errorf("served %v: something of it can be had", served)
		}
		v.put(t, "content/"+root.String(), payload)
		r, err := approve(t.Context(), d, "acme/app@1.0", "pilot")
		if err != nil || r.Content.Resumed == 0 {
			t.Errorf("served %v: the next good run: %+v %v", served, r, err)
		}
	}
}

func TestAWrongLayerIsUntrusted(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	root := v.release(t, "app", "1.0", 1, randomBytes(200_000), nil)
	good := v.get(t, "layer/"+root.String())
	d := newDepot(t, v)
	bad := bytes.Clone(good)
	bad[40] ^= 1
	v.put(t, "layer/"+root.String(), bad)
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); !fault.Is(err, fault.Untrusted) {
		t.Errorf("%v", err)
	}
	v.put(t, "layer/"+root.String(), good)
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
		t.Errorf("the next good run: %v", err)
	}
}

func TestAContradictionOfThePublisherIsUntrusted(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	root := v.release(t, "app", "1.0", 1, randomBytes(200_000), func(_ *metadata.Update, target *repository.Target) { target.SHA256 = piecehash.Hash{1} })
	d := newDepot(t, v)
	for range 2 {
		if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); !fault.Is(err, fault.Untrusted) || !strings.Contains(err.Error(), "SHA-256") {
			t.Errorf("%v", err)
		}
	}
	if _, err := os.Stat(d.at.public(contentDir, root.String())); err == nil {
		t.Error("devices can have it")
	}
}

func TestContentThatIsNotThereIsUnavailable(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	root := v.release(t, "app", "1.0", 1, randomBytes(1000), nil)
	payload := v.get(t, "content/"+root.String())
	d := newDepot(t, v)
	if err := os.Remove(v.dir + "/content/" + root.String()); err != nil {
		t.Fatal(err)
	}
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v (%v)", err, fault.Of(err))
	}
	v.put(t, "content/"+root.String(), payload)
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
		t.Error(err)
	}
}

func TestAnInterruptedApprovalGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.serve(t)
	payload := randomBytes(2 << 20)
	root := v.release(t, "app", "1.0", 1, payload, nil)
	d := newDepot(t, v)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	v.during(func(w http.ResponseWriter, r *http.Request, folder http.Handler) {
		if r.URL.Path == "/content/"+root.String() {
			w = &cutting{ResponseWriter: w, left: 600 << 10, cut: cancel}
		}
		folder.ServeHTTP(w, r)
	}, func() {
		if _, err := approve(ctx, d, "acme/app@1.0", "pilot"); err == nil {
			t.Fatal("it was not interrupted")
		}
	})
	if list, err := d.List(ListRequest{}); err != nil || len(list.Approved) != 0 {
		t.Errorf("half an update is approved: %+v %v", list, err)
	}
	r, err := approve(t.Context(), d, "acme/app@1.0", "pilot")
	if err != nil {
		t.Fatal(err)
	}
	if r.Content.Resumed < 256<<10 || r.Content.Fetched > int64(len(payload))-r.Content.Resumed {
		t.Errorf("%+v", r.Content)
	}
}

type cutting struct {
	http.ResponseWriter
	left int
	cut  func()
}

func (c *cutting) Write(b []byte) (int, error) {
	if c.left <= 0 {
		c.cut()
		return 0, http.ErrHandlerTimeout
	}
	n, err := c.ResponseWriter.Write(b[:min(len(b), c.left)])
	c.left -= n
	if err == nil && n < len(b) {
		c.ResponseWriter.(http.Flusher).Flush()
		time.Sleep(50 * time.Millisecond) // the client takes what is on its way
		c.cut()
		err = http.ErrHandlerTimeout
	}
	return n, err
}

func TestRottenContentIsMended(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	payload := randomBytes(200_000)
	root := v.release(t, "app", "1.0", 1, payload, nil)
	d := newDepot(t, v)
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
		t.Fatal(err)
	}
	path := d.at.public(contentDir, root.String())
	rotten := bytes.Clone(payload)
	rotten[100_000] ^= 1
	if err := os.WriteFile(path, rotten, 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := approve(t.Context(), d, "acme/app@1.0", "broad")
	if err != nil || r.Content.Fetched == 0 || r.Content.Fetched > 16<<10 {
		t.Errorf("%+v %v", r, err)
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, payload) {
		t.Error("it is still rotten")
	}
	checkModes(t, string(d.at))
}

func TestWholeContentThatWasNotMovedYetIsUsed(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	payload := randomBytes(200_000)
	root := v.release(t, "app", "1.0", 1, payload, nil)
	d := newDepot(t, v)
	if err := os.WriteFile(d.at.incoming(root.String()), payload, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := approve(t.Context(), d, "acme/app@1.0", "pilot")
	if err != nil || r.Content.Fetched != 0 || r.Content.Resumed != int64(len(payload)) {
		t.Errorf("%+v %v", r, err)
	}
}

func TestWhatRottedInAPartialFileIsFetchedAgain(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	payload := randomBytes(200_000)
	root := v.release(t, "app", "1.0", 1, payload, nil)
	short := payload[:150_000]
	v.put(t, "content/"+root.String(), short) // the folder is still being copied
	d := newDepot(t, v)
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err == nil {
		t.Fatal("half the content was enough")
	}
	v.put(t, "content/"+root.String(), payload)
	part, err := os.OpenFile(d.at.incoming(root.String())+".part", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.WriteAt([]byte{payload[20_000] ^ 1}, 20_000); err != nil {
		t.Fatal(err)
	}
	part.Close()
	r, err := approve(t.Context(), d, "acme/app@1.0", "pilot")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(d.at.public(contentDir, root.String())); !bytes.Equal(got, payload) {
		t.Error("it is not the content")
	}
	if most := int64(len(payload) - len(short) + 3*16<<10); r.Content.Fetched > most {
		t.Errorf("%d bytes were fetched, %d would do", r.Content.Fetched, most)
	}
}

func TestTheLayerMayComeFromAnOrigin(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.serve(t)
	root := v.release(t, "app", "1.0", 1, randomBytes(200_000), nil)
	d := newDepot(t, v)
	v.during(func(w http.ResponseWriter, r *http.Request, folder http.Handler) {
		if r.TLS != nil && strings.HasPrefix(r.URL.Path, "/layer/") {
			http.NotFound(w, r)
			return
		}
		folder.ServeHTTP(w, r)
	}, func() {
		if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
			t.Fatal(err)
		}
	})
	if got, err := os.ReadFile(d.at.public(layerDir, root.String())); err != nil || !bytes.Equal(got, v.get(t, "layer/"+root.String())) {
		t.Errorf("layer: %v", err)
	}
}

func TestContentOfOnePieceHasNoLayer(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.serve(t)
	root := v.release(t, "app", "1.0", 1, []byte("x"), nil)
	d := newDepot(t, v)
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.at.public(layerDir, root.String())); err == nil {
		t.Error("there is a layer")
	}
	if got := offered(t, d, "pilot"); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestABadOriginAmongGoodOnesIsPassedOver(t *testing.T) {
	t.Parallel()
	good, bad := newVendor(t, "acme"), newVendor(t, "acme")
	good.serve(t)
	bad.serve(t)
	payload := randomBytes(200_000)
	root := good.release(t, "app", "1.0", 1, payload, nil)
	bad.put(t, "content/"+root.String(), randomBytes(len(payload)))
	good.trust.Origins = append(slices.Clone(bad.trust.Origins), good.trust.Origins...)
	d := newDepot(t, good)
	r, err := approve(t.Context(), d, "acme/app@1.0", "pilot")
	if err != nil || r.Content.Waste == 0 {
		t.Fatalf("%+v %v", r, err)
	}
	if got, _ := os.ReadFile(d.at.public(contentDir, root.String())); !bytes.Equal(got, payload) {
		t.Error("it is not the content")
	}
}

// TestContentThatIsNoFileIsRefused: a pipe must not hold up an approval, nor a link lead out of the folder.
func TestContentThatIsNoFileIsRefused(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(path string) error{
		"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"link":   func(path string) error { return os.Symlink("/dev/zero", path) },
		"folder": func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		v := newVendor(t, "acme")
		payload := randomBytes(100)
		root := v.release(t, "app", "1.0", 1, payload, nil)
		d := newDepot(t, v)
		path := filepath.Join(v.dir, "content", root.String())
		if err := errors.Join(os.Remove(path), put(path)); err != nil {
			t.Fatal(err)
		}
		if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), "regular file") {
			t.Errorf("%s: %v: %v", name, fault.Of(err), err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		v.put(t, "content/"+root.String(), payload)
		if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
}
