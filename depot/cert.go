package depot

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/metadata/repository/ca"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
)

// serverLifetime of a server certificate. Short, because a stolen one can not be called back; the server renews it by
// itself at half of it.
const serverLifetime = ca.MinLeaf

const maxCertFile = 64 << 10 // bytes

// issueServer makes a certificate with a key of its own and keeps both. A crash between the two files leaves a pair that
// does not fit, which loadServer takes for none at all.
func issueServer(at folder, authority *ca.Authority, hosts []string, now time.Time) (*tls.Certificate, error) {
	leaf, err := authority.Issue(hosts, serverLifetime, now)
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFile(at.serverKey(), leaf.Key, 0o600); err != nil {
		return nil, err
	}
	if err := durable.WriteFile(at.serverCert(), leaf.Chain, 0o600); err != nil {
		return nil, err
	}
	return loadServer(at)
}

func loadServer(at folder) (*tls.Certificate, error) {
	chain, err := readBounded(at.serverCert(), maxCertFile)
	if err != nil {
		return nil, fmt.Errorf("read server certificate: %w", err)
	}
	key, err := readBounded(at.serverKey(), maxCertFile)
	if err != nil {
		return nil, fmt.Errorf("read server certificate: %w", err)
	}
	if _, err := keys.Parse(key); err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("read server certificate: %w", err)
	}
	return &cert, nil
}

// serverCertificate returns the certificate to serve with: the kept one while it is in the first half of its life and
// still fits, else a new one.
func (d *Depot) serverCertificate(now time.Time) (cert *tls.Certificate, renewed bool, err error) {
	authority, err := d.authority()
	if err != nil {
		return nil, false, err
	}
	if cert, err := loadServer(d.at); err == nil && fits(cert, authority, d.set.Hosts, now) {
		return cert, false, nil
	}
	cert, err = issueServer(d.at, authority, d.set.Hosts, now)
	return cert, true, err
}

// fits reports whether a kept certificate is worth going on with.
func fits(cert *tls.Certificate, authority *ca.Authority, hosts []string, now time.Time) bool {
	leaf := cert.Leaf
	if leaf == nil || now.Before(leaf.NotBefore) || leaf.NotAfter.Sub(now) <= serverLifetime/2 {
		return false
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority.Cert())
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now}); err != nil {
		return false
	}
	return !slices.ContainsFunc(hosts, func(h string) bool { return leaf.VerifyHostname(h) != nil })
}
