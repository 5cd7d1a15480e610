package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/dunlin-project/dunlin/internal/fault"
)

const pemType = "PRIVATE KEY"

// NewEd25519 makes a key for signing metadata.
func NewEd25519() (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

// Encode writes an Ed25519 or ECDSA private key as PKCS #8 in PEM.
func Encode(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// Parse reads what Encode wrote: exactly one PEM block with an Ed25519 key or an ECDSA key on P-256.
func Parse(b []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(b)
	if block == nil || block.Type != pemType || len(bytes.TrimSpace(rest)) != 0 {
		return nil, fault.New(fault.Usage, "parse key: want exactly one PEM block of type %q", pemType)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Usage, "parse key: %w", err)
	}
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return k, nil
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P256() {
			return k, nil
		}
	}
	return nil, fault.Wrap(fault.Usage, errors.New("parse key: it is neither Ed25519 nor ECDSA on P-256"))
}

// NewOnline makes an Ed25519 key and keeps it under that name, unencrypted.
func (s *Store) NewOnline(name string) (crypto.Signer, error) {
	return s.makeKey(func(b []byte) error { return s.PutOnline(name, b) })
}

// NewOffline makes an Ed25519 key and keeps it under that name, encrypted.
func (s *Store) NewOffline(name string, passphrase []byte) (crypto.Signer, error) {
	return s.makeKey(func(b []byte) error { return s.PutOffline(name, b, passphrase) })
}

func (s *Store) makeKey(put func([]byte) error) (crypto.Signer, error) {
	key, err := NewEd25519()
	if err != nil {
		return nil, err
	}
	b, err := Encode(key)
	if err != nil {
		return nil, err
	}
	return key, put(b)
}

// OnlineSigner reads a key that NewOnline or PutOnline of an Encode wrote.
func (s *Store) OnlineSigner(name string) (crypto.Signer, error) {
	b, err := s.Online(name)
	if err != nil {
		return nil, err
	}
	return Parse(b)
}

// OfflineSigner reads a key that NewOffline or PutOffline of an Encode wrote.
func (s *Store) OfflineSigner(name string, unlock Unlock) (crypto.Signer, error) {
	b, err := s.Offline(name, unlock)
	if err != nil {
		return nil, err
	}
	return Parse(b)
}
