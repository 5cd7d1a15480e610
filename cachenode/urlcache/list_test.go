package urlcache

import (
	"net/http"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// TestList: what is kept is there with its size, age and whether it is fresh, and what is removed is not; the cache goes on.
func TestList(t *testing.T) {
	t.Parallel()
	b := data(95, 6*testSlice+5)
	w := newWorld(t, b)
	w.run()
	if got, err := List(w.dir, time.Now()); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %+v, %v", got, err)
	}
	own := "http://" + w.host
	for _, path := range []string{"/a", "/b"} {
		if _, err := w.warm(own + path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := List(w.dir, time.Now())
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, path := range []string{"/b", "/a"} {
		if f := got[i]; f.URL != own+path || f.Size != int64(len(b)) || f.Have != f.Size || !f.Fresh || f.Age < 0 || f.Age > time.Hour {
			t.Errorf("%s: %+v", path, f)
		}
	}
	if later, err := List(w.dir, time.Now().Add(2*time.Hour)); err != nil || later[0].Fresh || later[0].Age < 2*time.Hour {
		t.Errorf("two hours later: %+v, %v", later, err)
	}
	if err := w.cache.Remove(own + "/b"); err != nil {
		t.Fatal(err)
	}
	if n := w.cache.Bytes(); n != int64(len(b)) {
		t.Errorf("%d bytes are kept of one file", n)
	}
	wants(t, "what is left", w.ask("GET", "/a", "Cache-Control", "only-if-cached"), 200, b)
	if resp := w.ask("GET", "/b", "Cache-Control", "only-if-cached"); resp.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("what was removed: status %d", resp.StatusCode)
	}
	if err := w.cache.Remove(own + "/b"); !fault.Is(err, fault.Usage) {
		t.Errorf("once more: %v", err)
	}
	w.stop()
	edit(t, w.file(kindSums), func(b []byte) []byte { return b[:2*sumSize] })
	if got, err := List(w.dir, time.Now()); err != nil || len(got) != 1 || got[0].Have != 2*testSlice {
		t.Errorf("of two slices: %+v, %v", got, err)
	}
	if err := Remove(w.dir, own+"/a"); err != nil {
		t.Error(err)
	}
	if got, err := List(w.dir, time.Now()); err != nil || len(got) != 0 {
		t.Errorf("in the end: %+v, %v", got, err)
	}
	if err := Remove(w.dir, own+"/a"); !fault.Is(err, fault.Usage) {
		t.Errorf("of nothing: %v", err)
	}
}

// TestRemoveWhatIsRead leaves it.
func TestRemoveWhatIsRead(t *testing.T) {
	t.Parallel()
	b := data(96, 6*testSlice)
	w := newWorld(t, b)
	w.run()
	e := w.cache.enter("http://" + w.host + "/f")
	if _, err := w.warm("http://" + w.host + "/f"); err != nil {
		t.Fatal(err)
	}
	if err := w.cache.Remove("http://" + w.host + "/f"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("in use: %v", err)
	}
	w.cache.leave(e)
	wants(t, "what stays", w.ask("GET", "/f", "Cache-Control", "only-if-cached"), 200, b)
}
