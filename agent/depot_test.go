package agent

import (
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/metadatatest"
)

// tlsDepot serves the world's depot folder over TLS, and counts its requests.
func (w *world) tlsDepot(ca *metadatatest.Authority, change func(*x509.Certificate)) (url string, asked *atomic.Int64) {
	w.t.Helper()
	asked = new(atomic.Int64)
	files := http.FileServerFS(os.DirFS(w.depot))
	s := ca.Serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		files.ServeHTTP(rw, r)
	}), ca.Server(change), nil)
	return s.URL, asked
}

// overTLS enrols a device with a depot by https.
func (w *world) overTLS(url string, ca *metadatatest.Authority, change func(*Config)) *testDevice {
	w.t.Helper()
	d := w.device(func(c *Config) {
		c.Depots = []string{url}
		if change != nil {
			change(c)
		}
	})
	e := Enrolment{CAPEM: ca.PEM, ApprovalsRoot: w.org.Anchor()}
	if err := writeAnchors(stateDir(d.cfg.StateDir), e); err != nil {
		w.t.Fatal(err)
	}
	return d
}

// TestDepotsIdentity: a depot that is not the one that was joined is untrusted, and is told nothing.
func TestDepotsIdentity(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cert   func(*x509.Certificate)
		config func(*Config)
		says   string
	}{
		"wrong pin": {config: func(c *Config) { c.Pins = []metadata.Pin{{1}} }, says: "pin"},
		"expired":   {cert: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, says: "has run out"},
		"wrong host name": {cert: func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = []net.IP{net.IPv4(192, 0, 2, 1)}, []string{"other.example"}
		}, says: "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, ca := newWorld(t), metadatatest.NewAuthority(t, "depot CA", time.Now())
			app := payload(1, 20_000)
			w.offer("app", "1.0", 1, app)
			url, asked := w.tlsDepot(ca, c.cert)
			d := w.overTLS(url, ca, c.config)
			s := d.must(fault.Untrusted)
			if asked.Load() != 0 {
				t.Error("it was asked all the same")
			}
			if s.Cycle.Sync == nil || !strings.Contains(s.Cycle.Sync.Message, c.says) || s.Cycle.Sync.Hint == "" {
				t.Errorf("%+v", s.Cycle.Sync)
			}
			d.has("app", nil)
			good, _ := w.tlsDepot(ca, nil)
			d.cfg.Depots, d.cfg.Pins = []string{good}, nil
			d.must(0)
			d.has("app", app)
		})
	}
}

// TestSignedDepotsAreAsked: the organisation moves its depot, and the device follows.
func TestSignedDepotsAreAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	oldCA, newCA := metadatatest.NewAuthority(t, "old", time.Now()), metadatatest.NewAuthority(t, "new", time.Now())
	oldURL, oldAsked := w.tlsDepot(oldCA, nil)
	newURL, newAsked := w.tlsDepot(newCA, nil)
	d := w.overTLS(oldURL, oldCA, nil)
	w.org.SetFleet(metadata.Fleet{
		Origins: []string{w.origin.URL}, Group: "lan", Depots: []string{newURL}, CA: string(newCA.PEM), Pins: []metadata.Pin{newCA.Pin()},
	})
	w.publish()
	d.must(0) // by the old one, which says where to go
	if oldAsked.Swap(0) == 0 || newAsked.Load() != 0 {
		t.Error("the first cycle asked the wrong depot")
	}
	app := payload(1, 20_000)
	w.offer("app", "1.0", 1, app)
	d.must(0)
	d.has("app", app)
	if oldAsked.Load() != 0 || newAsked.Swap(0) == 0 {
		t.Error("the second cycle did not follow")
	}

	// Signed depots that lead nowhere do not cut the device off.
	w.org.SetFleet(metadata.Fleet{
		Origins: []string{w.origin.URL}, Group: "lan", Depots: []string{newURL}, CA: string(newCA.PEM), Pins: []metadata.Pin{{9}},
	})
	w.publish()
	d.must(0)
	newer := payload(2, 20_000)
	w.offer("app", "1.1", 2, newer)
	d.must(0)
	d.has("app", newer)
	if oldAsked.Load() == 0 {
		t.Error("the depot of the configuration was not asked")
	}
}

func TestPlainWebServerAsDepot(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	w := newWorld(t)
	d := w.device(nil)
	d.cfg.Depots = []string{s.URL}
	if _, err := New(d.cfg, Options{}); !fault.Is(err, fault.Usage) {
		t.Errorf("%v", err)
	}
}

func TestADeviceThatHasNotJoined(t *testing.T) {
	t.Parallel()
	cfg := Config{Depots: []string{"file:///srv"}, Ring: "pilot", StateDir: t.TempDir() + "/state"}
	if _, err := New(cfg, Options{}); !fault.Is(err, fault.Usage) || !strings.Contains(fault.Hint(err), "dunlin join") {
		t.Errorf("%v, hint %q", err, fault.Hint(err))
	}
}
