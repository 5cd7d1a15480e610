package publish_test

import (
	"bytes"
	"crypto/tls"
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
	"github.com/dunlin-project/dunlin/publish"
)

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
