// Package ca is the private certificate authority of a publisher's catalogue host or of a depot.
//
// It makes one self-signed root and, from it, short-lived server certificates. Clients trust nothing of the public web:
// they hold the root and its pin, the SHA-256 of its SubjectPublicKeyInfo, which survives a new certificate for the same
// key. Keys are ECDSA on P-256, which every TLS stack speaks. Time is an argument. Start reading at New and Issue.
package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
	"github.com/dunlin-project/dunlin/piecehash"
)

const (
	// Lifetime of the authority's own certificate.
	Lifetime = 10 * 365 * 24 * time.Hour
	// MinLeaf and MaxLeaf bound the lifetime of a server certificate.
	MinLeaf = 7 * 24 * time.Hour
	MaxLeaf = 90 * 24 * time.Hour
	// maxHosts bounds the names of one certificate.
	maxHosts = 32
	// backdate lets a client whose clock is a little behind accept a new certificate.
	backdate = time.Hour
)

const certType = "CERTIFICATE"

// Authority is a root certificate with its key. It is immutable and safe for concurrent use.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// New makes an authority with a key of its own. name is what people see as its common name, 1 to 64 bytes.
func New(name string, now time.Time) (*Authority, error) {
	if name == "" || len(name) > 64 {
		return nil, fault.New(fault.Usage, "make certificate authority: name %q has not 1 to 64 bytes", name)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(Lifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Authority{cert, key}, nil
}

// Load reads what CertPEM and KeyPEM gave, and refuses a pair that does not belong together (fault.Usage).
func Load(certPEM, keyPEM []byte) (*Authority, error) {
	cert, err := ParseCert(certPEM)
	if err != nil {
		return nil, err
	}
	if !cert.IsCA || !cert.BasicConstraintsValid {
		return nil, fault.New(fault.Usage, "load certificate authority: %q is no authority's certificate", cert.Subject.CommonName)
	}
	key, err := keys.Parse(keyPEM)
	if err != nil {
		return nil, err
	}
	if pub, ok := key.Public().(*ecdsa.PublicKey); !ok || !pub.Equal(cert.PublicKey) {
		return nil, fault.New(fault.Usage, "load certificate authority: key and certificate do not belong together")
	}
	return &Authority{cert, key}, nil
}

// Encode returns key and certificate in PEM, one after the other: all of an authority, secret.
func (a *Authority) Encode() ([]byte, error) {
	key, err := a.KeyPEM()
	if err != nil {
		return nil, err
	}
	return append(key, a.CertPEM()...), nil
}

// Parse reads what Encode wrote.
func Parse(b []byte) (*Authority, error) {
	block, cert := pem.Decode(b)
	if block == nil {
		return nil, fault.New(fault.Usage, "parse certificate authority: it holds no PEM block")
	}
	return Load(cert, b[:len(b)-len(cert)])
}

// ParseCert reads exactly one certificate in PEM.
func ParseCert(b []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(b)
	if block == nil || block.Type != certType || len(bytes.TrimSpace(rest)) != 0 {
		return nil, fault.New(fault.Usage, "parse certificate: want exactly one PEM block of type %q", certType)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	return cert, fault.Wrap(fault.Usage, err)
}

// CertPEM returns the root certificate in PEM; it is public.
func (a *Authority) CertPEM() []byte { return encodeCert(a.cert.Raw) }

// KeyPEM returns the secret key as PKCS #8 in PEM.
func (a *Authority) KeyPEM() ([]byte, error) { return keys.Encode(a.key) }

// Pin returns the SHA-256 of the root's SubjectPublicKeyInfo.
func (a *Authority) Pin() piecehash.Hash { return Pin(a.cert) }

// Cert returns the root certificate. It must not be changed.
func (a *Authority) Cert() *x509.Certificate { return a.cert }

// Pin returns the SHA-256 of the certificate's SubjectPublicKeyInfo.
func Pin(cert *x509.Certificate) piecehash.Hash {
	return piecehash.Hash(sha256.Sum256(cert.RawSubjectPublicKeyInfo))
}

// Leaf is a server certificate with its key, both in PEM. Chain is the certificate followed by the root, as nginx and
// crypto/tls take it.
type Leaf struct {
	Chain, Key []byte
	NotAfter   time.Time
}

// Issue makes a key and a certificate for a TLS server. Each host is a DNS name or an IP address and becomes a subject
// alternative name. lifetime lies from MinLeaf to MaxLeaf. Errors about the arguments are of kind fault.Usage.
func (a *Authority) Issue(hosts []string, lifetime time.Duration, now time.Time) (*Leaf, error) {
	if lifetime < MinLeaf || lifetime > MaxLeaf {
		return nil, fault.New(fault.Usage, "issue certificate: lifetime %v is not from %v to %v", lifetime, MinLeaf, MaxLeaf)
	}
	template := &x509.Certificate{
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		return nil, fault.New(fault.Usage, "issue certificate: the authority itself ends at %v", a.cert.NotAfter)
	}
	if err := setHosts(template, hosts); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	cert, err := sign(template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	keyPEM, err := keys.Encode(key)
	if err != nil {
		return nil, err
	}
	return &Leaf{Chain: append(encodeCert(cert.Raw), a.CertPEM()...), Key: keyPEM, NotAfter: cert.NotAfter}, nil
}

func setHosts(template *x509.Certificate, hosts []string) error {
	if len(hosts) == 0 || len(hosts) > maxHosts {
		return fault.New(fault.Usage, "issue certificate: %d host names, want 1 to %d", len(hosts), maxHosts)
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		if !validDNS(h) {
			return fault.WithHint(fault.New(fault.Usage, "issue certificate: %q is neither a DNS name nor an IP address", h),
				"give the bare name, without https:// and without a port")
		}
		template.DNSNames = append(template.DNSNames, h)
	}
	// A common name over 64 bytes is not valid X.509; names are matched against the alternative names only.
	if len(hosts[0]) <= 64 {
		template.Subject = pkix.Name{CommonName: hosts[0]}
	}
	return nil
}

// validDNS takes lower- or upper-case LDH labels (RFC 1123), no wildcard: a pinned endpoint has a name.
func validDNS(h string) bool {
	if len(h) > 253 {
		return false
	}
	for label := range strings.SplitSeq(h, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}

func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certType, Bytes: der})
}
