package install_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/install"
	"github.com/dunlin-project/dunlin/install/handler"
	"github.com/dunlin-project/dunlin/install/installtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

func payload(version string) []byte {
	return []byte(version + ": " + strings.Repeat("the content of an update ", 5000))
}

// bench has the file handler, and destinations below its Root.
func bench(t testing.TB) *installtest.Bench {
	t.Helper()
	return installtest.New(t, handler.All())
}

func destination(b *installtest.Bench) string { return filepath.Join(b.Root, "app") }

func release(b *installtest.Bench, version string, n int64, change func(*metadata.Update)) *metadata.Update {
	return b.Release(version, n, payload(version), func(u *metadata.Update) {
		u.Destination = destination(b)
		if change != nil {
			change(u)
		}
	})
}

func seen(t testing.TB, b *installtest.Bench) string {
	t.Helper()
	content, err := os.ReadFile(destination(b))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	version, _, _ := strings.Cut(string(content), ":")
	return version
}

func TestVerify(t *testing.T) {
	t.Parallel()
	b := bench(t)
	u := release(b, "1.0", 1, nil)
	f := b.File(payload("1.0"))
	if _, err := f.Seek(17, 0); err != nil {
		t.Fatal(err)
	}
	v, err := b.Installer.Verify(t.Context(), b.Request(u, f))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if at, err := f.Seek(0, 1); at != 17 || err != nil {
		t.Errorf("the caller's offset was moved to %d, %v", at, err)
	}
	f.Close() // it is the caller's, who needs it no more
	got := make([]byte, v.Length())
	if _, err := v.Content(t.Context()).ReadAt(got, 0); err != nil || !bytes.Equal(got, payload("1.0")) {
		t.Errorf("it holds %.20q..., %v", got, err)
	}
	if v.Update().Version != "1.0" || v.Offer().Ring() != installtest.Ring || v.SHA256() != v.Offer().Target().SHA256 {
		t.Errorf("got %+v", v.Update())
	}
}

