package metadata

import (
	"crypto/sha256"
	"crypto/x509"

	"github.com/dunlin-project/dunlin/piecehash"
)

// Pin is the SHA-256 of a certificate's SubjectPublicKeyInfo. Its text form is 64 lower-case hex digits. It pins the key,
// so it survives that a certificate is issued anew.
type Pin piecehash.Hash

// PinOf returns the pin of a certificate's key.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// String returns the pin in lower-case hex.
func (p Pin) String() string { return piecehash.Hash(p).String() }

// MarshalText implements encoding.TextMarshaler: lower-case hex.
func (p Pin) MarshalText() ([]byte, error) { return piecehash.Hash(p).MarshalText() }

// UnmarshalText implements encoding.TextUnmarshaler. It takes exactly 64 lower-case hex digits.
func (p *Pin) UnmarshalText(b []byte) error { return (*piecehash.Hash)(p).UnmarshalText(b) }
