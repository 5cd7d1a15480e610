package installtest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/install"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/metadatatest"
)

// Ring is the ring of the bench's device.
const Ring = "pilot"

// Bench is one device with one publisher, acme, that its organisation trusts. Its fields may be changed between calls;
// change Config before Restart.
type Bench struct {
	Org       *metadatatest.Org
	Publisher *metadatatest.Publisher
	Config    install.Config
	Installer *install.Installer
	Now       time.Time
	Root      string // a folder for destinations

	t testing.TB
}

// New makes a bench with the given handlers.
func New(t testing.TB, handlers map[string]install.Handler) *Bench {
	t.Helper()
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	org := metadatatest.NewOrg(t, now, Ring)
	b := &Bench{Org: org, Publisher: org.Trust("acme"), Now: now, Root: t.TempDir(), t: t}
	b.Config = install.Config{
		Dir: filepath.Join(t.TempDir(), "state"), Anchor: org.Anchor(), Ring: Ring, Handlers: handlers,
	}
	b.Restart()
	return b
}

// Restart is what a new process of the device would have: another installer on the same folder.
func (b *Bench) Restart() {
	b.t.Helper()
	i, err := install.New(b.Config)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Installer = i
}

// Release publishes an update of the id app and approves it. change may be nil.
func (b *Bench) Release(version string, release int64, payload []byte, change func(*metadata.Update)) *metadata.Update {
	b.t.Helper()
	u := b.Publisher.Update("app", version, release, payload)
	if change != nil {
		change(u)
	}
	b.Publisher.Add(u, payload)
	b.Org.Approve(Ring, b.Publisher, u, nil)
	return u
}

// File writes a payload to a file that others cannot write to, and opens it for reading.
func (b *Bench) File(payload []byte) *os.File {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "payload")
	if err := os.WriteFile(path, payload, 0o400); err != nil {
		b.t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { f.Close() })
	return f
}

// Request asks for an update as it is published now.
func (b *Bench) Request(u *metadata.Update, f *os.File) install.Request {
	return install.Request{
		Payload: f, Bundle: b.Org.Bundle(), Update: metadata.Key{Publisher: u.Publisher, ID: u.ID}, Version: u.Version, Now: b.Now,
	}
}

// Verify verifies a payload.
func (b *Bench) Verify(u *metadata.Update, payload []byte) (*install.Verified, error) {
	b.t.Helper()
	return b.Installer.Verify(b.t.Context(), b.Request(u, b.File(payload)))
}

// Install verifies and applies.
func (b *Bench) Install(ctx context.Context, u *metadata.Update, payload []byte) (install.Outcome, error) {
	b.t.Helper()
	v, err := b.Installer.Verify(ctx, b.Request(u, b.File(payload)))
	if err != nil {
		return install.Outcome{}, err
	}
	defer v.Close()
	return b.Installer.Apply(ctx, v)
}

// MustInstall fails the test when Install fails.
func (b *Bench) MustInstall(u *metadata.Update, payload []byte) install.Outcome {
	b.t.Helper()
	o, err := b.Install(b.t.Context(), u, payload)
	if err != nil {
		b.t.Fatal(err)
	}
	return o
}

// Item returns the inventory's entry of the id app; its version is "" when there is none.
func (b *Bench) Item() install.Item {
	b.t.Helper()
	items, err := b.Installer.Installed(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, i := range items {
		if i.ID == "app" {
			return i
		}
	}
	return install.Item{}
}
