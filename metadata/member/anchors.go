package member

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// Limits of the anchors, in bytes.
const (
	MaxRoot      = 512 << 10
	maxAuthority = 16 << 10
)

const (
	anchorsDir  = "anchors"
	anchorsMode = 0o644 // in a 0700 folder; public in themselves
)

// Anchors are what a machine trusts from the day it joined. They lie in its private folder:
//
//	anchors/approvals-root.json  the trust anchor
//	anchors/ca.pem               the depot's authority
type Anchors struct {
	Root      []byte // a root file of the approvals
	Authority []byte // the depot's certificate authority, one PEM certificate; empty when every depot is a folder
}

func rootFile(dir string) string      { return filepath.Join(dir, anchorsDir, "approvals-root.json") }
func authorityFile(dir string) string { return filepath.Join(dir, anchorsDir, "ca.pem") }

// ReadAnchors reads what joining has left in a private folder. The error is fs.ErrNotExist when nothing has.
func ReadAnchors(dir string) (a Anchors, err error) {
	a.Root, err = readBounded(rootFile(dir), MaxRoot)
	if err == nil {
		a.Authority, err = readBounded(authorityFile(dir), maxAuthority)
	}
	if err != nil {
		return Anchors{}, fmt.Errorf("read trust anchors: %w", err)
	}
	return a, nil
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return b, err
}

// Write puts the anchors into a private folder, durably; it makes the folder. Another organisation's anchor that is there is
// replaced only if replace says so, and else refused (fault.Refused).
func (a Anchors) Write(dir string, replace bool) error {
	if len(a.Root) == 0 || len(a.Root) > MaxRoot {
		return fault.New(fault.Usage, "keep trust anchors: the approvals' root has %d bytes, want 1 to %d", len(a.Root), MaxRoot)
	}
	if block, _ := pem.Decode(a.Authority); len(a.Authority) > 0 && block == nil {
		return fault.New(fault.Usage, "keep trust anchors: the depot's authority is not in PEM")
	}
	for _, d := range []string{dir, filepath.Join(dir, anchorsDir)} {
		if err := durable.MkdirPrivate(d); err != nil {
			return fmt.Errorf("keep trust anchors: %w", err)
		}
	}
	old, err := readBounded(rootFile(dir), MaxRoot)
	if err == nil && !bytes.Equal(old, a.Root) && !replace {
		return fault.WithHint(fault.New(fault.Refused, "keep trust anchors: %s already trusts another organisation", dir),
			"if this machine is to change hands, run join again with --replace")
	}
	// The anchor of trust comes last: without it nothing starts.
	if err := durable.WriteFile(authorityFile(dir), a.Authority, fs.FileMode(anchorsMode)); err != nil {
		return fmt.Errorf("keep trust anchors: %w", err)
	}
	if err := durable.WriteFile(rootFile(dir), a.Root, fs.FileMode(anchorsMode)); err != nil {
		return fmt.Errorf("keep trust anchors: %w", err)
	}
	return nil
}

// Pins returns the pins of the authority; none when there is no authority.
func (a Anchors) Pins() ([]metadata.Pin, error) {
	if len(a.Authority) == 0 {
		return nil, nil
	}
	block, _ := pem.Decode(a.Authority)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fault.New(fault.Usage, "read the depot's authority: there is no PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Usage, "read the depot's authority: %w", err)
	}
	return []metadata.Pin{metadata.PinOf(cert)}, nil
}