// TestVerifyAttacks: whatever is wrong, nothing is verified, the kind is right, and the next good request succeeds on the
// same installer.
func TestVerifyAttacks(t *testing.T) {
	t.Parallel()
	type scene struct {
		b    *installtest.Bench
		u    *metadata.Update
		r    *install.Request
		file func([]byte) *os.File
	}
	good := payload("1.0")
	for name, a := range map[string]struct {
		spoil func(s scene)
		kind  fault.Kind
		why   string
	}{
		"one bit of the payload": {func(s scene) {
			bad := bytes.Clone(good)
			bad[4000] ^= 4
			s.r.Payload = s.file(bad)
		}, fault.Untrusted, "SHA-256"},
		"payload too short": {func(s scene) { s.r.Payload = s.file(good[1:]) }, fault.Untrusted, "bytes"},
		"payload too long":  {func(s scene) { s.r.Payload = s.file(append(bytes.Clone(good), 0)) }, fault.Untrusted, "bytes"},
		"an empty payload":  {func(s scene) { s.r.Payload = s.file(nil) }, fault.Untrusted, "bytes"},
		"the file of another update": {func(s scene) {
			other := payload("9.9") // of the same length, signed and approved
			release(s.b, "9.9", 9, nil)
			s.r.Bundle, s.r.Payload = s.b.Org.Bundle(), s.file(other)
		}, fault.Untrusted, "SHA-256"},
		"another version":    {func(s scene) { s.r.Version = "1.1" }, fault.Refused, "not approved"},
		"another publisher":  {func(s scene) { s.r.Update.Publisher = "evil" }, fault.Refused, "not approved"},
		"control characters": {func(s scene) { s.r.Version = "\x1b[2J\n" + strings.Repeat("x", 1<<20) }, fault.Refused, `\x1b[2J\n`},
		"withdrawn by the organisation": {func(s scene) {
			s.b.Org.Unapprove(installtest.Ring, "acme", "app", "1.0")
			s.r.Bundle = s.b.Org.Bundle()
		}, fault.Refused, "not approved"},
		"withdrawn by the publisher": {func(s scene) {
			s.b.Publisher.Withdraw("app", "1.0")
			s.r.Bundle = s.b.Org.Bundle()
		}, fault.Refused, "catalogue"},
		"approved with another hash": {func(s scene) {
			s.b.Publisher.Release("app", "1.0", 1, payload("1.1"))
			s.r.Bundle = s.b.Org.Bundle()
		}, fault.Untrusted, "approved"},
		"approved for later": {func(s scene) {
			s.b.Org.Approve(installtest.Ring, s.b.Publisher, s.u, func(a *metadata.Approval) { a.NotBefore = s.b.Now.Add(time.Hour) })
			s.r.Bundle = s.b.Org.Bundle()
		}, fault.Refused, "from"},
		"the handler is not allowed": {func(s scene) {
			s.b.Publisher.Record.Handlers = []string{"exec"}
			s.b.Org.SetRecord(s.b.Publisher)
			s.r.Bundle = s.b.Org.Bundle()
		}, fault.Refused, "handler"},
		"a health check of one who may not use exec": {func(s scene) {
			s.b.Publisher.Record.Handlers = []string{"file", "tree"}
			s.b.Org.SetRecord(s.b.Publisher)
			checkedBy(s.b, s.u)
			s.r.Bundle = s.b.Org.Bundle()
		}, fault.Refused, "handler exec"},
		"a health check on a device without exec": {func(s scene) {
			delete(s.b.Config.Handlers, "exec")
			s.b.Restart()
			checkedBy(s.b, s.u)
			s.r.Bundle = s.b.Org.Bundle()
		}, fault.Refused, "health check"},
		"a health check below a root": {func(s scene) {
			s.b.Config.Root = s.b.Root
			s.b.Restart()
			checkedBy(s.b, s.u)
			s.r.Bundle = s.b.Org.Bundle()
		}, fault.Refused, "root folder"},
		"the destination is not allowed": {func(s scene) {
			s.b.Publisher.Record.Destinations = []string{"/srv", s.b.Root + "/ap"}
			s.b.Org.SetRecord(s.b.Publisher)
			s.r.Bundle = s.b.Org.Bundle()
		}, fault.Refused, "write to"},
		"a tree whose destination is the prefix itself": {func(s scene) {
			s.b.Publisher.Record.Destinations = []string{destination(s.b)}
			s.b.Org.SetRecord(s.b.Publisher)
			republish(s.b, s.u, func(u *metadata.Update) { u.Handler, u.Uncompressed = metadata.HandlerTree, 1<<20 })
			s.r.Bundle = s.b.Org.Bundle()
		}, fault.Refused, "app.versions"},
		"a key that is not trusted any more": {func(s scene) {
			s.b.Publisher.Record.Keys = s.b.Org.Trust("other").Record.Keys
			s.b.Org.SetRecord(s.b.Publisher)
			s.r.Bundle = s.b.Org.Bundle()
		}, fault.Refused, "key"},
		"the signature of another payload": {func(s scene) {
			republish(s.b, s.u, func(u *metadata.Update) { u.Signature.Inline = s.b.Publisher.SignPayload([]byte("other")) })
			s.r.Bundle = s.b.Org.Bundle()
		}, fault.Untrusted, "has not signed"},
		"one bit of the signature": {func(s scene) {
			republish(s.b, s.u, func(u *metadata.Update) {
				line := strings.Index(u.Signature.Inline, "\n") + 40
				u.Signature.Inline = u.Signature.Inline[:line] + "A" + u.Signature.Inline[line+1:]
			})
			s.r.Bundle = s.b.Org.Bundle()
		}, fault.Untrusted, "signature"},
		"a signature that was not fetched": {func(s scene) {
			republish(s.b, s.u, func(u *metadata.Update) { u.Signature.Inline, u.Signature.URL = "", "http://cdn.example/app.minisig" })
			s.r.Bundle = s.b.Org.Bundle()
		}, fault.Unavailable, "not fetched"},
		"a fetched signature that is garbage": {func(s scene) {
			republish(s.b, s.u, func(u *metadata.Update) { u.Signature.Inline, u.Signature.URL = "", "http://cdn.example/app.minisig" })
			s.r.Bundle, s.r.Signature = s.b.Org.Bundle(), []byte("<html>")
		}, fault.Untrusted, "signature"},
		"no metadata":            {func(s scene) { s.r.Bundle = metadata.Bundle{} }, 0, ""},
		"no catalogue":           {func(s scene) { s.r.Bundle.Catalogues = nil }, fault.Unavailable, "catalogue"},
		"everything has expired": {func(s scene) { s.r.Now = s.r.Now.AddDate(10, 0, 0) }, 0, ""},
		"a pipe for a payload": {func(s scene) {
			r, w, err := os.Pipe()
			if err != nil {
				s.b.Org.View(time.Time{}) // fails the test
			}
			w.Close()
			s.r.Payload = r
		}, fault.Usage, "regular"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bench(t)
			u := release(b, "1.0", 1, nil)
			trusted := *b.Publisher.Record
			r := b.Request(u, b.File(good))
			a.spoil(scene{b, u, &r, b.File})
			v, err := b.Installer.Verify(t.Context(), r)
			if v != nil || err == nil || a.kind != 0 && !fault.Is(err, a.kind) || !strings.Contains(err.Error(), a.why) {
				t.Fatalf("%v: %v; want %v with %q", fault.Of(err), err, a.kind, a.why)
			}
			if len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("the message is not fit to print: %.200q", err)
			}
			empty(t, filepath.Join(b.Config.Dir, "staging"))
			empty(t, b.Root)
			*b.Publisher.Record = trusted
			b.Org.SetRecord(b.Publisher)
			b.MustInstall(release(b, "10.0", 10, nil), payload("10.0"))
		})
	}
}

