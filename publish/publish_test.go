package publish_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/publish"
)

const day = 24 * time.Hour

var start = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

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

func TestAddStagesAndReleasePublishes(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	before := tree(t, d.path("public", "metadata"))
	a := d.add(t, "hello", "1.0")
	if !slices.Equal(before, tree(t, d.path("public", "metadata"))) {
		t.Error("add changed what is published")
	}
	if l := d.list(t); len(l.Updates) != 1 || l.Updates[0].State != publish.StateStaged {
		t.Errorf("%+v", l.Updates)
	}
	r := d.release(t)
	if !slices.Equal(r.Added, []string{"editor/1.0"}) || !slices.Equal(r.Signed, []string{"targets", "snapshot", "timestamp"}) {
		t.Errorf("%+v", r)
	}
	if l := d.list(t); len(l.Updates) != 1 || l.Updates[0].State != publish.StatePublished || l.Updates[0].Root != a.Root {
		t.Errorf("%+v", l.Updates)
	}
	if r := d.release(t); len(r.Signed) != 0 {
		t.Errorf("a second release signed %v", r.Signed)
	}
	content, err := os.ReadFile(d.path("public", "content", a.Root.String()))
	if err != nil || string(content) != "hello" || a.SHA256 != sha256.Sum256([]byte("hello")) || a.Length != 5 {
		t.Errorf("content %q %v", content, err)
	}
	for _, name := range []string{a.Root.String(), a.Root.String() + ".minisig"} {
		if info, err := os.Stat(d.path("public", "content", name)); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestThePassphraseIsAskedOnlyWhereItIsNeeded(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	count := func(name string, want bool, do func() error) {
		t.Helper()
		d.asked = 0
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := d.asked > 0; got != want {
			t.Errorf("%s: asked %d times", name, d.asked)
		}
	}
	count("add", true, func() error { d.add(t, "hello", "1.0"); return nil })
	count("list", false, func() error { _, err := d.List(start); return err })
	count("release", true, func() error { _, err := d.Release(t.Context(), start, false); return err })
	count("release of nothing", false, func() error { _, err := d.Release(t.Context(), start, false); return err })
	count("refresh", false, func() error { _, err := d.Refresh(t.Context(), start, true); return err })
	count("withdraw", false, func() error { return d.Withdraw(t.Context(), "editor", "1.0") })
	count("sweep", false, func() error { _, err := d.Sweep(t.Context()); return err })
	count("cert", true, func() error { _, err := d.Cert(t.Context(), []string{"h"}, 7*day, start); return err })
}

func TestRefreshWorksWithTheOfflineKeysGone(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	stick := filepath.Join(t.TempDir(), "stick")
	if err := os.Rename(d.path("keys", "offline"), stick); err != nil {
		t.Fatal(err)
	}
	r, err := d.Refresh(t.Context(), start.Add(16*day), false)
	if err != nil || !slices.Equal(r.Signed, []string{"timestamp"}) {
		t.Errorf("%v %v", r.Signed, err)
	}
	_, err = d.Add(t.Context(), publish.AddRequest{File: payload(t, "x"), Update: editor("1")}, start)
	if !fault.Is(err, fault.Usage) || !strings.Contains(fault.Hint(err), "--offline-keys") {
		t.Errorf("add: %v", err)
	}
	c := d.config
	c.OfflineKeys = stick
	away, err := publish.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := away.Add(t.Context(), publish.AddRequest{File: payload(t, "x"), Update: editor("1")}, start); err != nil {
		t.Error(err)
	}
	if _, err := away.Release(t.Context(), start.Add(16*day), false); err != nil {
		t.Error(err)
	}
}

func TestWrongPassphrase(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	before := tree(t, d.config.Dir)
	c := d.config
	c.Unlock = func() ([]byte, error) { return []byte("wrong wrong wrong"), nil }
	p, err := publish.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Add(t.Context(), publish.AddRequest{File: payload(t, "x"), Update: editor("1")}, start)
	if !fault.Is(err, fault.Usage) || !strings.Contains(err.Error(), "wrong passphrase") {
		t.Errorf("add: %v", err)
	}
	if _, err := p.Release(t.Context(), start, true); !fault.Is(err, fault.Usage) {
		t.Errorf("release: %v", err)
	}
	if after := tree(t, d.config.Dir); !slices.Equal(before, after) {
		t.Error("something changed")
	}
}

func TestRefreshSaysWhenAnOfflineSignatureRanOut(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	r, err := d.Refresh(t.Context(), start.Add(91*day), false)
	if !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "publish release") || len(r.Signed) == 0 {
		t.Errorf("%v %v", r.Signed, err)
	}
	if _, err := d.Release(t.Context(), start.Add(91*day), false); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Refresh(t.Context(), start.Add(92*day), false); err != nil {
		t.Error(err)
	}
	if _, err := d.Refresh(t.Context(), start.Add(366*day), false); !strings.Contains(fault.Hint(err), "publish rotate") {
		t.Errorf("root: %v", err)
	}
}

func TestReleaseCounters(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	if got := d.add(t, "one", "1.0").Release; got != 1 {
		t.Errorf("first release %d", got)
	}
	if got := d.add(t, "one again", "1.0").Release; got != 1 {
		t.Errorf("the same version staged again got %d", got)
	}
	d.release(t)
	if got := d.add(t, "two", "2.0").Release; got != 2 {
		t.Errorf("second release %d", got)
	}
	u := editor("3.0")
	for _, taken := range []int64{1, 2} {
		u.Release = taken
		if _, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, "x"), Update: u}, start); !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
			t.Errorf("release %d a second time: %v", taken, err)
		}
	}
	u.Release = 40
	if a, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, "x"), Update: u}, start); err != nil || a.Release != 40 {
		t.Errorf("%+v %v", a, err)
	}
	if got := d.add(t, "y", "4.0").Release; got != 41 {
		t.Errorf("then %d", got)
	}
	other := editor("1.0")
	other.ID = "viewer"
	if a, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, "x"), Update: other}, start); err != nil || a.Release != 1 {
		t.Errorf("another id: %+v %v", a, err)
	}
}

