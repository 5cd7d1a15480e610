package depot

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

func TestInitLeavesEverythingInItsPlace(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	c := testConfig(t, v)
	c.Hosts = []string{"updates.example.org", "192.0.2.7"}
	r, err := Init(t.Context(), c, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if r.URL != "https://updates.example.org:8443" || r.ContentURL != "http://updates.example.org:8080" || !slices.Equal(r.Rings, DefaultRings()) {
		t.Errorf("%+v", r)
	}
	for _, k := range r.Keys {
		b, err := os.ReadFile(k.Path)
		if err != nil {
			t.Errorf("key %s: %v", k.Name, err)
		}
		if bytes.Contains(b, []byte("PRIVATE KEY")) == k.Encrypted || k.Move != k.Encrypted {
			t.Errorf("key %s: encrypted %v, move %v", k.Name, k.Encrypted, k.Move)
		}
		if strings.Contains(k.Path, "public") {
			t.Errorf("key %s lies at %s", k.Name, k.Path)
		}
	}
	if len(r.Publishers) != 1 || r.Publishers[0].Fingerprint != v.trust.Fingerprint() {
		t.Errorf("publishers: %+v", r.Publishers)
	}
	checkModes(t, c.Dir)
}

// checkModes: nothing private is readable by others, nothing public is unreadable, nothing that is public looks like a
// key.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		public := rel == "public" || strings.HasPrefix(rel, "public/")
		switch perm := info.Mode().Perm(); {
		case !public && perm&0o077 != 0:
			t.Errorf("%s has mode %04o", rel, perm)
		case public && e.IsDir() && perm != 0o755, public && !e.IsDir() && perm != 0o644:
			t.Errorf("%s has mode %04o", rel, perm)
		}
		if public && !e.IsDir() {
			b, err := os.ReadFile(path)
			if err != nil || bytes.Contains(b, []byte("PRIVATE")) {
				t.Errorf("%s: %v, or a key", rel, err)
			}
			name := "/" + strings.TrimPrefix(rel, "public/")
			if _, ok := either(name); !ok {
				t.Errorf("%s is public and cannot be asked for", name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestInitRefusals(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	for name, change := range map[string]func(*InitConfig){
		"no host":           func(c *InitConfig) { c.Hosts = nil },
		"a URL as host":     func(c *InitConfig) { c.Hosts = []string{"https://x"} },
		"a port in host":    func(c *InitConfig) { c.Hosts = []string{"x:8443"} },
		"short passphrase":  func(c *InitConfig) { c.Passphrase = []byte("short") },
		"ring twice":        func(c *InitConfig) { c.Rings = []string{"a", "a"} },
		"bad ring":          func(c *InitConfig) { c.Rings = []string{"A ring"} },
		"many rings":        func(c *InitConfig) { c.Rings = strings.Split("a b c d e f g h i j k l m n o p q", " ") },
		"no port":           func(c *InitConfig) { c.Listen = "127.0.0.1" },
		"port 0":            func(c *InitConfig) { c.ContentListen = ":0" },
		"named port":        func(c *InitConfig) { c.ContentListen = ":http" },
		"publisher twice":   func(c *InitConfig) { c.Publishers = append(c.Publishers, c.Publishers...) },
		"relative prefix":   func(c *InitConfig) { c.Publishers[0].Destinations = []string{"opt"} },
		"bad handler":       func(c *InitConfig) { c.Publishers[0].Handlers = []string{"Exec!"} },
		"not empty":         func(c *InitConfig) { mustWrite(t, filepath.Join(c.Dir, "x"), "") },
		"group of nonsense": func(c *InitConfig) { c.Group = "a\x1b[31m" },
	} {
		c := testConfig(t, v)
		change(&c)
		before, _ := os.ReadDir(c.Dir)
		_, err := Init(t.Context(), c, time.Now())
		if k := fault.Of(err); k != fault.Usage && k != fault.Refused {
			t.Errorf("%s: %v (%v)", name, err, k)
		}
		if after, _ := os.ReadDir(c.Dir); len(after) != len(before) {
			t.Errorf("%s: it left %v", name, after)
		}
	}
}

func mustWrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestInitTwiceAndOpenWhatIsNot(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	if _, err := Open(c.Config); !fault.Is(err, fault.Usage) || fault.Hint(err) == "" {
		t.Errorf("open nothing: %v", err)
	}
	if _, err := Init(t.Context(), c, time.Now()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(folder(c.Dir).record())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Init(t.Context(), c, time.Now()); !fault.Is(err, fault.Usage) {
		t.Errorf("init twice: %v", err)
	}
	if after, _ := os.ReadFile(folder(c.Dir).record()); !bytes.Equal(before, after) {
		t.Error("the second init changed the depot")
	}
	if err := os.Chmod(c.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c.Config); !fault.Is(err, fault.Refused) {
		t.Errorf("open a folder that others can read: %v", err)
	}
}

func TestPublishersComeAndGo(t *testing.T) {
	t.Parallel()
	v, w := newVendor(t, "acme"), newVendor(t, "globex")
	v.release(t, "app", "1.0", 1, randomBytes(1000), nil)
	w.release(t, "tool", "2.0", 1, randomBytes(1000), nil)
	d := newDepot(t, v)
	if _, err := d.AddPublisher(t.Context(), Grant{Trust: w.trust}, func() ([]byte, error) { return []byte("wrong words"), nil }, time.Now(), quiet); !fault.Is(err, fault.Usage) {
		t.Fatalf("wrong passphrase: %v", err)
	}
	if list, _ := d.Publishers(); len(list) != 1 {
		t.Fatalf("a wrong passphrase added a publisher")
	}
	if _, err := d.AddPublisher(t.Context(), Grant{Trust: w.trust, Handlers: []string{"file"}, Destinations: []string{"/opt"}}, unlock, time.Now(), quiet); err != nil {
		t.Fatal(err)
	}
	for _, u := range []string{"acme/app@1.0", "globex/tool@2.0"} {
		if _, err := approve(t.Context(), d, u, "pilot", "broad"); err != nil {
			t.Fatal(err)
		}
	}
	if got := offered(t, d, "pilot"); !slices.Equal(got, []string{"app@1.0", "tool@2.0"}) {
		t.Errorf("offered: %v", got)
	}
	if err := d.RemovePublisher(t.Context(), "globex", unlock, time.Now(), quiet); err != nil {
		t.Fatal(err)
	}
	for _, ring := range d.Rings() {
		if got := offered(t, d, ring); !slices.Equal(got, []string{"app@1.0"}) {
			t.Errorf("ring %s after removal: %v", ring, got)
		}
	}
	if list, _ := d.List(ListRequest{}); len(list.Approved) != 2 {
		t.Errorf("approvals after removal: %+v", list.Approved)
	}
	if _, err := os.Stat(d.at.public(catalogueDir, "globex")); err == nil {
		t.Error("the catalogue is still served")
	}
	if err := d.RemovePublisher(t.Context(), "globex", unlock, time.Now(), quiet); !fault.Is(err, fault.Refused) {
		t.Errorf("remove it again: %v", err)
	}
	checkModes(t, string(d.at))
}

// TestAddingAgainKeepsTheGrant: what was not said again is not given away.
func TestAddingAgainKeepsTheGrant(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	c := testConfig(t, v)
	c.Publishers[0].Handlers, c.Publishers[0].Destinations = []string{"file"}, []string{"/opt"}
	if _, err := Init(t.Context(), c, time.Now()); err != nil {
		t.Fatal(err)
	}
	d, err := Open(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		g                      Grant
		handlers, destinations string
	}{
		{Grant{}, "file", "/opt"},
		{Grant{Handlers: []string{"file", "tree"}}, "file tree", "/opt"},
		{Grant{Destinations: []string{"/srv", "/opt"}}, "file tree", "/srv /opt"},
		{Grant{Replace: true}, "file tree", "/srv /opt"},
		{Grant{Handlers: []string{"exec"}, Destinations: []string{"/"}}, "exec", "/"},
	} {
		step.g.Trust = v.trust
		r, err := d.AddPublisher(t.Context(), step.g, unlock, time.Now(), quiet)
		if err != nil || strings.Join(r.Handlers, " ") != step.handlers || strings.Join(r.Destinations, " ") != step.destinations {
			t.Fatalf("%+v: %+v, %v", step, r, err)
		}
		signed, ok := deviceView(t, d, "pilot").Catalogue("acme")
		if !ok || signed.Err() != nil {
			t.Errorf("%+v: %v", step, signed.Err())
		}
		list, err := d.Publishers()
		if err != nil || strings.Join(list[0].Handlers, " ") != step.handlers || strings.Join(list[0].Destinations, " ") != step.destinations {
			t.Errorf("%+v: signed is %+v, %v", step, list, err)
		}
	}
}

func TestAPublisherCanBeGivenAnotherRoot(t *testing.T) {
	t.Parallel()
	old, renewed := newVendor(t, "acme"), newVendor(t, "acme")
	old.release(t, "app", "1.0", 1, randomBytes(100), nil)
	renewed.release(t, "app", "2.0", 2, randomBytes(100), nil)
	d := newDepot(t, old)
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
		t.Fatal(err)
	}
	_, err := d.AddPublisher(t.Context(), Grant{Trust: renewed.trust}, unlock, time.Now(), quiet)
	if !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "--replace") {
		t.Fatalf("another root unasked: %v (%s)", err, fault.Hint(err))
	}
	if got := offered(t, d, "pilot"); !slices.Equal(got, []string{"app@1.0"}) {
		t.Errorf("after the refusal: %v", got)
	}
	if _, err := d.AddPublisher(t.Context(), Grant{Trust: renewed.trust, Replace: true}, unlock, time.Now(), quiet); err != nil {
		t.Fatal(err)
	}
	if _, err := approve(t.Context(), d, "acme/app@2.0", "pilot"); err != nil {
		t.Fatal(err)
	}
	if got := offered(t, d, "pilot"); !slices.Equal(got, []string{"app@2.0"}) {
		t.Errorf("offered: %v", got)
	}
}

func TestAMissingRootOfAPublisherIsUnavailable(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	d := newDepot(t, v)
	p, err := d.publisher("acme")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(d.at.path("trust", "*"))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	if err := os.Remove(kept[0]); err != nil {
		t.Fatal(err)
	}
	r, err := d.Sync(t.Context(), SyncRequest{}, time.Now(), quiet)
	if err != nil || !fault.Is(r.Err(), fault.Unavailable) {
		t.Errorf("%v, %v", err, r.Err())
	}
	if err := d.RemovePublisher(t.Context(), "acme", unlock, time.Now(), quiet); err != nil {
		t.Fatal(err)
	}
	if _, err := d.trustOf(p); !fault.Is(err, fault.Usage) || fault.Hint(err) == "" {
		t.Errorf("of a publisher that was removed: %v: %v", fault.Of(err), err)
	}
}

func TestADamagedRootOfAPublisherIsUntrusted(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	d := newDepot(t, v)
	kept, err := filepath.Glob(d.at.path("trust", "*"))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	mustWrite(t, kept[0], strings.Replace(string(v.trust.Root), "root", "toor", 1))
	r, err := d.Sync(t.Context(), SyncRequest{}, time.Now(), quiet)
	if err != nil || !fault.Is(r.Err(), fault.Untrusted) {
		t.Fatalf("%v, %v", err, r.Err())
	}
	if _, err := d.AddPublisher(t.Context(), Grant{Trust: v.trust}, unlock, time.Now(), quiet); err != nil {
		t.Fatal(err)
	}
	if r, err := d.Sync(t.Context(), SyncRequest{}, time.Now(), quiet); err != nil || r.Err() != nil {
		t.Errorf("after adding it again: %v, %v", err, r.Err())
	}
}

func TestOfflineKeysMayLieElsewhere(t *testing.T) {
	t.Parallel()
	v, c := newVendor(t, "acme"), testConfig(t)
	if _, err := Init(t.Context(), c, time.Now()); err != nil {
		t.Fatal(err)
	}
	stick := filepath.Join(t.TempDir(), "stick")
	if err := os.Rename(filepath.Join(c.Dir, "keys", "offline"), stick); err != nil {
		t.Fatal(err)
	}
	d, err := Open(c.Config)
	if err != nil {
		t.Fatalf("a depot without its offline keys does not open: %v", err)
	}
	if _, err := d.AddPublisher(t.Context(), Grant{Trust: v.trust}, unlock, time.Now(), quiet); !fault.Is(err, fault.Usage) || !strings.Contains(fault.Hint(err), "--offline-keys") {
		t.Errorf("%v (%s)", err, fault.Hint(err))
	}
	c.OfflineKeys = stick
	if d, err = Open(c.Config); err != nil {
		t.Fatal(err)
	}
	if _, err := d.AddPublisher(t.Context(), Grant{Trust: v.trust}, unlock, time.Now(), quiet); err != nil {
		t.Fatal(err)
	}
	for _, withRoot := range []bool{false, true} {
		if err := d.Renew(t.Context(), withRoot, unlock, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	_, version, err := d.anchor()
	if err != nil || version != 2 {
		t.Errorf("root version %d, %v", version, err)
	}
	if got := deviceView(t, d, "pilot").Fleet(); got.Group == "" {
		t.Errorf("fleet: %+v", got)
	}
}

func TestSettingsAreReadStrictly(t *testing.T) {
	t.Parallel()
	const good = `{"format":"dunlin-depot/1","hosts":["x"],"listen":":8443","content_listen":":80","rings":["a"]}`
	s, err := parseSettings([]byte(good))
	if err != nil || s.secureURL() != "https://x:8443" || s.contentURL() != "http://x" {
		t.Fatalf("%+v %v", s, err)
	}
	for _, bad := range []string{
		"", "null", "{}", "[]", good + "x", good + good, strings.Replace(good, "}", `,"more":1}`, 1),
		strings.Replace(good, "/1", "/2", 1), strings.Replace(good, `"x"`, "", 1), strings.Replace(good, `["a"]`, "[]", 1),
		strings.Replace(good, ":8443", "8443", 1), strings.Replace(good, ":8443", ":99999", 1),
	} {
		if _, err := parseSettings([]byte(bad)); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]settings{
		"https://h":             {Hosts: []string{"h"}, Listen: ":443"},
		"https://h:8443":        {Hosts: []string{"h"}, Listen: "0.0.0.0:8443"},
		"https://[2001:db8::1]": {Hosts: []string{"2001:db8::1"}, Listen: "[::]:443"},
		"https://[::1]:1":       {Hosts: []string{"::1"}, Listen: ":1"},
	} {
		if got := s.secureURL(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestTokenNamesWhatADeviceHangsOn(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	r, err := d.Token(TokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	token, err := metadata.ParseToken(r.Token)
	if err != nil {
		t.Fatal(err)
	}
	root, version, err := d.anchor()
	if err != nil {
		t.Fatal(err)
	}
	pin, err := d.pin()
	if err != nil {
		t.Fatal(err)
	}
	if token.Ring != "pilot" || token.Root != root || token.RootVersion != version || token.CA != pin || r.Line != "dunlin join "+r.Token {
		t.Errorf("%+v", token)
	}
	if r, err := d.Token(TokenRequest{Ring: "broad"}); err != nil || r.Ring != "broad" {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := d.Token(TokenRequest{Ring: "none"}); !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "pilot, broad") {
		t.Errorf("%v (%s)", err, fault.Hint(err))
	}
}