// checkedBy gives a record a health check that would do harm.
func checkedBy(b *installtest.Bench, u *metadata.Update) {
	republish(b, u, func(u *metadata.Update) { u.Health = &metadata.HealthCheck{Command: []string{"/bin/sh", "-c", "id"}} })
}

// republish changes a record after it was approved, and approves the change.
func republish(b *installtest.Bench, u *metadata.Update, change func(*metadata.Update)) {
	change(u)
	b.Publisher.Add(u, payload(u.Version))
	b.Org.Approve(installtest.Ring, b.Publisher, u, nil)
}

func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("%s: %v, %v", dir, entries, err)
	}
}

// TestABitInAnyMetadataFile flips one bit in each file of both repositories: what a server or a disk may do.
func TestABitInAnyMetadataFile(t *testing.T) {
	t.Parallel()
	b := bench(t)
	u := release(b, "1.0", 1, nil)
	bundle := b.Org.Bundle()
	refuses := func(bad metadata.Bundle) error {
		t.Helper()
		r := b.Request(u, b.File(payload("1.0")))
		r.Bundle = bad
		v, err := b.Installer.Verify(t.Context(), r)
		if err == nil {
			v.Close()
		}
		return err
	}
	spoilt := 0
	for _, part := range []string{"approvals", "catalogue"} {
		files := bundle.Approvals
		put := func(f metadata.Files) metadata.Bundle {
			return metadata.Bundle{Approvals: f, Catalogues: bundle.Catalogues}
		}
		if part == "catalogue" {
			files = bundle.Catalogues["acme"]
			put = func(f metadata.Files) metadata.Bundle {
				return metadata.Bundle{Approvals: bundle.Approvals, Catalogues: map[string]metadata.Files{"acme": f}}
			}
		}
		for name := range files {
			without := maps.Clone(files)
			delete(without, name)
			if refuses(put(without)) == nil {
				continue // an older version, which nobody looks at
			}
			spoilt++
			if err := refuses(put(flipped(files, name))); !fault.Is(err, fault.Untrusted) {
				t.Errorf("%s, %s: %v: %v", part, name, fault.Of(err), err)
			}
		}
	}
	if spoilt < 8 { // two times timestamp, snapshot and targets; the ring; the publisher's root
		t.Errorf("only %d files mattered", spoilt)
	}
	b.MustInstall(u, payload("1.0"))
}

// flipped changes a digit or a letter within a file, so that it stays JSON.
func flipped(files metadata.Files, name string) metadata.Files {
	files = maps.Clone(files)
	file := bytes.Clone(files[name])
	at := bytes.Index(file, []byte(`"expires"`)) + len(`"expires":"203`)
	if at < len(`"expires":"203`) {
		at = len(file) / 2
	}
	file[at] ^= 1
	files[name] = file
	return files
}

func TestWithoutSchemesNothingIsAccepted(t *testing.T) {
	t.Parallel()
	b := bench(t)
	b.Config.Schemes = map[string]install.Scheme{}
	b.Restart()
	if _, err := b.Verify(release(b, "1.0", 1, nil), payload("1.0")); !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), "scheme") {
		t.Errorf("%v", err)
	}
}

func TestWithoutItsHandlerAnUpdateIsRefused(t *testing.T) {
	t.Parallel()
	b := bench(t)
	b.Config.Handlers = nil
	b.Restart()
	if _, err := b.Verify(release(b, "1.0", 1, nil), payload("1.0")); !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
		t.Errorf("%v", err)
	}
}

