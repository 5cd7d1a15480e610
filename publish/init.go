package publish

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"aead.dev/minisign"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository"
	"github.com/dunlin-project/dunlin/metadata/repository/ca"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
)

// InitRequest says what a new publisher is called and where it will be found.
type InitRequest struct {
	// Publisher is the name that organisations know it by (metadata.CheckPublisher). Empty: the name of the folder.
	Publisher string
	// URLs are the https base URLs where DIR/public will be served. Empty: the trust file names the folder itself.
	URLs []string
	// Origins are http or https base URLs of content for every update, besides those of each update.
	Origins []string
}

// KeyInfo tells people about one key.
type KeyInfo struct {
	Name    string `json:"name"`
	Use     string `json:"use"`
	Path    string `json:"path"`
	ID      string `json:"id"` // TUF key id, minisign key id or SPKI pin
	Offline bool   `json:"offline"`
}

// Made is what Init made.
type Made struct {
	Publisher   string    `json:"publisher"`
	Dir         string    `json:"dir"`
	Public      string    `json:"public"`
	Trust       string    `json:"trust"`
	Fingerprint string    `json:"fingerprint"` // metadata.Trust.Fingerprint
	Catalogues  []string  `json:"catalogues"`
	Keys        []KeyInfo `json:"keys"`
}

// Init makes a publisher's folder: keys, an empty catalogue, and the trust file. It appears whole or not at all, and
// never replaces anything: a folder that is not empty is fault.Usage.
func Init(ctx context.Context, c Config, q InitRequest, now time.Time) (*Made, error) {
	final, _, err := c.open()
	if err != nil {
		return nil, err
	}
	s, err := q.settings(final)
	if err != nil {
		return nil, err
	}
	if err := checkFree(final); err != nil {
		return nil, err
	}
	passphrase, err := c.Unlock()
	if err != nil {
		return nil, err
	}
	if err := keys.CheckPassphrase(passphrase); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(final.dir), folderMode); err != nil {
		return nil, fmt.Errorf("make publisher: %w", err)
	}
	temp, err := os.MkdirTemp(filepath.Dir(final.dir), "."+filepath.Base(final.dir)+".init-*")
	if err != nil {
		return nil, fmt.Errorf("make publisher: %w", err)
	}
	made, err := build(ctx, layout{temp}, c, s, passphrase, now)
	if err == nil {
		err = final.adopt(temp)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(temp))
	}
	made.relocate(temp, final)
	return made, nil
}

func (q InitRequest) settings(l layout) (*settings, error) {
	s := &settings{Format: settingsFormat, Publisher: q.Publisher, Catalogues: q.URLs, Origins: q.Origins}
	if s.Publisher == "" {
		s.Publisher = filepath.Base(l.dir)
	}
	if err := metadata.CheckPublisher(s.Publisher); err != nil {
		return nil, fault.WithHint(fault.New(fault.Usage, "make publisher: %w", err), "give it a name with --name")
	}
	if len(s.Catalogues) == 0 {
		s.Catalogues = []string{(&url.URL{Scheme: "file", Path: l.public()}).String()}
	}
	for _, u := range q.URLs {
		if !strings.HasPrefix(u, "https://") {
			return nil, fault.WithHint(fault.New(fault.Usage, "make publisher: %q is no https URL", u),
				"metadata comes over pinned TLS only; payloads may come over plain http, see --origin")
		}
	}
	return s, nil
}

func checkFree(l layout) error {
	entries, err := os.ReadDir(l.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fault.New(fault.Usage, "make publisher: %w", err)
	case len(entries) == 0:
		return nil
	}
	if _, err := os.Lstat(l.settings()); err == nil {
		return fault.WithHint(fault.New(fault.Usage, "make publisher: %s holds one already", l.dir),
			"nothing was changed; see it with `dunlin publish list %s`, or choose another folder", l.dir)
	}
	return fault.WithHint(fault.New(fault.Usage, "make publisher: %s is not empty", l.dir), "nothing was changed; choose another folder")
}

// adopt gives the finished folder its name.
func (l layout) adopt(temp string) error {
	// The web server goes through this folder to public; keys and state inside are closed to it by their own modes.
	if err := os.Chmod(temp, folderMode); err != nil {
		return fmt.Errorf("make publisher: %w", err)
	}
	if err := durable.SyncDir(temp); err != nil {
		return err
	}
	if err := os.Remove(l.dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // an empty one may be there
		return fault.New(fault.Usage, "make publisher: %w", err)
	}
	return durable.RenameNew(temp, l.dir)
}

// builder makes the parts of a new publisher one after the other.
type builder struct {
	layout
	store      *keys.Store
	passphrase []byte
	settings   *settings
	made       *Made
	signers    []crypto.Signer
}

