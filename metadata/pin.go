package metadata

import (
	"crypto/x509"

	"github.com/dunlin-project/dunlin/metadata/pinned"
)

// Pin is the SHA-256 of a certificate's SubjectPublicKeyInfo. Its text form is 64 lower-case hex digits.
type Pin = pinned.Pin

// PinOf returns the pin of a certificate's key.
func PinOf(c *x509.Certificate) Pin { return pinned.Of(c) }

// MaxAuthority bounds the PEM text of an authority, in bytes.
const MaxAuthority = pinned.MaxAuthority
