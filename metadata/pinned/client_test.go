package pinned_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/metadatatest"
	"github.com/dunlin-project/dunlin/metadata/pinned"
)

func start() time.Time { return time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC) }

func direct(*url.URL) (*url.URL, error) { return nil, nil }

func config(a *metadatatest.Authority) pinned.Config {
	return pinned.Config{CA: a.PEM, Pins: []pinned.Pin{a.Pin(), {9}}, Now: start, Proxy: direct}.WithSystem()
}

func get(t *testing.T, p pinned.Config, url string) error {
	t.Helper()
	c, err := pinned.NewClient(p)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

func hello() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
}

func is[E error](err error) bool { var e E; return errors.As(err, &e) }

// TestCertificates is the table of docs/security.md: what of the other side is believed, and what is said of the rest.
func TestCertificates(t *testing.T) {
	t.Parallel()
	ours := metadatatest.NewAuthority(t, "Dunlin depot", start())
	theirs := metadatatest.NewAuthority(t, "FortiGate CA", start())
	cases := map[string]struct {
		cert tls.Certificate
		pin  pinned.Pin
		want func(error) bool
		text string
	}{
		"good":                            {cert: ours.Server(nil)},
		"expired":                         {cert: ours.Server(func(c *x509.Certificate) { c.NotAfter = start().Add(-time.Minute) }), want: is[*pinned.TimeError], text: "has run out"},
		"not yet":                         {cert: ours.Server(func(c *x509.Certificate) { c.NotBefore = start().Add(time.Minute) }), want: is[*pinned.TimeError], text: "not valid yet"},
		"wrong name":                      {cert: ours.Server(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other.example"} }), want: is[*pinned.HostError], text: "other.example"},
		"name in CN":                      {cert: ours.Server(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, nil }), want: is[*pinned.HostError]},
		"for clients":                     {cert: ours.Server(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), want: is[*pinned.UsageError]},
		"for code":                        {cert: ours.Server(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }), want: is[*pinned.UsageError]},
		"for nothing":                     {cert: ours.Server(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), want: is[*pinned.UsageError], text: "not one for servers"},
		"other CA":                        {cert: theirs.Server(nil), want: is[*pinned.PinError], text: "FortiGate"},
		"our authority without its pin":   {cert: ours.Server(nil), pin: pinned.Pin{7}, want: is[*pinned.PinError], text: "not pinned"},
		"pinned certificate sent along":   {cert: appended(theirs.Server(nil), ours.Cert), want: is[*pinned.PinError]},
		"pinned leaf of the authority":    {cert: ours.Server(nil), pin: ours.Pin()},
		"other CA with the same name too": {cert: metadatatest.NewAuthority(t, "Dunlin depot", start()).Server(nil), want: is[*pinned.PinError]},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ours.Serve(hello(), c.cert, nil)
			p := config(ours)
			if c.pin != (pinned.Pin{}) {
				p.Pins = []pinned.Pin{c.pin}
			}
			err := get(t, p, s.URL)
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !c.want(err) || !fault.Is(err, fault.Untrusted) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), s.Listener.Addr().String()) {
				t.Errorf("%v: %v", fault.Of(err), err)
			}
		})
	}
}

func appended(c tls.Certificate, more *x509.Certificate) tls.Certificate {
	c.Certificate = append(c.Certificate, more.Raw)
	return c
}

