package depot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// DefaultDir is where a depot lies unless it is told otherwise.
const DefaultDir = "/var/lib/dunlin/depot"

const (
	publicFile = 0o644
	publicDir  = 0o755
)

// folder names what lies where. Everything but public is private; the folder itself has mode 0700.
type folder string

func (f folder) path(elem ...string) string {
	return filepath.Join(append([]string{string(f)}, elem...)...)
}

func (f folder) settings() string          { return f.path("depot.json") }
func (f folder) keys() string              { return f.path("keys") }
func (f folder) authority() string         { return f.path(caFile) } // the certificate; public has a copy
func (f folder) serverCert() string        { return f.path("tls", "server.pem") }
func (f folder) serverKey() string         { return f.path("tls", "server.key") }
func (f folder) record() string            { return f.path("approvals", "record.json") }
func (f folder) mirror(name string) string { return f.path("mirror", name) }
func (f folder) served(name string) string { return f.path("mirror", name+".served") }
func (f folder) trusted(name string, root piecehash.Hash) string {
	return f.path("trust", name+"."+root.String()+".root.json")
}
func (f folder) incoming(root string) string { return f.path("incoming", root) }
func (f folder) workLock() string            { return f.path("work.lock") }
func (f folder) serveLock() string           { return f.path("serve.lock") }
func (f folder) socket() string              { return f.path("admin.sock") }

// public takes a name with forward slashes, as in a URL.
func (f folder) public(name ...string) string {
	return f.path("public", filepath.FromSlash(strings.Join(name, "/")))
}

// privateDirs are made by init, and again when one was lost.
func (f folder) privateDirs() []string {
	return []string{f.keys(), f.path("trust"), f.path("mirror"), f.path("incoming"), f.path("tls"), f.path("approvals")}
}

func (f folder) publicDirs() []string {
	return []string{
		f.public(contentDir), f.public(layerDir), f.public(catalogueDir),
		f.public(approvalsDir, "metadata"), f.public(approvalsDir, "targets", "publisher"),
	}
}

// makeDirs makes what is missing of both kinds, and refuses a private folder that others can get at.
func (f folder) makeDirs() error {
	for _, dir := range f.privateDirs() {
		if err := durable.MkdirPrivate(dir); err != nil {
			return err
		}
	}
	for _, dir := range f.publicDirs() {
		if err := makePublicDir(f.public(), dir); err != nil {
			return err
		}
	}
	return nil
}

// makePublicDir makes dir and the folders above it up to top so that a web server can read them, whatever the umask.
func makePublicDir(top, dir string) error {
	if info, err := os.Lstat(dir); err == nil && info.IsDir() && info.Mode().Perm() == publicDir {
		return nil
	}
	if err := os.MkdirAll(dir, publicDir); err != nil {
		return fmt.Errorf("make public folder: %w", err)
	}
	for {
		if err := os.Chmod(dir, publicDir); err != nil {
			return fmt.Errorf("make public folder: %w", err)
		}
		if dir == top {
			return durable.SyncDir(filepath.Dir(top))
		}
		if err := durable.SyncDir(dir); err != nil {
			return err
		}
		dir = filepath.Dir(dir)
	}
}

// publish writes a public file unless it stands there already byte for byte, and reports whether it did. What keeps it
// from writing is a lack (a full disk, say), and so unavailable.
func publish(path string, data []byte) (changed bool, err error) {
	if old, err := readBounded(path, int64(len(data))); err == nil && bytes.Equal(old, data) {
		return false, nil
	}
	if err := durable.WriteFile(path, data, publicFile); err != nil {
		return false, fault.New(fault.Unavailable, "publish: %w", err)
	}
	return true, nil
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("read %s: it is no regular file of at most %d bytes", path, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// settings is what init decided. It is written once and holds no secret.
type settings struct {
	Format        string   `json:"format"`
	Hosts         []string `json:"hosts"`          // names and addresses in the certificate; the first one stands in URLs
	Listen        string   `json:"listen"`         // of the TLS listener
	ContentListen string   `json:"content_listen"` // of the plain listener
	Rings         []string `json:"rings"`          // the first one is a token's default
}

const (
	settingsFormat = "dunlin-depot/1"
	maxSettings    = 64 << 10 // bytes
	maxRings       = 16
)

func (s *settings) check() error {
	switch {
	case s.Format != settingsFormat:
		return fault.New(fault.Usage, "check settings: format %.40q, this program knows %q", s.Format, settingsFormat)
	case len(s.Hosts) == 0:
		return fault.WithHint(fault.New(fault.Usage, "check settings: no host name"), "name the depot as devices will reach it: --host updates.example.org")
	case len(s.Rings) == 0 || len(s.Rings) > maxRings:
		return fault.New(fault.Usage, "check settings: %d rings, want 1 to %d", len(s.Rings), maxRings)
	}
	seen := map[string]bool{}
	for _, r := range s.Rings {
		if err := metadata.CheckRing(r); err != nil {
			return fault.New(fault.Usage, "%w", err)
		}
		if seen[r] {
			return fault.New(fault.Usage, "check settings: ring %s is named twice", r)
		}
		seen[r] = true
	}
	if _, err := portOf(s.Listen); err != nil {
		return err
	}
	_, err := portOf(s.ContentListen)
	return err
}

func portOf(listen string) (string, error) {
	_, port, err := net.SplitHostPort(listen)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 {
		return "", fault.WithHint(fault.New(fault.Usage, "check listener: %.60q is not an address with a port", listen), "write :8443 or 192.0.2.1:8443")
	}
	return port, nil
}

// secureURL is the base of the TLS listener's paths, without a trailing slash.
func (s *settings) secureURL() string { return baseURL("https", s.Hosts[0], s.Listen, "443") }

// contentURL is the base of the plain listener's paths.
func (s *settings) contentURL() string { return baseURL("http", s.Hosts[0], s.ContentListen, "80") }

func baseURL(scheme, host, listen, usual string) string {
	port, _ := portOf(listen) // check has seen it
	if port == usual {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

func (s *settings) write(f folder) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode settings: %w", err)
	}
	return durable.WriteFile(f.settings(), append(b, '\n'), 0o600)
}

func readSettings(f folder) (*settings, error) {
	b, err := readBounded(f.settings(), maxSettings)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.WithHint(fault.New(fault.Usage, "open depot: there is none in %s", string(f)), "make it with `dunlin depot init`, or name its folder with --dir")
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fault.WithHint(fault.New(fault.Refused, "open depot: %w", err), "run the command as the owner of %s, or as root while `dunlin depot serve` runs", string(f))
	}
	if err != nil {
		return nil, fmt.Errorf("open depot: %w", err)
	}
	return parseSettings(b)
}

func parseSettings(b []byte) (*settings, error) {
	s := new(settings)
	if err := decodeStrict(b, s); err != nil {
		return nil, fault.New(fault.Usage, "read settings: %w", err)
	}
	return s, s.check()
}

// decodeStrict reads exactly one JSON value without unknown fields.
func decodeStrict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}
