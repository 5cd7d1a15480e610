package urlcache

import (
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// TestPin: what is pinned stays when room is needed, although it was used longest ago, and goes when it is not pinned any more.
func TestPin(t *testing.T) {
	t.Parallel()
	b := data(97, 10*testSlice)
	w := newWorld(t, b)
	w.run()
	own := "http://" + w.host
	for _, path := range []string{"/a", "/b", "/c"} {
		wants(t, path, w.ask("GET", path), 200, b)
	}
	if err := Pin(w.dir, strings.Replace(own, "http", "HTTP", 1)+"/a"); err != nil {
		t.Fatal(err)
	}
	if freed := w.cache.Evict(15 * testSlice); freed != 20*testSlice {
		t.Errorf("%d bytes are freed, want those of two files", freed)
	}
	if got, err := List(w.dir, time.Now()); err != nil || len(got) != 1 || got[0].URL != own+"/a" || !got[0].Pinned {
		t.Errorf("there are %+v, %v", got, err)
	}
	if err := w.cache.Remove(own + "/a"); !fault.Is(err, fault.Refused) {
		t.Errorf("remove what is pinned: %v", err)
	}
	w.stop()
	w.run() // a pin outlives the process, and is no file of the cache
	wants(t, "pinned", w.ask("GET", "/a", "Cache-Control", "only-if-cached"), 200, b)
	if w.cache.Evict(0) != 0 {
		t.Error("what is pinned was evicted after a start")
	}
	if err := Remove(w.dir, own+"/a"); !fault.Is(err, fault.Refused) {
		t.Errorf("remove what is pinned: %v", err)
	}
	for range 2 {
		if err := Unpin(w.dir, own+"/a"); err != nil {
			t.Fatal(err)
		}
	}
	if w.cache.Evict(0) != int64(len(b)) {
		t.Error("what is not pinned any more was not evicted")
	}
	if err := Pin(w.dir, "ftp://a/b"); !fault.Is(err, fault.Usage) {
		t.Errorf("pin of what is no URL: %v", err)
	}
}

// TestPinnedAndNoRoom: files that need the room of what is pinned are passed through.
func TestPinnedAndNoRoom(t *testing.T) {
	t.Parallel()
	b := data(98, MinSize/2+testSlice)
	w := newWorld(t, b)
	w.run()
	wants(t, "first", w.ask("GET", "/a"), 200, b)
	if err := Pin(w.dir, "http://"+w.host+"/a"); err != nil {
		t.Fatal(err)
	}
	wants(t, "second", w.ask("GET", "/b"), 200, b)
	wants(t, "pinned", w.ask("GET", "/a", "Cache-Control", "only-if-cached"), 200, b)
	if n := w.cache.Bytes(); n > MinSize {
		t.Errorf("%d bytes are kept, more than may be", n)
	}
}