// TestClockThatLags: with a floor a machine that was off for years, or has no clock, still gets in; an expired certificate
// does not get better by it.
func TestClockThatLags(t *testing.T) {
	t.Parallel()
	ours := metadatatest.NewAuthority(t, "Dunlin depot", start())
	good := ours.Serve(hello(), ours.Server(nil), nil)
	expired := ours.Serve(hello(), ours.Server(func(c *x509.Certificate) { c.NotAfter = start().Add(-time.Minute) }), nil)
	for _, c := range []struct {
		name, url  string
		now, floor time.Time
		ok         bool
	}{
		{"no floor", good.URL, time.Unix(0, 0), time.Time{}, false},
		{"floor", good.URL, time.Unix(0, 0), start(), true},
		{"floor behind as well", good.URL, time.Unix(0, 0), time.Unix(1, 0), false},
		{"floor put far ahead", good.URL, start(), start().AddDate(7000, 0, 0), true},
		{"expired at the floor", expired.URL, time.Unix(0, 0), start(), false},
		{"expired now", expired.URL, start(), start().Add(-30 * time.Minute), false},
	} {
		p := config(ours)
		p.Now, p.Floor = func() time.Time { return c.now }, c.floor
		if err := get(t, p, c.url); c.ok != (err == nil) || err != nil && !is[*pinned.TimeError](err) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestInspectingProxyIsNamed: an administrator who reads the error knows what to do.
func TestInspectingProxyIsNamed(t *testing.T) {
	t.Parallel()
	ours := metadatatest.NewAuthority(t, "Dunlin depot", start())
	for _, c := range []struct {
		name, issuer string
		system       bool
		text, hint   string
	}{
		{"known vendor", "Fortinet Root", true, "probably Fortinet", "exempt 127.0.0.1:"},
		{"unknown but trusted here", "Corp Web Gateway", true, "this machine trusts it", "exempt 127.0.0.1:"},
		{"a stranger", "somebody", false, "which is not pinned", "compare the key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			theirs := metadatatest.NewAuthority(t, c.issuer, start())
			s := ours.Serve(hello(), theirs.Server(nil), nil)
			p := config(ours)
			if c.system {
				p = p.WithSystem(theirs.Cert)
			}
			err := get(t, p, s.URL)
			var pin *pinned.PinError
			if !errors.As(err, &pin) || pin.SystemTrusted != c.system || pin.SPKI != theirs.Pin() || !strings.Contains(pin.Issuer, c.issuer) {
				t.Fatalf("got %+v (%v)", pin, err)
			}
			if !strings.Contains(err.Error(), c.text) || !strings.Contains(fault.Hint(err), c.hint) {
				t.Errorf("error %q, hint %q", err, fault.Hint(err))
			}
		})
	}
}

// TestServerThatDoesNotWork is not an attack.
func TestServerThatDoesNotWork(t *testing.T) {
	t.Parallel()
	ours := metadatatest.NewAuthority(t, "Dunlin depot", start())
	plain := httptest.NewServer(hello())
	t.Cleanup(plain.Close)
	old := ours.Serve(hello(), ours.Server(nil), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, url := range map[string]string{
		"plain HTTP on the port": "https://" + plain.Listener.Addr().String(), "TLS 1.2 alone": old.URL, "nobody": "https://" + closed.Addr().String(),
	} {
		if err := get(t, config(ours), url); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v: %v", name, fault.Of(err), err)
		}
	}
	if err := get(t, config(ours), plain.URL); !fault.Is(err, fault.Refused) {
		t.Errorf("asked over plain HTTP: %v", err)
	}
}

func TestSilentServer(t *testing.T) {
	t.Parallel()
	ours := metadatatest.NewAuthority(t, "Dunlin depot", start())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c, err := pinned.NewClient(config(ours))
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+l.Addr().String(), nil)
	if resp, err := c.Do(req); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v %v", resp, err)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	ours := metadatatest.NewAuthority(t, "Dunlin depot", start())
	s := ours.Serve(http.RedirectHandler("https://other.example/", http.StatusFound), ours.Server(nil), nil)
	if err := get(t, config(ours), s.URL); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "other.example") {
		t.Errorf("got %v", err)
	}
}

