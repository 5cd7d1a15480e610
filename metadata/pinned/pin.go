package pinned

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Pin is the SHA-256 of a certificate's SubjectPublicKeyInfo. Its text form is 64 lower-case hex digits. It pins the key,
// so it survives that a certificate is issued anew.
type Pin piecehash.Hash

// Of returns the pin of a certificate's key.
func Of(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// String returns the pin in lower-case hex.
func (p Pin) String() string { return piecehash.Hash(p).String() }

// MarshalText implements encoding.TextMarshaler: lower-case hex.
func (p Pin) MarshalText() ([]byte, error) { return piecehash.Hash(p).MarshalText() }

// UnmarshalText implements encoding.TextUnmarshaler. It takes exactly 64 lower-case hex digits.
func (p *Pin) UnmarshalText(b []byte) error { return (*piecehash.Hash)(p).UnmarshalText(b) }

// MaxAuthority bounds the PEM text of an authority, in bytes.
const MaxAuthority = 16 << 10

// ParseAuthority reads exactly one PEM certificate of an authority, and nothing but white space around it. What is
// anything else is refused.
func ParseAuthority(b []byte) (*x509.Certificate, error) {
	if len(b) > MaxAuthority {
		return nil, fault.New(fault.Refused, "read authority: %d bytes, at most %d", len(b), MaxAuthority)
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
		return nil, fault.New(fault.Refused, "read authority: not exactly one PEM certificate")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Refused, "read authority: %w", err)
	}
	if !c.IsCA || !c.BasicConstraintsValid {
		return nil, fault.New(fault.Refused, "read authority: %.100q is not a certificate authority", c.Subject.String())
	}
	return c, nil
}
