package publish

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
	"github.com/dunlin-project/dunlin/piecehash"
)

const (
	settingsFormat = "dunlin-publisher/1"
	// maxSettings bounds settings and the list of what is staged, in bytes.
	maxSettings = 16 << 20
	publicMode  = 0o644
	folderMode  = 0o755
)

// Names of key files. A key that replaces one gets a number behind its name.
const (
	keyRoot     = "root"
	keyTargets  = "targets"
	keyOnline   = "online"
	keyPayload  = "payload"
	keyCA       = "ca"
	keyCABackup = "ca-backup"
)

// layout knows where everything lies.
type layout struct{ dir string }

func (l layout) public() string   { return filepath.Join(l.dir, "public") }
func (l layout) metadata() string { return filepath.Join(l.public(), "metadata") }
func (l layout) contents() string { return filepath.Join(l.public(), "content") }
func (l layout) layers() string   { return filepath.Join(l.public(), "layer") }
func (l layout) keys() string     { return filepath.Join(l.dir, "keys") }
func (l layout) state() string    { return filepath.Join(l.dir, "state") }
func (l layout) record() string   { return filepath.Join(l.state(), "catalogue.json") }
func (l layout) settings() string { return filepath.Join(l.state(), "publisher.json") }
func (l layout) staged() string   { return filepath.Join(l.state(), "staged.json") }
func (l layout) lock() string     { return filepath.Join(l.state(), "lock") }
func (l layout) tls() string      { return filepath.Join(l.dir, "tls") }
func (l layout) trust() string    { return filepath.Join(l.dir, "publisher.trust") }
func (l layout) caCert() string   { return filepath.Join(l.dir, "ca.pem") }
func (l layout) payload() string  { return filepath.Join(l.dir, "payload.pub") }

func (l layout) content(r piecehash.Root) string   { return filepath.Join(l.contents(), r.String()) }
func (l layout) signature(r piecehash.Root) string { return l.content(r) + ".minisig" }
func (l layout) layer(r piecehash.Root) string     { return filepath.Join(l.layers(), r.String()) }

func (l layout) repository() repository.Config {
	return repository.Config{Public: l.metadata(), Record: l.record(), Lifetimes: repository.CatalogueLifetimes()}
}

// settings are what init decided, and the public halves of the keys. They are private because what they say is signed
// and handed out.
type settings struct {
	Format     string                `json:"format"`
	Publisher  string                `json:"publisher"`
	Catalogues []string              `json:"catalogues"` // base URLs
	Origins    []string              `json:"origins,omitempty"`
	CA         string                `json:"ca"` // PEM
	Pins       []metadata.Pin        `json:"pins"`
	Payload    []metadata.PayloadKey `json:"payload"` // the last one signs
	Keys       []keyFile             `json:"keys"`
	Retired    map[string][]int64    `json:"retired,omitempty"` // release counters of withdrawn updates, by id
}

// keyFile says which file holds the key with an id.
type keyFile struct {
	Name    string `json:"name"`
	ID      string `json:"id"` // of TUF
	Offline bool   `json:"offline"`
}

func (s *settings) find(id string) (keyFile, bool) {
	for _, k := range s.Keys {
		if k.ID == id {
			return k, true
		}
	}
	return keyFile{}, false
}

func (s *settings) trust(root []byte) *metadata.Trust {
	return &metadata.Trust{
		Format: metadata.TrustFormat, Publisher: s.Publisher, Root: root, Keys: s.Payload,
		Catalogues: s.Catalogues, CA: s.CA, Pins: s.Pins, Origins: s.Origins,
	}
}

// readFile reads a private JSON file of ours strictly. A missing one wraps fs.ErrNotExist.
func readFile(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	if err := decode(b, v); err != nil {
		return fault.WithHint(fault.New(fault.Untrusted, "read %s: %w", path, err), "restore it from your copy")
	}
	return nil
}

func decode(b []byte, v any) error {
	if len(b) > maxSettings {
		return fmt.Errorf("more than %d bytes", maxSettings)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its end")
	}
	return nil
}

func writeJSON(path string, v any, perm fs.FileMode) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return durable.WriteFile(path, b.Bytes(), perm)
}

func (l layout) readSettings() (*settings, error) {
	s := new(settings)
	err := readFile(l.settings(), s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.WithHint(fault.New(fault.Usage, "open publisher: %w", err), "make the folder first: dunlin publish init %s", l.dir)
	}
	if err != nil {
		return nil, err
	}
	if s.Format != settingsFormat {
		return nil, fault.New(fault.Refused, "read %s: format %.40q, this program knows %q", l.settings(), s.Format, settingsFormat)
	}
	return s, nil
}

// Config of a Publisher.
type Config struct {
	// Dir is the publisher's folder.
	Dir string
	// OfflineKeys is where the offline keys lie when they are not in DIR/keys/offline.
	OfflineKeys string
	// WorkFactor of scrypt for new offline keys; zero: keys.DefaultWorkFactor.
	WorkFactor int
	// Unlock gives the passphrase of the offline keys. It is called only when one is needed.
	Unlock keys.Unlock
}

func (c Config) open() (layout, *keys.Store, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil || c.Dir == "" {
		return layout{}, nil, fault.New(fault.Usage, "open publisher: no folder is named")
	}
	store, err := keys.Open(layout{dir}.keys(), keys.Options{Offline: c.OfflineKeys, WorkFactor: c.WorkFactor})
	return layout{dir}, store, err
}