func TestPinnedConfiguration(t *testing.T) {
	t.Parallel()
	a := metadatatest.NewAuthority(t, "Dunlin depot", start())
	leaf := a.Server(nil)
	for name, p := range map[string]pinned.Config{
		"no pin": {CA: a.PEM}, "no authority": {Pins: []pinned.Pin{a.Pin()}}, "two authorities": {CA: append(a.PEM, a.PEM...), Pins: []pinned.Pin{a.Pin()}},
		"a leaf": {CA: pemOf(leaf.Certificate[0]), Pins: []pinned.Pin{a.Pin()}}, "text": {CA: []byte("hello"), Pins: []pinned.Pin{a.Pin()}},
	} {
		if _, err := pinned.NewClient(p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// proxy is a CONNECT proxy that counts, and answers as it is told.
type proxy struct {
	tunnels atomic.Int32
	answer  string // instead of a tunnel
	auth    atomic.Value
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.auth.Store(r.Header.Get("Proxy-Authorization"))
	conn, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if p.answer != "" {
		_, _ = io.WriteString(conn, p.answer)
		return
	}
	target, err := net.Dial("tcp", r.Host)
	if err != nil {
		return
	}
	defer target.Close()
	p.tunnels.Add(1)
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() { _, _ = io.Copy(target, buf) }()
	_, _ = io.Copy(conn, bufio.NewReader(target))
}

func through(u string) func(*url.URL) (*url.URL, error) {
	return func(*url.URL) (*url.URL, error) { return url.Parse(u) }
}

// TestPinsHoldBehindAProxy: with a plain and with an https proxy the pins are those of the server, not of the proxy.
func TestPinsHoldBehindAProxy(t *testing.T) {
	t.Parallel()
	ours := metadatatest.NewAuthority(t, "Dunlin depot", start())
	corporate := metadatatest.NewAuthority(t, "Corporate", start())
	good := ours.Serve(hello(), ours.Server(nil), nil)
	forged := ours.Serve(hello(), corporate.Server(nil), nil)
	plain, secure := &proxy{}, &proxy{}
	plainURL := httptest.NewServer(plain)
	t.Cleanup(plainURL.Close)
	secureURL := corporate.Serve(secure, corporate.Server(nil), nil)
	for _, c := range []struct {
		name, url string
		proxy     *proxy
	}{
		{"http", strings.Replace(plainURL.URL, "http://", "http://user:secret@", 1), plain}, {"https", secureURL.URL, secure},
	} {
		p := config(ours).WithSystem(corporate.Cert)
		p.Proxy = through(c.url)
		if err := get(t, p, good.URL); err != nil || c.proxy.tunnels.Load() != 1 {
			t.Errorf("%s: %v, %d tunnels", c.name, err, c.proxy.tunnels.Load())
		}
		err := get(t, p, forged.URL)
		var pin *pinned.PinError
		if !errors.As(err, &pin) || !pin.SystemTrusted || pin.Proxy == "" || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if got := plain.auth.Load(); got != "Basic dXNlcjpzZWNyZXQ=" {
		t.Errorf("the proxy was told %q", got)
	}
}

func TestProxyThatDoesNotWork(t *testing.T) {
	t.Parallel()
	ours := metadatatest.NewAuthority(t, "Dunlin depot", start())
	good := ours.Serve(hello(), ours.Server(nil), nil)
	for name, answer := range map[string]string{
		"407": "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "403": "HTTP/1.1 403 Forbidden\r\n\r\n", "HTML": "<html>blocked</html>",
		"302": "HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n", "endless": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20),
		"chatty": "HTTP/1.1 200 OK\r\n\r\nhello there", "nothing": " ",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(&proxy{answer: answer})
			t.Cleanup(s.Close)
			p := config(ours)
			p.Proxy = through(s.URL)
			if err := get(t, p, good.URL); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "proxy") {
				t.Errorf("%v: %v", fault.Of(err), err)
			}
		})
	}
	p := config(ours)
	p.Proxy = through("socks5://127.0.0.1:1")
	if err := get(t, p, good.URL); err == nil {
		t.Error("a proxy of an unknown kind was used")
	}
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
