package urlcontrol

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/internal/fault"
)

type warmer func(ctx context.Context, url string, tell func(urlcache.Warmth)) error

func (w warmer) Warm(ctx context.Context, url string, tell func(urlcache.Warmth)) error {
	return w(ctx, url, tell)
}

func (warmer) Remove(url string) error {
	if url != "kept" {
		return fault.New(fault.Usage, "not kept")
	}
	return nil
}

// serve runs a server until the returned function is called.
func serve(t *testing.T, w warmer) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	s, err := Listen(socket, w, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var once bool
	stop = func() {
		if once {
			return
		}
		once = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return socket, stop
}

// TestWarm: what is told there is told here, and errors keep their kinds and hints.
func TestWarm(t *testing.T) {
	t.Parallel()
	until := time.Unix(1_800_000_000, 0).UTC()
	socket, stop := serve(t, func(_ context.Context, url string, tell func(urlcache.Warmth)) error {
		tell(urlcache.Warmth{Size: 10, Have: 5, Until: until})
		switch url {
		case "refused":
			return fault.WithHint(fault.New(fault.Refused, "no"), "100%% sure")
		case "internal":
			return errors.New("broken")
		}
		tell(urlcache.Warmth{Size: 10, Have: 10, Until: until})
		return nil
	})
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	var told []urlcache.Warmth
	tell := func(w urlcache.Warmth) { told = append(told, w) }
	if err := Warm(t.Context(), socket, "http://a/f", tell); err != nil {
		t.Fatal(err)
	}
	if n := len(told); n == 0 || told[n-1] != (urlcache.Warmth{Size: 10, Have: 10, Until: until}) || told[0].Have != 5 {
		t.Errorf("told %+v", told)
	}
	if err := Warm(t.Context(), socket, "refused", tell); !fault.Is(err, fault.Refused) || err.Error() != "no" || fault.Hint(err) != "100% sure" {
		t.Errorf("refused: %v, try: %s", err, fault.Hint(err))
	}
	if err := Warm(t.Context(), socket, "internal", tell); !fault.Is(err, fault.Internal) {
		t.Errorf("internal: %v", err)
	}
	if err := Remove(t.Context(), socket, "kept"); err != nil {
		t.Errorf("remove: %v", err)
	}
	if err := Remove(t.Context(), socket, "other"); !fault.Is(err, fault.Usage) {
		t.Errorf("remove what is not there: %v", err)
	}
	stop()
	if err := Warm(t.Context(), socket, "http://a/f", tell); !errors.Is(err, ErrNobody) {
		t.Errorf("when the node has ended: %v", err)
	}
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Warm(t.Context(), socket, "http://a/f", tell); !errors.Is(err, ErrNobody) {
		t.Errorf("no socket: %v", err)
	}
}

// TestWhoGoesEndsIt: a client that is interrupted, and a node that ends, give the file up; what is too much at once is said.
func TestWhoGoesEndsIt(t *testing.T) {
	t.Parallel()
	begun, given := make(chan struct{}), make(chan struct{}, maxWarm)
	socket, stop := serve(t, func(ctx context.Context, _ string, tell func(urlcache.Warmth)) error {
		tell(urlcache.Warmth{Size: 10, Have: 5})
		begun <- struct{}{}
		<-ctx.Done()
		given <- struct{}{}
		return ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, maxWarm)
	for i := range maxWarm {
		who := t.Context()
		if i == 0 {
			who = ctx
		}
		go func() { done <- Warm(who, socket, "http://a/f", func(urlcache.Warmth) {}) }()
		<-begun
	}
	if err := Warm(t.Context(), socket, "http://a/f", func(urlcache.Warmth) {}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("one more than may be: %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	<-given
	stop()
	if n := len(given); n != maxWarm-1 {
		t.Errorf("when the server has ended, %d of %d are given up", n, maxWarm-1)
	}
	for range maxWarm - 1 {
		if err := <-done; !fault.Is(err, fault.Unavailable) {
			t.Errorf("the node has ended: %v", err)
		}
	}
}
