package urlcache

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
)

// TestOnceForMany: twelve clients at once cost the origin each byte once, and what is there is not asked for again.
func TestOnceForMany(t *testing.T) {
	t.Parallel()
	b := data(1, 50*testSlice+123)
	w := newWorld(t, b)
	w.run()
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			resp, err := w.try("GET", "/dir/file.bin?v=1")
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 || !bytes.Equal(got, b) {
				t.Errorf("status %d with %d bytes (%v)", resp.StatusCode, len(got), err)
			}
		})
	}
	wg.Wait()
	if got := w.gate.Total(); got != int64(len(b)) {
		t.Errorf("the origin was asked for %d bytes of %d", got, len(b))
	}
	n := len(w.origin.requests())
	wants(t, "hit", w.ask("GET", "/dir/file.bin?v=1"), 200, b)
	wants(t, "range", w.ask("GET", "/dir/file.bin?v=1", "Range", "bytes=100000-200000"), 206, b[100000:200001])
	if got := w.origin.requests(); len(got) != n {
		t.Errorf("what is there was asked for again: %v", w.origin.asks())
	}
	for _, r := range w.origin.requests() {
		if r.RequestURI != "/dir/file.bin?v=1" || !strings.HasPrefix(r.Header.Get("Via"), "1.1 dunlin-") {
			t.Errorf("the origin was asked %s with Via %q", r.RequestURI, r.Header.Get("Via"))
		}
	}
	if w.cache.Bytes() != int64(len(b)) {
		t.Errorf("%d bytes are kept, of %d", w.cache.Bytes(), len(b))
	}
}
