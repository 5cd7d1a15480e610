package repository

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	tuf "github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// KeyID returns the TUF id of a public key: the hex SHA-256 of its canonical form.
func KeyID(pub crypto.PublicKey) (string, error) {
	_, id, err := tufKey(pub)
	return id, err
}

// tufKey accepts Ed25519 and, for security modules that know nothing better, ECDSA on P-256.
func tufKey(pub crypto.PublicKey) (*tuf.Key, string, error) {
	switch k := pub.(type) {
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return nil, "", fault.New(fault.Usage, "read public key: %d bytes are no Ed25519 key", len(k))
		}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, "", fault.New(fault.Usage, "read public key: ECDSA is accepted on P-256 only")
		}
	default:
		return nil, "", fault.New(fault.Usage, "read public key: %T is neither Ed25519 nor ECDSA on P-256", pub)
	}
	key, err := tuf.KeyFromPublicKey(pub)
	if err != nil {
		return nil, "", fmt.Errorf("read public key: %w", err)
	}
	id, err := key.ID()
	return key, id, err
}

// signers are the keys at hand in one transaction, by key id.
type signers map[string]crypto.Signer

func newSigners(list []crypto.Signer) (signers, error) {
	s := signers{}
	for _, k := range list {
		id, err := KeyID(k.Public())
		if err != nil {
			return nil, err
		}
		s[id] = k
	}
	return s, nil
}

// covers reports whether the keys at hand reach the threshold.
func (s signers) covers(keyIDs []string, threshold int) bool {
	n := 0
	for _, id := range keyIDs {
		if s[id] != nil {
			n++
		}
	}
	return n >= threshold
}

// need is fault.Usage when the keys at hand do not reach the threshold of a role.
func (s signers) need(role string, keyIDs []string, threshold int) error {
	if s.covers(keyIDs, threshold) {
		return nil
	}
	var missing []string
	for _, id := range keyIDs {
		if s[id] == nil {
			missing = append(missing, id[:min(len(id), 16)])
		}
	}
	slices.Sort(missing)
	return fault.WithHint(fault.New(fault.Usage, "sign %s: it needs %d of its keys; not at hand: %s", role, threshold, strings.Join(missing, ", ")),
		"give the key of the role; offline keys may have to be mounted first")
}

// sign replaces the signatures by those of every key at hand among keyIDs, in the order of the ids.
func sign[T tuf.Roles](m *tuf.Metadata[T], keyIDs []string, s signers) error {
	m.ClearSignatures()
	for _, id := range slices.Compact(slices.Sorted(slices.Values(keyIDs))) {
		if k := s[id]; k != nil {
			if _, err := m.Sign(adapter{k}); err != nil {
				return fmt.Errorf("sign with key %s: %w", id, err)
			}
		}
	}
	return nil
}

// adapter gives a crypto.Signer (a key in memory, or in a security module) the shape that go-tuf asks for.
type adapter struct{ crypto.Signer }

func (a adapter) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return a.Public(), nil
}

func (a adapter) SignMessage(r io.Reader, _ ...signature.SignOption) ([]byte, error) {
	msg, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if _, ok := a.Public().(ed25519.PublicKey); ok {
		return a.Sign(rand.Reader, msg, crypto.Hash(0))
	}
	digest := sha256.Sum256(msg)
	return a.Sign(rand.Reader, digest[:], crypto.SHA256)
}