func TestAnotherRing(t *testing.T) {
	t.Parallel()
	b := bench(t)
	u := release(b, "1.0", 1, nil)
	b.Config.Ring = "broad"
	b.Restart()
	if _, err := b.Verify(u, payload("1.0")); !errors.Is(err, install.ErrNotApproved) || !fault.Is(err, fault.Refused) {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
}

// TestAnotherOrganisation brings everything it takes, signed by keys that the device does not know.
func TestAnotherOrganisation(t *testing.T) {
	t.Parallel()
	b := bench(t)
	t.Run("other", func(t *testing.T) {
		other := bench(t)
		u := release(other, "1.0", 1, nil)
		r := other.Request(u, other.File(payload("1.0")))
		if _, err := b.Installer.Verify(t.Context(), r); !fault.Is(err, fault.Untrusted) {
			t.Errorf("%v: %v", fault.Of(err), err)
		}
		r.Bundle.Approvals = b.Org.Bundle().Approvals
		if _, err := b.Installer.Verify(t.Context(), r); !fault.Is(err, fault.Refused) {
			t.Errorf("only its catalogue: %v: %v", fault.Of(err), err)
		}
	})
}

// TestTheTrustedComment: what the payload key signed a payload as is what it may be released as.
func TestTheTrustedComment(t *testing.T) {
	t.Parallel()
	for comment, good := range map[string]bool{
		"dunlin publisher=acme id=app version=1.0 file=app.bin": true,
		"dunlin publisher=acme id=app version=1.0 file=":        true,
		"timestamp:1700000000\tfile:app.bin\thashed":            true, // of minisign itself
		"":                         true,
		"version 0.9 of something": true,
		"dunlin publisher=evil id=app version=1.0 file=app.bin":   false,
		"dunlin publisher=acme id=other version=1.0 file=app.bin": false,
		"dunlin publisher=acme id=app version=0.9 file=app.bin":   false,
		"dunlin publisher=acme id=app version=1.0.1 file=app.bin": false,
		"dunlin publisher=acme id=app version=1.0":                false,
		"dunlin id=app publisher=acme version=1.0 file=app.bin":   false,
		"dunlin  publisher=acme id=app version=1.0 file=app.bin":  false,
		"dunlin \x1b[2J " + strings.Repeat("x", 1000):             false,
	} {
		b := bench(t)
		u := release(b, "1.0", 1, func(u *metadata.Update) { u.Signature.Inline = b.Publisher.SignPayloadAs(payload("1.0"), comment) })
		v, err := b.Verify(u, payload("1.0"))
		if good != (err == nil) || !good && (!fault.Is(err, fault.Untrusted) || !strings.Contains(err.Error(), "signed as") || strings.ContainsRune(err.Error(), 0x1b)) {
			t.Errorf("%.80q: %v: %v", comment, fault.Of(err), err)
		}
		if err == nil {
			v.Close()
		}
	}
}

func TestADetachedSignature(t *testing.T) {
	t.Parallel()
	b := bench(t)
	sig := b.Publisher.SignPayload(payload("1.0"))
	u := release(b, "1.0", 1, func(u *metadata.Update) { u.Signature.Inline, u.Signature.URL = "", "http://cdn.example/app.minisig" })
	r := b.Request(u, b.File(payload("1.0")))
	r.Signature = []byte(sig)
	v, err := b.Installer.Verify(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	v.Close()
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := bench(t).Config
	for name, spoil := range map[string]func(*install.Config){
		"relative folder": func(c *install.Config) { c.Dir = "state" },
		"no folder":       func(c *install.Config) { c.Dir = "" },
		"no anchor":       func(c *install.Config) { c.Anchor = nil },
		"no ring":         func(c *install.Config) { c.Ring = "" },
		"negative time":   func(c *install.Config) { c.Timeout = -1 },
		"open folder": func(c *install.Config) {
			c.Dir = filepath.Join(t.TempDir(), "open")
			if err := errors.Join(os.Mkdir(c.Dir, 0o700), os.Chmod(c.Dir, 0o777)); err != nil {
				t.Fatal(err)
			}
		},
		"a link for a folder": func(c *install.Config) {
			c.Dir = filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(t.TempDir(), c.Dir); err != nil {
				t.Fatal(err)
			}
		},
	} {
		c := good
		spoil(&c)
		if _, err := install.New(c); fault.Of(err) == 0 || fault.Of(err) == fault.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
}
