package depot

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository/ca"
)

// freeAddr is an address that nobody listens on at the moment.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// newServedDepot is a depot whose URLs can be reached once it is served.
func newServedDepot(t *testing.T, vendors ...*vendor) *Depot {
	t.Helper()
	c := testConfig(t, vendors...)
	c.Listen, c.ContentListen = freeAddr(t), freeAddr(t)
	if _, err := Init(t.Context(), c, time.Now()); err != nil {
		t.Fatal(err)
	}
	d, err := Open(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// serve runs a server until the returned function is called, or the test ends.
func serve(t *testing.T, d *Depot, c ServeConfig) (Ready, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan Ready, 1), make(chan error, 1)
	c.Ready = func(r Ready) { ready <- r }
	go func() { ended <- NewServer(d, c).Run(ctx) }()
	stop := func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
		ended <- nil
	}
	select {
	case r := <-ready:
		t.Cleanup(stop)
		return r, stop
	case err := <-ended:
		cancel()
		t.Fatalf("serve: %v", err)
		return Ready{}, nil
	}
}

// device follows a token and syncs, as the agent does.
func device(t *testing.T, text string) (*metadata.Client, *metadata.View) {
	t.Helper()
	token, err := metadata.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	joined, err := metadata.Bootstrap(t.Context(), token, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := metadata.NewClient(metadata.ClientConfig{
		Dir: filepath.Join(t.TempDir(), "device"), Anchor: joined.Anchor, Depots: token.Depots, CA: joined.CA, Pins: []metadata.Pin{token.CA}, Ring: token.Ring,
	})
	if err != nil {
		t.Fatal(err)
	}
	view, _, err := c.Sync(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c, view
}

func TestADeviceJoinsAndGetsWhatIsApproved(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	payload := randomBytes(300_000)
	v.release(t, "app", "1.0", 1, payload, nil)
	d := newServedDepot(t, v)
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
		t.Fatal(err)
	}
	ready, stop := serve(t, d, ServeConfig{})
	if len(ready.Tokens) != 2 || ready.Tokens[0].Ring != "pilot" {
		t.Fatalf("%+v", ready)
	}
	c, view := device(t, ready.Tokens[0].Token)
	offers := view.Offers("pilot")
	if len(offers) != 1 {
		t.Fatalf("%d offers, refused %v", len(offers), view.Refusals("pilot"))
	}
	m, err := c.Layer(t.Context(), offers[0].Content())
	if err != nil {
		t.Fatal(err)
	}
	origin := view.Fleet().Origins[0]
	body := download(t, httpfallback.ContentURL(origin, m.Root()))
	if !bytes.Equal(body, payload) || origin != ready.ContentURL {
		t.Errorf("%d bytes from %s", len(body), origin)
	}
	if _, broad := device(t, ready.Tokens[1].Token); len(broad.Offers("broad")) != 0 {
		t.Error("ring broad has an offer")
	}
	stop()
	if _, _, err := c.Sync(t.Context(), time.Now()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("after the end: %v", err)
	}
	ready, _ = serve(t, d, ServeConfig{})
	if _, _, err := c.Sync(t.Context(), time.Now()); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := os.Stat(ready.Socket); err != nil {
		t.Error(err)
	}
}

func download(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v %v", url, resp.Status, err)
	}
	return b
}

