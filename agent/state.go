package agent

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/member"
)

// Limits of the files in the state folder, in bytes.
const (
	maxDeviceKey = 4 << 10
	maxStatus    = 4 << 20
)

const (
	keyMode    fs.FileMode = 0o600
	statusMode fs.FileMode = 0o600
)

// stateDir is the private folder of an agent. What lies where is said here and nowhere else:
//
//	anchors/                     what is trusted (package member), written by "dunlin join"
//	device.key                   the device's Ed25519 key (PKCS #8, PEM), made at the first start
//	metadata/                    verified metadata (package metadata)
//	content/                     verified content (package store)
//	install/                     journal and version floor (package install)
//	history.json                 what came and went (package history)
//	status.json                  the last status, for when the agent does not run
//	lock                         held by the agent that runs
type stateDir string

func (d stateDir) join(elem ...string) string {
	return filepath.Join(append([]string{string(d)}, elem...)...)
}

func (d stateDir) deviceKey() string { return d.join("device.key") }
func (d stateDir) metadata() string  { return d.join("metadata") }
func (d stateDir) content() string   { return d.join("content") }
func (d stateDir) install() string   { return d.join("install") }
func (d stateDir) history() string   { return d.join("history.json") }
func (d stateDir) status() string    { return d.join("status.json") }
func (d stateDir) lock() string      { return d.join("lock") }

// make makes the folder; the owners of its parts make theirs.
func (d stateDir) make() error {
	if err := durable.MkdirPrivate(string(d)); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	return nil
}

// anchors reads what "dunlin join" has left.
func (d stateDir) anchors() (member.Anchors, error) {
	a, err := member.ReadAnchors(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		err = fault.WithHint(fault.Wrap(fault.Usage, err), "this device has not joined an organisation: dunlin join TOKEN")
	}
	return a, err
}

const keyBlock = "PRIVATE KEY"

// DeviceKey returns the key of the device whose agent has the given state folder. It is made, durably, when it is
// missing. A damaged key is an error and not replaced: the device would be another one to everybody who knows it.
func DeviceKey(dir string) (ed25519.PrivateKey, error) {
	d := stateDir(dir)
	if err := d.make(); err != nil {
		return nil, err
	}
	b, err := readBounded(d.deviceKey(), maxDeviceKey)
	if errors.Is(err, fs.ErrNotExist) {
		return newDeviceKey(d.deviceKey())
	}
	if err != nil {
		return nil, fmt.Errorf("read device key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block != nil && block.Type == keyBlock {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if key, ok := key.(ed25519.PrivateKey); ok {
				return key, nil
			}
		}
	}
	return nil, fault.WithHint(fault.New(fault.Internal, "read device key: %s is damaged", d.deviceKey()),
		"restore it from a backup; or remove it, and the device gets a new identity")
}

func newDeviceKey(path string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make device key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make device key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der})
	if err := durable.WriteFile(path, text, keyMode); err != nil {
		return nil, fmt.Errorf("make device key: %w", err)
	}
	return key, nil
}

// DeviceID names a device for as long as its key lives: the first 16 bytes of the SHA-256 of its public key, in hex.
func DeviceID(key ed25519.PrivateKey) string {
	sum := sha256.Sum256(key.Public().(ed25519.PublicKey))
	return hex.EncodeToString(sum[:16])
}
