package approved

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/cachenode"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

// TestOriginsNearby: a publisher's hint must not lead the node to this machine or its network; what the organisation has written
// down is followed.
func TestOriginsNearby(t *testing.T) {
	t.Parallel()
	payload := mustContent(1, "app")
	for name, c := range map[string]struct{ hinted, signed bool }{
		"hint alone": {hinted: true}, "the organisation's": {signed: true}, "both": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked [2]atomic.Int64 // the hint, the organisation's
			serve := func(i int) string {
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					asked[i].Add(1)
					http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(payload))
				}))
				t.Cleanup(s.Close)
				return s.URL
			}
			w := newWorld(t)
			u := w.acme.Update("app", "1.0", 1, payload)
			if c.hinted {
				u.Origins = []string{serve(0)}
			}
			w.acme.Add(u, payload)
			w.org.Approve("pilot", w.acme, u, nil)
			fleet := metadata.Fleet{Group: "lan"}
			if c.signed {
				fleet.Origins = []string{serve(1)}
			}
			w.org.SetFleet(fleet)
			w.content = nil // where the depot would have it: a name that leads nowhere
			known := w.synced()
			err := w.warm(known, u.Root)
			if asked[0].Load() > 0 {
				t.Error("the hint was followed to a loopback address")
			}
			if c.signed && (err != nil || asked[1].Load() == 0) || !c.signed && err == nil {
				t.Errorf("%v, the organisation's was asked %d times", err, asked[1].Load())
			}
		})
	}
}

// warm has a node with the catalogue fetch content, for a while.
func (w *world) warm(known *Catalogue, root piecehash.Root) error {
	w.t.Helper()
	s, err := store.Open(filepath.Join(w.t.TempDir(), "content"), store.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	n, err := cachenode.New(cachenode.Config{Store: s, Catalogue: known, Gate: httpfallback.NewGate(httpfallback.GateConfig{})})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	done := make(chan error)
	go func() { done <- n.Run(ctx) }()
	err = n.Warm(ctx, root)
	cancel()
	if runErr := <-done; runErr != nil {
		w.t.Errorf("run: %v", runErr)
	}
	return err
}