func TestJoiningAnotherDepotIsUntrusted(t *testing.T) {
	t.Parallel()
	d := newServedDepot(t)
	ready, stop := serve(t, d, ServeConfig{})
	token, err := metadata.ParseToken(ready.Tokens[0].Token)
	if err != nil {
		t.Fatal(err)
	}
	wrongCA, wrongRoot := *token, *token
	wrongCA.CA[0] ^= 1
	wrongRoot.Root[0] ^= 1
	for name, token := range map[string]*metadata.Token{"authority": &wrongCA, "root": &wrongRoot} {
		if _, err := metadata.Bootstrap(t.Context(), token, time.Now(), nil); !fault.Is(err, fault.Untrusted) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	stop()
	if _, err := metadata.Bootstrap(t.Context(), token, time.Now(), nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestTheSecureListenerSpeaksTLS13Only(t *testing.T) {
	t.Parallel()
	d := newServedDepot(t)
	ready, _ := serve(t, d, ServeConfig{})
	roots := x509.NewCertPool()
	authority, err := d.authority()
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(authority.Cert())
	conn, err := tls.Dial("tcp", ready.Listen, &tls.Config{RootCAs: roots, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	state := conn.ConnectionState()
	conn.Close()
	if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol == "h2" {
		t.Errorf("version %x, protocol %q", state.Version, state.NegotiatedProtocol)
	}
	if _, err := tls.Dial("tcp", ready.Listen, &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 was taken")
	}
	resp, err := http.Get("http://" + ready.Listen + "/v1/approvals/metadata/timestamp.json")
	if err == nil {
		if resp.Body.Close(); resp.StatusCode < 400 {
			t.Error("metadata without TLS")
		}
	}
}

func TestTwoServersDoNotShareAFolder(t *testing.T) {
	t.Parallel()
	d := newServedDepot(t)
	serve(t, d, ServeConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := NewServer(d, ServeConfig{Listen: "127.0.0.1:0", ContentListen: "127.0.0.1:0"}).Run(ctx)
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.Hint(err), "depot serve") {
		t.Errorf("%v (%s)", err, fault.Hint(err))
	}
}

func TestATakenPortIsUnavailable(t *testing.T) {
	t.Parallel()
	d := newServedDepot(t)
	l, err := net.Listen("tcp", d.set.ContentListen)
	if err != nil {
		t.Skip("somebody else took the port")
	}
	defer l.Close()
	if err := NewServer(d, ServeConfig{}).Run(t.Context()); !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
		t.Errorf("%v", err)
	}
}

// hideFolder makes Open fail without the server noticing: its settings are read once.
func TestServingMendsWhatDevicesRead(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	d := newServedDepot(t, v)
	if _, err := syncAll(t, d); err != nil {
		t.Fatal(err)
	}
	good := publicState(t, d)
	if err := os.RemoveAll(d.at.public("v1", "approvals")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.at.public(caFile), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.at.serverKey()); err != nil {
		t.Fatal(err)
	}
	again, err := Open(Config{Dir: string(d.at)})
	if err != nil {
		t.Fatal(err)
	}
	ready, _ := serve(t, again, ServeConfig{SyncEvery: -1})
	for name, sum := range publicState(t, d) {
		if good[name] != sum {
			t.Errorf("%s is not as it was", name)
		}
	}
	if _, view := device(t, ready.Tokens[0].Token); view.Fleet() == nil {
		t.Error("no fleet")
	}
}

func TestASlowReaderDoesNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	root := v.release(t, "app", "1.0", 1, randomBytes(8<<20), nil)
	d := newServedDepot(t, v)
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
		t.Fatal(err)
	}
	ready, stop := serve(t, d, ServeConfig{SyncEvery: -1})
	conn, err := net.Dial("tcp", ready.ContentListen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprintf(conn, "GET /content/%s HTTP/1.1\r\nHost: x\r\n\r\n", root)
	if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	stop() // returns after stopPatience, with the reader still there
}

func TestServerCertificateRenewsAtHalfLife(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	now := time.Now()
	first, renewed, err := d.serverCertificate(now)
	if err != nil || renewed {
		t.Fatalf("right after init: %v %v", renewed, err)
	}
	if _, renewed, err := d.serverCertificate(now.Add(serverLifetime/2 - time.Hour)); err != nil || renewed {
		t.Errorf("before half life: %v %v", renewed, err)
	}
	second, renewed, err := d.serverCertificate(now.Add(serverLifetime/2 + time.Hour))
	if err != nil || !renewed || bytes.Equal(first.Certificate[0], second.Certificate[0]) {
		t.Fatalf("after half life: %v %v", renewed, err)
	}
	if metadata.PinOf(mustParse(t, second.Certificate[1])) != metadata.PinOf(mustParse(t, first.Certificate[1])) {
		t.Error("the pin has changed")
	}
	d.set.Hosts = []string{"127.0.0.1", "other.example.org"}
	if third, renewed, err := d.serverCertificate(now.Add(serverLifetime/2 + time.Hour)); err != nil || !renewed || third.Leaf.VerifyHostname("other.example.org") != nil {
		t.Errorf("for another name: %v %v", renewed, err)
	}
	for name, spoil := range map[string]func() error{
		"no certificate":      func() error { return os.Remove(d.at.serverCert()) },
		"damaged certificate": func() error { return os.WriteFile(d.at.serverCert(), []byte("x"), 0o600) },
		"empty key":           func() error { return os.WriteFile(d.at.serverKey(), nil, 0o600) },
		"key of another": func() error {
			leaf, err := mustAuthority(t, d).Issue([]string{"x"}, ca.MinLeaf, now)
			return errors.Join(err, os.WriteFile(d.at.serverKey(), leaf.Key, 0o600))
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, renewed, err := d.serverCertificate(now.Add(serverLifetime/2 + time.Hour)); err != nil || !renewed {
			t.Errorf("%s: %v %v", name, renewed, err)
		}
	}
}

func mustAuthority(t *testing.T, d *Depot) *ca.Authority {
	t.Helper()
	a, err := d.authority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustParse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// readAs connects as another user, from a process of its own.
