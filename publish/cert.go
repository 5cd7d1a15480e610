package publish

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository/ca"
)

// DefaultCertLifetime is how long a server certificate lasts: the longest, because issuing needs a person.
const DefaultCertLifetime = ca.MaxLeaf

// Certified says where a server certificate lies.
type Certified struct {
	Hosts    []string     `json:"hosts"`
	Cert     string       `json:"cert"` // path: the certificate and its authority's, as nginx wants them
	Key      string       `json:"key"`  // path: secret
	NotAfter time.Time    `json:"not_after"`
	Pin      metadata.Pin `json:"pin"` // of the authority
}

// Cert issues a certificate for the web server under the first of the host names (DNS names or IP addresses) and writes
// it into DIR/tls, replacing an earlier one. It needs the passphrase.
func (p *Publisher) Cert(ctx context.Context, hosts []string, lifetime time.Duration, now time.Time) (*Certified, error) {
	var out *Certified
	err := p.locked(ctx, func(*settings) error {
		authority, err := p.authority()
		if err != nil {
			return err
		}
		leaf, err := authority.Issue(hosts, lifetime, now)
		if err != nil {
			return err
		}
		// A colon, which an IPv6 address has, is trouble in paths of some configurations.
		name := strings.ReplaceAll(hosts[0], ":", "_")
		out = &Certified{
			Hosts: hosts, Cert: filepath.Join(p.tls(), name+".crt"), Key: filepath.Join(p.tls(), name+".key"),
			NotAfter: leaf.NotAfter, Pin: metadata.Pin(authority.Pin()),
		}
		return p.writeLeaf(leaf, out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// writeLeaf writes two files, and nothing holds them together: a power cut between may leave a pair that does not fit. It
// shows when the web server is reloaded, and running the command again mends it.
func (p *Publisher) writeLeaf(leaf *ca.Leaf, to *Certified) error {
	if err := durable.MkdirPrivate(p.tls()); err != nil {
		return fmt.Errorf("keep certificate: %w", err)
	}
	if err := durable.WriteFile(to.Key, leaf.Key, 0o600); err != nil {
		return fmt.Errorf("keep certificate: %w", diskFault(err))
	}
	return diskFault(durable.WriteFile(to.Cert, leaf.Chain, publicMode))
}