func build(ctx context.Context, l layout, c Config, s *settings, passphrase []byte, now time.Time) (*Made, error) {
	store, err := keys.Open(l.keys(), keys.Options{WorkFactor: c.WorkFactor})
	if err != nil {
		return nil, err
	}
	b := &builder{l, store, passphrase, s, &Made{Publisher: s.Publisher, Catalogues: s.Catalogues}, nil}
	var genesis repository.Genesis
	steps := []func() error{
		func() error { return b.tufKey(keyRoot, "signs who may sign the catalogue", true, &genesis.Root) },
		func() error { return b.tufKey(keyTargets, "signs releases", true, &genesis.Targets) },
		func() error { return b.tufKey(keyOnline, "signs snapshot and timestamp", false, &genesis.Snapshot) },
		b.payloadKey,
		func() error { return b.authority(keyCA, "issues certificates for the web server", now, true) },
		func() error { return b.authority(keyCABackup, "replaces ca if that is lost or stolen", now, false) },
		func() error { genesis.Timestamp = genesis.Snapshot; return b.catalogue(ctx, genesis, now) },
		b.folders,
		b.papers,
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("make publisher: %w", err)
		}
		if err := step(); err != nil {
			return nil, fmt.Errorf("make publisher: %w", err)
		}
	}
	return b.made, nil
}

func (b *builder) tufKey(name, use string, offline bool, role *repository.RoleKeys) error {
	var signer crypto.Signer
	var err error
	if offline {
		signer, err = b.store.NewOffline(name, b.passphrase)
	} else {
		signer, err = b.store.NewOnline(name)
	}
	if err != nil {
		return err
	}
	id, err := repository.KeyID(signer.Public())
	if err != nil {
		return err
	}
	*role = repository.One(signer.Public())
	b.signers = append(b.signers, signer)
	b.settings.Keys = append(b.settings.Keys, keyFile{Name: name, ID: id, Offline: offline})
	b.tell(name, use, id, offline)
	return nil
}

func (b *builder) tell(name, use, id string, offline bool) {
	path := b.store.OnlinePath(name)
	if offline {
		path = b.store.OfflinePath(name)
	}
	b.made.Keys = append(b.made.Keys, KeyInfo{name, use, path, id, offline})
}

func (b *builder) payloadKey() error {
	pub, secret, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make payload key: %w", err)
	}
	text, err := secret.MarshalText()
	if err != nil {
		return fmt.Errorf("make payload key: %w", err)
	}
	if err := b.store.PutOffline(keyPayload, text, b.passphrase); err != nil {
		return err
	}
	key := payloadKeyOf(pub)
	b.settings.Payload = []metadata.PayloadKey{key}
	b.tell(keyPayload, "signs payloads (minisign)", key.ID, true)
	file, err := pub.MarshalText()
	if err != nil {
		return fmt.Errorf("make payload key: %w", err)
	}
	return durable.WriteFile(b.payload(), append(file, '\n'), publicMode)
}

// authority makes a certificate authority. Both are pinned, so that the second can take over without anybody's trust
// file being changed; only the first one's certificate is handed out.
func (b *builder) authority(name, use string, now time.Time, first bool) error {
	a, err := ca.New(b.settings.Publisher+" updates", now)
	if err != nil {
		return err
	}
	secret, err := a.Encode()
	if err != nil {
		return err
	}
	if err := b.store.PutOffline(name, secret, b.passphrase); err != nil {
		return err
	}
	b.settings.Pins = append(b.settings.Pins, metadata.Pin(a.Pin()))
	b.tell(name, use, a.Pin().String(), true)
	if !first {
		return nil
	}
	b.settings.CA = string(a.CertPEM())
	return durable.WriteFile(b.caCert(), a.CertPEM(), publicMode)
}

func (b *builder) catalogue(ctx context.Context, g repository.Genesis, now time.Time) error {
	_, err := repository.Create(ctx, b.repository(), g, now, b.signers, nil)
	return err
}

func (b *builder) folders() error {
	for _, dir := range []string{b.public(), b.contents(), b.layers()} {
		if err := makePublic(dir); err != nil {
			return err
		}
	}
	return durable.MkdirPrivate(b.tls())
}

// papers writes the settings and what is handed out.
func (b *builder) papers() error {
	r, err := repository.Open(b.repository())
	if err != nil {
		return err
	}
	v, err := r.View()
	if err != nil {
		return err
	}
	if err := writeJSON(b.layout.settings(), b.settings, 0o600); err != nil {
		return err
	}
	trust := b.settings.trust(v.Roots()[0])
	text, err := trust.Encode()
	if err != nil {
		return fault.New(fault.Usage, "%w", err) // only names and URLs can be wrong here, and those were given
	}
	b.made.Fingerprint = trust.Fingerprint().String()
	return durable.WriteFile(b.layout.trust(), text, publicMode)
}

// makePublic makes a folder that a web server can read, whatever the umask.
func makePublic(dir string) error {
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return fmt.Errorf("make public folder: %w", err)
	}
	if err := os.Chmod(dir, folderMode); err != nil {
		return fmt.Errorf("make public folder: %w", err)
	}
	return durable.SyncDir(filepath.Dir(dir))
}

// relocate puts the final names where the temporary ones are.
func (m *Made) relocate(temp string, final layout) {
	m.Dir, m.Public, m.Trust = final.dir, final.public(), final.trust()
	for i := range m.Keys {
		m.Keys[i].Path = final.dir + strings.TrimPrefix(m.Keys[i].Path, temp)
	}
}
