package publish_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"aead.dev/minisign"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
	"github.com/dunlin-project/dunlin/publish"
)

func TestInitLaysOutTheFolder(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	for path, want := range map[string]fs.FileMode{
		".": 0o755, "public": 0o755, "public/metadata": 0o755, "public/content": 0o755, "public/layer": 0o755,
		"public/metadata/1.root.json": 0o644, "public/metadata/timestamp.json": 0o644,
		"keys/offline": 0o700, "keys/online": 0o700, "state": 0o700, "tls": 0o700,
		"keys/offline/root.key.age": 0o600, "keys/offline/targets.key.age": 0o600, "keys/offline/payload.key.age": 0o600,
		"keys/offline/ca.key.age": 0o600, "keys/offline/ca-backup.key.age": 0o600, "keys/online/online.key": 0o600,
		"state/catalogue.json": 0o600, "state/publisher.json": 0o600,
		"publisher.trust": 0o644, "ca.pem": 0o644, "payload.pub": 0o644,
	} {
		info, err := os.Lstat(d.path(path))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %v, want %v", path, got, want)
		}
	}
	if len(d.made.Keys) != 6 {
		t.Errorf("%d keys are told of", len(d.made.Keys))
	}
	for _, k := range d.made.Keys {
		if _, err := os.Lstat(k.Path); err != nil || k.ID == "" || k.Use == "" {
			t.Errorf("%+v: %v", k, err)
		}
	}
	if beside, _ := filepath.Glob(filepath.Join(filepath.Dir(d.config.Dir), ".*")); len(beside) != 0 {
		t.Errorf("left behind: %v", beside)
	}
}

func TestTrustNamesTheFolder(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	trust := d.trust(t)
	root, err := os.ReadFile(d.path("public", "metadata", "1.root.json"))
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case trust.Publisher != "acme" || !bytes.Equal(trust.Root, root) || len(trust.Keys) != 1 || len(trust.Pins) != 2:
		t.Errorf("%+v", trust)
	case !slices.Equal(trust.Catalogues, []string{"file://" + d.path("public")}):
		t.Errorf("catalogues %v", trust.Catalogues)
	case trust.Fingerprint().String() != d.made.Fingerprint || d.list(t).Fingerprint != d.made.Fingerprint:
		t.Error("the fingerprint is another one")
	}
	var pub minisign.PublicKey
	text, err := os.ReadFile(d.path("payload.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if err := pub.UnmarshalText(text); err != nil || pub.String() != trust.Keys[0].Key {
		t.Errorf("payload.pub: %v", err)
	}
}

func TestTrustNamesURLs(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{
		Publisher: "acme-corp", URLs: []string{"https://updates.acme.example/dunlin"}, Origins: []string{"http://cdn.acme.example"},
	})
	b, err := os.ReadFile(d.path("publisher.trust"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := metadata.ParseTrust(b)
	if err != nil || trust.Publisher != "acme-corp" || trust.Catalogues[0] != "https://updates.acme.example/dunlin" || trust.Origins[0] != "http://cdn.acme.example" {
		t.Errorf("%+v %v", trust, err)
	}
}

func TestInitRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	full := filepath.Join(dir, "full")
	if err := errors.Join(os.Mkdir(full, 0o755), os.WriteFile(filepath.Join(full, "x"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		dir, passphrase string
		q               publish.InitRequest
	}{
		"no folder":         {"", "correct horse", publish.InitRequest{}},
		"a file":            {write("file"), "correct horse", publish.InitRequest{Publisher: "a"}},
		"not empty":         {full, "correct horse", publish.InitRequest{}},
		"odd name":          {filepath.Join(dir, "a"), "correct horse", publish.InitRequest{Publisher: "Acme Inc"}},
		"odd folder name":   {filepath.Join(dir, "Acme"), "correct horse", publish.InitRequest{}},
		"plain http":        {filepath.Join(dir, "a"), "correct horse", publish.InitRequest{URLs: []string{"http://a.example"}}},
		"URL with a query":  {filepath.Join(dir, "a"), "correct horse", publish.InitRequest{URLs: []string{"https://a.example/?x"}}},
		"odd origin":        {filepath.Join(dir, "a"), "correct horse", publish.InitRequest{Origins: []string{"ftp://a.example"}}},
		"short passphrase":  {filepath.Join(dir, "a"), "short", publish.InitRequest{}},
		"parent is no file": {filepath.Join(dir, "file", "a"), "correct horse", publish.InitRequest{}},
	}
	for name, tc := range cases {
		_, err := publish.Init(t.Context(), publish.Config{
			Dir: tc.dir, WorkFactor: keys.MinWorkFactor, Unlock: func() ([]byte, error) { return []byte(tc.passphrase), nil },
		}, tc.q, start)
		if err == nil || (!fault.Is(err, fault.Usage) && name != "parent is no file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, err := os.ReadDir(dir)
	if err != nil || len(got) != 2 { // file and full
		t.Errorf("left behind: %v %v", got, err)
	}
}

func TestInitAgainChangesNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	before := tree(t, d.config.Dir)
	_, err := publish.Init(t.Context(), d.config, publish.InitRequest{}, start)
	if !fault.Is(err, fault.Usage) || fault.Hint(err) == "" || !strings.Contains(err.Error(), "already") {
		t.Errorf("got %v", err)
	}
	if d.asked != 0 {
		t.Error("asked for a passphrase in vain")
	}
	if !slices.Equal(before, tree(t, d.config.Dir)) {
		t.Error("something changed")
	}
}

func TestInitIntoAnEmptyFolder(t *testing.T) {
	t.Parallel()
	c := publish.Config{Dir: t.TempDir(), WorkFactor: keys.MinWorkFactor, Unlock: func() ([]byte, error) { return []byte("correct horse"), nil }}
	if _, err := publish.Init(t.Context(), c, publish.InitRequest{Publisher: "acme"}, start); err != nil {
		t.Fatal(err)
	}
	if _, err := publish.Open(c); err != nil {
		t.Error(err)
	}
}
