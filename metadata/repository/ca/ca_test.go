package ca_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/repository/ca"
)

const day = 24 * time.Hour

func newCA(t *testing.T) *ca.Authority {
	t.Helper()
	a, err := ca.New("acme updates", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAuthoritySurvivesItsFiles(t *testing.T) {
	t.Parallel()
	a := newCA(t)
	key, err := a.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	b, err := ca.Load(a.CertPEM(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.Pin() != b.Pin() || !bytes.Equal(a.CertPEM(), b.CertPEM()) {
		t.Error("another authority came back")
	}
	whole, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if b, err = ca.Parse(whole); err != nil || a.Pin() != b.Pin() {
		t.Errorf("in one piece: %v", err)
	}
	if _, err := ca.Parse(append(whole, whole...)); !fault.Is(err, fault.Usage) {
		t.Errorf("twice: %v", err)
	}
	if _, err := ca.Parse(nil); !fault.Is(err, fault.Usage) {
		t.Errorf("nothing: %v", err)
	}
	c := a.Cert()
	if !c.IsCA || !c.MaxPathLenZero || c.KeyUsage&x509.KeyUsageCertSign == 0 || c.Subject.CommonName != "acme updates" {
		t.Errorf("certificate: %+v", c.Subject)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	a, other := newCA(t), newCA(t)
	key, err := a.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.Issue([]string{"h"}, 7*day, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2][]byte{
		"another key":  {other.CertPEM(), key},
		"a chain":      {leaf.Chain, leaf.Key},
		"a leaf":       {leaf.Chain[:bytes.Index(leaf.Chain, []byte("-----END CERTIFICATE-----"))+26], leaf.Key},
		"no cert":      {nil, key},
		"no key":       {a.CertPEM(), nil},
		"swapped":      {key, a.CertPEM()},
		"garbage cert": {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key},
	} {
		if _, err := ca.Load(pair[0], pair[1]); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", 65)} {
		if _, err := ca.New(name, time.Now()); !fault.Is(err, fault.Usage) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func TestIssueChecksItsArguments(t *testing.T) {
	t.Parallel()
	a := newCA(t)
	for name, tc := range map[string]struct {
		hosts    []string
		lifetime time.Duration
		now      time.Time
	}{
		"no host":       {nil, 7 * day, time.Now()},
		"many hosts":    {make([]string, 33), 7 * day, time.Now()},
		"empty":         {[]string{""}, 7 * day, time.Now()},
		"a URL":         {[]string{"https://a.example"}, 7 * day, time.Now()},
		"a port":        {[]string{"a.example:443"}, 7 * day, time.Now()},
		"a wildcard":    {[]string{"*.example"}, 7 * day, time.Now()},
		"a dash":        {[]string{"-a.example"}, 7 * day, time.Now()},
		"a dot":         {[]string{"a.example."}, 7 * day, time.Now()},
		"long label":    {[]string{strings.Repeat("a", 64)}, 7 * day, time.Now()},
		"long name":     {[]string{strings.Repeat("a.", 127) + "a"}, 7 * day, time.Now()},
		"too short":     {[]string{"a"}, 7*day - 1, time.Now()},
		"too long":      {[]string{"a"}, 90*day + 1, time.Now()},
		"past the root": {[]string{"a"}, 90 * day, time.Now().Add(ca.Lifetime - 30*day)},
	} {
		if _, err := a.Issue(tc.hosts, tc.lifetime, tc.now); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLSServerWithAnIssuedCertificate(t *testing.T) {
	t.Parallel()
	a := newCA(t)
	leaf, err := a.Issue([]string{"updates.acme.example", "127.0.0.1", "::1"}, 90*day, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(leaf.Chain, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	server.StartTLS()
	t.Cleanup(server.Close)

	dial := func(root *ca.Authority, host string) error {
		pool := x509.NewCertPool()
		pool.AddCert(root.Cert())
		c, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{RootCAs: pool, ServerName: host, MinVersion: tls.VersionTLS13})
		if err != nil {
			return err
		}
		defer c.Close()
		chain := c.ConnectionState().VerifiedChains[0]
		if ca.Pin(chain[len(chain)-1]) != a.Pin() {
			t.Error("the chain does not end in the pinned root")
		}
		return nil
	}
	for _, host := range []string{"updates.acme.example", "127.0.0.1", "::1"} {
		if err := dial(a, host); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if dial(a, "other.example") == nil || dial(newCA(t), "127.0.0.1") == nil {
		t.Error("a wrong name or a foreign root was accepted")
	}
}

// openssl is what administrators check with, and what nginx and curl are built on.
func TestOpensslVerifies(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	a := newCA(t)
	leaf, err := a.Issue([]string{"updates.acme.example", "192.0.2.7"}, 30*day, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	root, chain, key := write("ca.pem", a.CertPEM()), write("crt", leaf.Chain), write("key", leaf.Key)
	run := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), openssl, args...).CombinedOutput()
		if err != nil {
			t.Errorf("openssl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("verify", "-x509_strict", "-CAfile", root, "-purpose", "sslserver", "-verify_hostname", "updates.acme.example", chain)
	run("verify", "-x509_strict", "-CAfile", root, "-purpose", "sslserver", "-verify_ip", "192.0.2.7", chain)
	text := run("x509", "-in", chain, "-noout", "-text")
	for _, want := range []string{"DNS:updates.acme.example", "IP Address:192.0.2.7", "TLS Web Server Authentication", "CA:FALSE"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if run("x509", "-in", chain, "-noout", "-pubkey") != run("pkey", "-in", key, "-pubout") {
		t.Error("key and certificate do not belong together")
	}
	pin := run("x509", "-in", root, "-noout", "-pubkey")
	if !strings.Contains(pin, "BEGIN PUBLIC KEY") {
		t.Error("no public key")
	}
}

func FuzzParseCert(f *testing.F) {
	a, err := ca.New("x", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(a.CertPEM())
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ca.ParseCert(b); err == nil && c == nil {
			t.Error("neither a certificate nor an error")
		}
	})
}