func TestWhatIsPublishedStands(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	d.add(t, "one", "1.0")
	d.release(t)
	_, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, "other"), Update: editor("1.0")}, start)
	if !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
}

func TestRequirementsAreBoundToHashes(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	base := d.add(t, "base", "1.0")
	u := editor("2.0")
	add := func(requires ...string) error {
		_, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, "next"), Update: u, Requires: requires}, start)
		return err
	}
	if err := add("editor@9"); !fault.Is(err, fault.Refused) {
		t.Errorf("unknown: %v", err)
	}
	if err := add("editor"); !fault.Is(err, fault.Usage) {
		t.Errorf("no version: %v", err)
	}
	if err := add("editor@1.0"); err != nil {
		t.Fatal(err)
	}
	d.release(t)
	got := d.target(t, "editor/2.0").Update.Requires
	if len(got) != 1 || got[0].SHA256 != base.SHA256 || got[0].ID != "editor" || got[0].Version != "1.0" {
		t.Errorf("%+v", got)
	}
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

func TestTheRecordSaysWhatTheDeviceNeeds(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	u := editor("1.0")
	u.Title, u.Severity = "Editor, with a comma", metadata.SeverityImportant
	u.Applicability = `os == "linux" && arch == "amd64"`
	u.Mode, u.Owner, u.Timeout = "0755", "root:root", 90
	u.Origins = []string{"http://cdn.acme.example"}
	u.Crit = []string{"mode"}
	u.PieceLength = piecehash.MinPieceLength
	content := strings.Repeat("0123456789abcdef", 4096) // four pieces
	if _, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, content), Update: u}, start); err != nil {
		t.Fatal(err)
	}
	d.release(t)
	got := d.target(t, "editor/1.0")
	g := got.Update
	if g.Publisher != "acme" || g.Release != 1 || !g.Released.Equal(start) || g.Title != u.Title || g.Applicability != u.Applicability ||
		g.Mode != "0755" || g.Timeout != 90 || g.PieceLength != piecehash.MinPieceLength || g.Signature.KeyID == "" {
		t.Errorf("%+v", g)
	}
	c, err := got.Content()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := os.ReadFile(d.path("public", "layer", g.Root.String()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Prove(layer); err != nil {
		t.Errorf("the piece layer does not prove itself: %v", err)
	}
}

func TestBadRecordsAreRefusedBeforeThePayloadIsRead(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	d.asked = 0
	for name, spoil := range map[string]func(*metadata.Update){
		"id":         func(u *metadata.Update) { u.ID = "../x" },
		"no version": func(u *metadata.Update) { u.Version = "" },
		"kind":       func(u *metadata.Update) { u.Kind = "game" },
		"severity":   func(u *metadata.Update) { u.Severity = "huge" },
		"handler":    func(u *metadata.Update) { u.Handler = "" },
		"relative":   func(u *metadata.Update) { u.Destination = "opt/editor" },
		"upwards":    func(u *metadata.Update) { u.Destination = "/opt/../etc" },
		"mode":       func(u *metadata.Update) { u.Mode = "4755" },
		"timeout":    func(u *metadata.Update) { u.Timeout = -1 },
		"piece":      func(u *metadata.Update) { u.PieceLength = 12345 },
		"crit":       func(u *metadata.Update) { u.Crit = []string{"from-the-future"} },
		"title":      func(u *metadata.Update) { u.Title = "two\nlines" },
		"origin":     func(u *metadata.Update) { u.Origins = []string{"file:///etc"} },
		"release":    func(u *metadata.Update) { u.Release = -1 },
		"downgrade":  func(u *metadata.Update) { u.LowestDowngrade = 7 },
		"health":     func(u *metadata.Update) { u.Health = &metadata.HealthCheck{Command: []string{"true"}} },
	} {
		u := editor("1.0")
		spoil(&u)
		_, err := d.Add(t.Context(), publish.AddRequest{File: "/does/not/exist", Update: u}, start)
		if !fault.Is(err, fault.Refused) && !fault.Is(err, fault.Usage) || strings.Contains(err.Error(), "/does/not/exist") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d.asked != 0 {
		t.Error("asked for a passphrase in vain")
	}
}

func TestBadPayloads(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	tree, program := editor("1.0"), editor("1.0")
	tree.Handler, program.Handler = metadata.HandlerTree, metadata.HandlerExec
	for name, tc := range map[string]struct {
		file string
		u    metadata.Update
		kind fault.Kind
	}{
		"missing":      {filepath.Join(t.TempDir(), "x"), editor("1.0"), fault.Usage},
		"a folder":     {t.TempDir(), editor("1.0"), fault.Usage},
		"empty":        {payload(t, ""), editor("1.0"), fault.Usage},
		"a device":     {"/dev/zero", editor("1.0"), fault.Usage},
		"no archive":   {payload(t, "hello"), tree, fault.Refused},
		"no program":   {payload(t, "hello"), program, fault.Refused},
		"tiny program": {payload(t, "#"), program, fault.Refused},
	} {
		if _, err := d.Add(t.Context(), publish.AddRequest{File: tc.file, Update: tc.u}, start); !fault.Is(err, tc.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := os.ReadDir(d.path("public", "content")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestScriptsAreProgramsForExec(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	u := metadata.Update{ID: "fix", Version: "1", Kind: metadata.KindOS, Handler: metadata.HandlerExec, Arguments: []string{"--all", "a,b"}}
	if _, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, "#!/bin/sh\nexit 0\n"), Update: u}, start); err != nil {
		t.Fatal(err)
	}
	d.release(t)
	if got := d.target(t, "fix/1").Update.Arguments; !slices.Equal(got, u.Arguments) {
		t.Errorf("%q", got)
	}
}

func TestWithdrawAndSweep(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	one := d.add(t, "one", "1.0")
	d.add(t, "two", "2.0")
	d.release(t)
	staged := d.add(t, "three", "3.0")
	if err := d.Withdraw(t.Context(), "editor", "3.0"); err != nil { // only staged: forgotten at once
		t.Fatal(err)
	}
	if err := d.Withdraw(t.Context(), "editor", "1.0"); err != nil {
		t.Fatal(err)
	}
	if err := d.Withdraw(t.Context(), "editor", "1.0"); !fault.Is(err, fault.Usage) {
		t.Errorf("a second time: %v", err)
	}
	if l := d.list(t); len(l.Updates) != 2 || l.Updates[0].State != publish.StateWithdrawal {
		t.Errorf("%+v", l.Updates)
	}
	if gone, err := d.Sweep(t.Context()); err != nil || !slices.Contains(gone, staged.Content) || slices.Contains(gone, one.Content) {
		t.Errorf("swept %v %v", gone, err)
	}
	if r := d.release(t); !slices.Equal(r.Withdrawn, []string{"editor/1.0"}) {
		t.Errorf("%+v", r)
	}
	if l := d.list(t); len(l.Updates) != 1 || l.Updates[0].Version != "2.0" {
		t.Errorf("%+v", l.Updates)
	}
	if gone, err := d.Sweep(t.Context()); err != nil || !slices.Contains(gone, one.Content) || !slices.Contains(gone, one.Content+".minisig") {
		t.Errorf("swept %v %v", gone, err)
	}
	// What was withdrawn by mistake may come back under its version: it is not published any more.
	d.add(t, "one", "1.0")
}

func TestReleaseNeedsThePayload(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	a := d.add(t, "one", "1.0")
	if err := os.Truncate(a.Content, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Release(t.Context(), start, false); !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
	d.add(t, "one", "1.0")
	d.release(t)
}

func TestRotation(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	d.add(t, "one", "1.0")
	d.release(t)
	if _, err := d.Rotate(t.Context(), []string{"payload"}, start); !fault.Is(err, fault.Usage) {
		t.Errorf("payload: %v", err)
	}
	if r, err := d.Rotate(t.Context(), nil, start); err != nil || !slices.Equal(r.Signed, []string{"root"}) || len(r.Keys) != 0 {
		t.Errorf("%+v %v", r, err)
	}
	r, err := d.Rotate(t.Context(), []string{"root", "targets", "online", "root"}, start)
	if err != nil || !slices.Equal(r.Signed, []string{"root", "targets", "snapshot", "timestamp"}) || len(r.Keys) != 3 {
		t.Fatalf("%+v %v", r, err)
	}
	for _, k := range r.Keys {
		if _, err := os.Lstat(k.Path); err != nil {
			t.Error(err)
		}
	}
	// The old keys are of no use any more, and the new ones are found.
	for _, old := range []string{"offline/root.key.age", "offline/targets.key.age", "online/online.key"} {
		if err := os.Remove(d.path("keys", old)); err != nil {
			t.Fatal(err)
		}
	}
	d.add(t, "two", "2.0")
	d.release(t)
	if _, err := d.Refresh(t.Context(), start, true); err != nil {
		t.Error(err)
	}
	if r, err := d.Rotate(t.Context(), []string{"root"}, start); err != nil || filepath.Base(r.Keys[0].Path) != "root-3.key.age" {
		t.Errorf("%+v %v", r, err)
	}
	b, err := os.ReadFile(d.path("publisher.trust"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := metadata.ParseTrust(b)
	if err != nil || trust.Fingerprint().String() != d.list(t).Fingerprint || !bytes.Contains(trust.Root, []byte(`"version":4`)) {
		t.Errorf("the trust file does not have the newest root: %v", err)
	}
}

func TestCertificateForTheWebServer(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	for range 2 { // renewing replaces
		c, err := d.Cert(t.Context(), []string{"updates.acme.example", "127.0.0.1"}, 30*day, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(c.Key); err != nil || info.Mode().Perm() != 0o600 || c.Key != d.path("tls", "updates.acme.example.key") {
			t.Errorf("%s: %v", c.Key, err)
		}
		if c.Pin.String() != d.made.Keys[4].ID {
			t.Error("the pin is another one")
		}
	}
	if c, err := d.Cert(t.Context(), []string{"::1"}, 30*day, time.Now()); err != nil || filepath.Base(c.Cert) != "__1.crt" {
		t.Errorf("%+v %v", c, err)
	}
	for _, host := range []string{"../../etc/x", "a/b", "", "https://x"} {
		if _, err := d.Cert(t.Context(), []string{host}, 30*day, time.Now()); !fault.Is(err, fault.Usage) {
			t.Errorf("%q: %v", host, err)
		}
	}
}

// Nothing secret may ever lie where a web server looks.
func TestNothingSecretUnderPublic(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	d.add(t, "one", "1.0")
	d.release(t)
	if _, err := d.Cert(t.Context(), []string{"h"}, 7*day, start); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Rotate(t.Context(), []string{"online"}, start); err != nil {
		t.Fatal(err)
	}
	for _, file := range tree(t, d.path("public")) {
		for _, secret := range []string{"PRIVATE KEY", "AGE ENCRYPTED", "secret key"} {
			if strings.Contains(file, secret) {
				t.Errorf("%q in %.200s", secret, file)
			}
		}
	}
	err := filepath.WalkDir(d.config.Dir, func(path string, e fs.DirEntry, err error) error {
		info, ierr := e.Info()
		if err != nil || ierr != nil {
			return errors.Join(err, ierr)
		}
		rel, _ := filepath.Rel(d.config.Dir, path)
		inPublic := strings.HasPrefix(rel, "public")
		if e.Type().IsRegular() && inPublic && info.Mode().Perm() != 0o644 {
			t.Errorf("%s: mode %v", rel, info.Mode())
		}
		if e.Type()&fs.ModeSymlink != 0 {
			t.Errorf("%s is a link", rel)
		}
		private := strings.HasPrefix(rel, "keys"+string(filepath.Separator)) || strings.HasPrefix(rel, "state")
		if private && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v", rel, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A payload's signature is one that the stock tool makes and checks.
func TestStockMinisignVerifies(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("minisign")
	if err != nil {
		t.Skip("minisign is not installed")
	}
	d := newDesk(t, publish.InitRequest{})
	a := d.add(t, "hello, signed world", "1.0")
	pub, err := os.ReadFile(d.path("payload.pub"))
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput()
		return string(out), err
	}
	for name, args := range map[string][]string{
		"key file": {"-V", "-p", d.path("payload.pub"), "-m", a.Content, "-x", a.Content + ".minisig"},
		"key text": {"-V", "-P", strings.Fields(string(pub))[6], "-m", a.Content, "-x", a.Content + ".minisig"},
	} {
		if out, err := run(args...); err != nil || !strings.Contains(out, "dunlin publisher=acme id=editor version=1.0 file=editor_1.0.bin") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	if err := os.WriteFile(a.Content, []byte("hello, forged world"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := run("-V", "-p", d.path("payload.pub"), "-m", a.Content, "-x", a.Content+".minisig"); err == nil {
		t.Errorf("a forged payload was accepted:\n%s", out)
	}
}

func TestInlineSignatureVerifies(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	d.add(t, "hello", "1.0")
	d.release(t)
	sig := d.target(t, "editor/1.0").Update.Signature
	var pub minisign.PublicKey
	text, err := os.ReadFile(d.path("payload.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if err := pub.UnmarshalText(text); err != nil {
		t.Fatal(err)
	}
	r := minisign.NewReader(strings.NewReader("hello"))
	if _, err := new(bytes.Buffer).ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	if !r.Verify(pub, []byte(sig.Inline)) {
		t.Error("the signature in the record does not verify")
	}
}

func TestCancelledAddLeavesNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	before := tree(t, d.config.Dir)
	for _, at := range []publish.Phase{publish.PhaseCopy, publish.PhaseHash} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := d.Add(ctx, publish.AddRequest{
			File: payload(t, strings.Repeat("x", 8<<20)), Update: editor("1.0"),
			Progress: func(phase publish.Phase, _, _ int64) {
				if phase == at {
					cancel()
				}
			},
		}, start)
		cancel()
		if !errors.Is(err, context.Canceled) && at == publish.PhaseCopy {
			t.Errorf("%s: %v", at, err)
		}
		if err != nil && !slices.Equal(before, tree(t, d.config.Dir)) {
			t.Errorf("%s: something is left behind", at)
		}
	}
}

func TestOpenOfSomethingElse(t *testing.T) {
	t.Parallel()
	if _, err := publish.Open(publish.Config{Dir: t.TempDir()}); !fault.Is(err, fault.Usage) || !strings.Contains(fault.Hint(err), "publish init") {
		t.Errorf("got %v", err)
	}
	if _, err := publish.Open(publish.Config{Dir: "x", WorkFactor: 3}); !fault.Is(err, fault.Usage) {
		t.Errorf("got %v", err)
	}
}

func TestDamagedStateIsRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"publisher.json", "catalogue.json", "staged.json"} {
		d := newDesk(t, publish.InitRequest{})
		d.add(t, "one", "1.0")
		for _, bad := range []string{"", "{}", "null", `{"format":"x"}`, `{"unknown":1}`, "{}{}"} {
			if err := os.WriteFile(d.path("state", name), []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := publish.Open(d.config)
			if err == nil {
				_, err = p.Release(t.Context(), start, false)
			}
			if err == nil {
				t.Errorf("%s: %q was taken", name, bad)
			}
		}
	}
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
