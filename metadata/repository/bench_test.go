package repository_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"github.com/dunlin-project/dunlin/metadata/repository"
	tufclient "github.com/dunlin-project/dunlin/metadata/tuf"
)

// bench is a repository in a temporary folder with its keys at hand.
type bench struct {
	*repository.Repository
	config                repository.Config
	root, targets, online crypto.Signer
	now                   time.Time
}

func newBench(t *testing.T, change func(*repository.Edit) error, more ...crypto.Signer) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{
		config: repository.Config{
			Public:    filepath.Join(dir, "public", "metadata"),
			Record:    filepath.Join(dir, "state", "record.json"),
			Lifetimes: repository.CatalogueLifetimes(),
		},
		root: newKey(t), targets: newKey(t), online: newKey(t),
		now: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC),
	}
	r, err := repository.Create(t.Context(), b.config, b.genesis(), b.now, b.signers(more...), change)
	if err != nil {
		t.Fatal(err)
	}
	b.Repository = r
	return b
}

func (b *bench) genesis() repository.Genesis {
	return repository.Genesis{
		Root:      repository.One(b.root.Public()),
		Targets:   repository.One(b.targets.Public()),
		Snapshot:  repository.One(b.online.Public()),
		Timestamp: repository.One(b.online.Public()),
	}
}

func (b *bench) signers(more ...crypto.Signer) []crypto.Signer {
	return append([]crypto.Signer{b.root, b.targets, b.online}, more...)
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func target(content string) repository.Target {
	return repository.Target{
		Length: int64(len(content)), SHA256: sha256.Sum256([]byte(content)),
		Custom: json.RawMessage(`{"v":1,"when":"os == 'linux' && arch == 'amd64' <ok>","title":"Ünicode \"quoted\" \\ text"}`),
	}
}

func set(role string, paths ...string) func(*repository.Edit) error {
	return func(e *repository.Edit) error {
		for _, p := range paths {
			if err := e.SetTarget(role, p, target(p)); err != nil {
				return err
			}
		}
		return nil
	}
}

// client follows the public folder like a device that knows root 1: spec section 5, straight on trustedmetadata.
func client(dir string, root []byte, now time.Time) (*trustedmetadata.TrustedMetadata, error) {
	c, err := trustedmetadata.New(root)
	if err != nil {
		return nil, err
	}
	c.RefTime = now
	read := func(version int64, role string) []byte {
		name := role + ".json"
		if version > 0 {
			name = strconv.FormatInt(version, 10) + "." + name
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil
		}
		return b
	}
	for b := read(c.Root.Signed.Version+1, "root"); b != nil; b = read(c.Root.Signed.Version+1, "root") {
		if _, err := c.UpdateRoot(b); err != nil {
			return nil, err
		}
	}
	if _, err := c.UpdateTimestamp(read(0, "timestamp")); err != nil {
		return nil, err
	}
	if _, err := c.UpdateSnapshot(read(c.Timestamp.Signed.Meta["snapshot.json"].Version, "snapshot"), false); err != nil {
		return nil, err
	}
	version := func(role string) int64 { return c.Snapshot.Signed.Meta[role+".json"].Version }
	if _, err := c.UpdateTargets(read(version("targets"), "targets")); err != nil {
		return nil, err
	}
	if d := c.Targets["targets"].Signed.Delegations; d != nil {
		for _, role := range d.Roles {
			if _, err := c.UpdateDelegatedTargets(read(version(role.Name), role.Name), role.Name, "targets"); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

func (b *bench) client(t *testing.T) *trustedmetadata.TrustedMetadata {
	t.Helper()
	v, err := b.View()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client(b.config.Public, v.Roots()[0], b.now)
	if err != nil {
		t.Fatalf("a client refuses: %v", err)
	}
	b.device(t, v.Roots()[0], len(c.Targets))
	return c
}

// device follows the same folder with the updater that our devices have, which is stricter.
func (b *bench) device(t *testing.T, root []byte, roles int) {
	t.Helper()
	store, err := tufclient.OpenDir(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from its store
		u, err := tufclient.New(tufclient.Config{Anchor: root, Source: tufclient.Folder(filepath.Dir(b.config.Public)), Store: store}, b.now)
		if err != nil {
			t.Fatalf("a device refuses the root: %v", err)
		}
		if err := errors.Join(u.Refresh(t.Context()), u.LoadRoles(t.Context(), nil)); err != nil {
			t.Fatalf("a device refuses: %v", err)
		}
		if got := len(u.Roles()); got != roles {
			t.Errorf("a device sees %d roles, want %d", got, roles)
		}
	}
}

func (b *bench) update(t *testing.T, change func(*repository.Edit) error, more ...crypto.Signer) repository.Report {
	t.Helper()
	r, err := b.Update(t.Context(), b.now, b.signers(more...), change)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// snapshotOf lists every file below dir with its content.
func snapshotOf(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out = append(out, path+"="+string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
