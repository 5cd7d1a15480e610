package publish_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/publish"
)

// desk is a publisher in a temporary folder.
type desk struct {
	*publish.Publisher
	config publish.Config
	made   *publish.Made
	asked  int // for the passphrase
	now    time.Time
}

func newDesk(t *testing.T, q publish.InitRequest) *desk { return newDeskAt(t, q, start) }

func newDeskAt(t *testing.T, q publish.InitRequest, now time.Time) *desk {
	t.Helper()
	d := &desk{now: now}
	d.config = publish.Config{
		Dir: filepath.Join(t.TempDir(), "acme"), WorkFactor: keys.MinWorkFactor,
		Unlock: func() ([]byte, error) { d.asked++; return []byte("correct horse battery"), nil },
	}
	made, err := publish.Init(t.Context(), d.config, q, d.now)
	if err != nil {
		t.Fatal(err)
	}
	d.made = made
	if d.Publisher, err = publish.Open(d.config); err != nil {
		t.Fatal(err)
	}
	d.asked = 0
	return d
}

func (d *desk) path(elem ...string) string {
	return filepath.Join(append([]string{d.config.Dir}, elem...)...)
}

func payload(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "editor 1.0.bin")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func editor(version string) metadata.Update {
	return metadata.Update{ID: "editor", Version: version, Kind: metadata.KindApp, Handler: metadata.HandlerFile, Destination: "/opt/editor"}
}

func (d *desk) add(t *testing.T, content, version string) *publish.Added {
	t.Helper()
	a, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, content), Update: editor(version)}, d.now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (d *desk) release(t *testing.T) publish.Released {
	t.Helper()
	r, err := d.Release(t.Context(), d.now, false)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (d *desk) list(t *testing.T) *publish.Listing {
	t.Helper()
	l, err := d.List(d.now)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// target reads one record the way a depot does: from the trust file, through the mirror.
func (d *desk) target(t *testing.T, path string) *metadata.Target {
	t.Helper()
	trust := d.trust(t)
	m, err := metadata.NewMirror(metadata.MirrorConfig{Dir: filepath.Join(t.TempDir(), "mirror"), Trust: trust})
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Sync(t.Context(), start)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Err(), c.Stale()); err != nil || len(c.Refused()) != 0 {
		t.Fatalf("%v, refused %v", err, c.Refused())
	}
	x, ok := c.Target(path)
	if !ok {
		t.Fatalf("no target %s", path)
	}
	content, err := x.Content()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Layer(t.Context(), content, start); err != nil {
		t.Errorf("layer: %v", err)
	}
	if y := d.raw(t, path); x.Length != y.Length || x.SHA256 != y.SHA256 {
		t.Errorf("the mirror says %d %v, the file %d %v", x.Length, x.SHA256, y.Length, y.SHA256)
	}
	return x
}

// raw reads one record out of the published file, as any JSON reader would.
func (d *desk) raw(t *testing.T, path string) *metadata.Target {
	t.Helper()
	files, err := filepath.Glob(d.path("public", "metadata", "*.targets.json"))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(files, func(a, b string) int { return len(a) - len(b) })
	var file struct {
		Signed struct {
			Targets map[string]struct {
				Length int64                     `json:"length"`
				Hashes map[string]piecehash.Hash `json:"hashes"`
				Custom json.RawMessage           `json:"custom"`
			} `json:"targets"`
		} `json:"signed"`
	}
	b, err := os.ReadFile(files[len(files)-1])
	if err == nil {
		err = json.Unmarshal(b, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	x, ok := file.Signed.Targets[path]
	if !ok {
		t.Fatalf("no target %s in %s", path, files[len(files)-1])
	}
	u, _, err := metadata.ParseUpdate(x.Custom)
	if err != nil {
		t.Fatal(err)
	}
	return &metadata.Target{Path: path, Length: x.Length, SHA256: x.Hashes["sha256"], Update: u}
}

// tree lists every file below dir with its content, but for locks.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(path, "lock") {
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
