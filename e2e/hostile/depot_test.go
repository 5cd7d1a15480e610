package hostile

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository/ca"
)

// TestTheWrongServer: what answers in the depot's place has everything right but its certificate.
func TestTheWrongServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := payload("first", 20_000), payload("second", 20_000)
	w.offer("app", "1.0", first)
	fresh, old := w.join(), w.join()
	old.ends(0)
	w.offer("app", "2.0", second)
	stranger, err := ca.New("somebody", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cert tls.Certificate
		says string
	}{
		"another authority": {certificate(t, stranger, time.Now(), w.host), "is not pinned"},
		"run out":           {certificate(t, w.authority(), time.Now().Add(-week-time.Minute), w.host), "has run out"},
		"not valid yet":     {certificate(t, w.authority(), time.Now().Add(24*time.Hour), w.host), "is not valid yet"},
		"another host":      {certificate(t, w.authority(), time.Now(), "depot.example"), "depot.example"},
	} {
		a, b := fresh.clone(), old.clone()
		w.replaced(c.cert, http.FileServer(http.Dir(w.public())), func(i *impostor) {
			for _, d := range []*device{a, b} {
				before := tree(t, d.root)
				d.ends(4, c.says, w.host)
				if after := tree(t, d.root); after != before {
					t.Errorf("%s: there was %s and is %s", name, before, after)
				}
			}
			if _, requests := i.seen(); len(requests) > 0 {
				t.Errorf("%s: it was asked for %q", name, requests)
			}
		})
		for _, d := range []*device{a, b} {
			d.ends(0)
			d.has("app", second)
		}
	}
	// With the right certificate the same impostor will do: what was tried above is no other mistake.
	w.replaced(certificate(t, w.authority(), time.Now(), w.host), http.FileServer(http.Dir(w.public())), func(*impostor) {
		fresh.ends(0)
		fresh.has("app", second)
	})
}

// TestTheWrongPin: the device was told another key than the depot's.
func TestTheWrongPin(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	good := read(t, s.config)
	write(t, s.config, fmt.Appendf(nil, "%spins:\n  - %s\n", good, metadata.Pin{1}))
	s.ends(4, "is not pinned", s.host)
	s.has("app", nil)
	write(t, s.config, fmt.Appendf(nil, "%spins:\n  - %s\n", good, metadata.Pin(s.authority().Pin())))
	s.ends(0)
	s.has("app", s.app)
}

// TestNothingButGarbageAtTheDepot, over TLS with the right certificate. The device with state keeps what it has.
func TestNothingButGarbageAtTheDepot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := payload("first", 20_000), payload("second", 20_000)
	w.offer("app", "1.0", first)
	fresh, old := w.join(), w.join()
	old.ends(0)
	w.offer("app", "2.0", second)
	for name, answer := range map[string]http.HandlerFunc{
		"a page": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "<!doctype html><title>Welcome</title><p>Please log in to the network.")
		},
		"an empty body": func(http.ResponseWriter, *http.Request) {},
		"random bytes": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(payload(r.URL.Path, 3000))
		},
		"random bytes, said to be compressed": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "zstd")
			_, _ = w.Write(payload(r.URL.Path, 3000))
		},
		"nothing found": http.NotFound,
		"errors":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"another address": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.210.255.254/", http.StatusFound)
		},
		"no answer": func(w http.ResponseWriter, _ *http.Request) {
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
				c.Close()
			}
		},
	} {
		a, b := fresh.clone(), old.clone()
		w.replaced(certificate(t, w.authority(), time.Now(), w.host), answer, func(*impostor) {
			t.Log(name)
			a.ends(3, w.host)
			a.has("app", nil)
			b.ends(3, w.host)
			b.has("app", first)
		})
		for _, d := range []*device{a, b} {
			d.ends(0)
			d.has("app", second)
		}
	}
}

// TestTheDepotIsDown for a device that has only joined, and for one with state.
func TestTheDepotIsDown(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	old := s.clone()
	old.ends(0)
	s.stopServing()
	s.ends(3, s.host+tlsPort)
	s.has("app", nil)
	old.ends(3, s.host+tlsPort)
	old.has("app", s.app)
	s.serve()
	s.ends(0)
	s.has("app", s.app)
	old.ends(0)
}

// TestGarbageForContent at the only origin: what is not even as long as the payload is an origin that does not work.
func TestGarbageForContent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(app []byte) []byte
		code  int
	}{
		"a page":       {func([]byte) []byte { return []byte("<html>It works!") }, 3},
		"nothing":      {func([]byte) []byte { return nil }, 3},
		"a part":       {func(app []byte) []byte { return app[:len(app)/2] }, 3},
		"more":         {func(app []byte) []byte { return append(bytes.Clone(app), 1) }, 3},
		"random bytes": {func(app []byte) []byte { return payload("random", len(app)) }, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			write(t, s.content(), c.spoil(s.app))
			s.ends(c.code, "app 1.0", s.host)
			s.has("app", nil)
			write(t, s.content(), s.app)
			s.ends(0)
			s.has("app", s.app)
		})
	}
}
