package keys_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
)

var passphrase = []byte("correct horse battery")

func open(t *testing.T) *keys.Store {
	t.Helper()
	s, err := keys.Open(filepath.Join(t.TempDir(), "keys"), keys.Options{WorkFactor: keys.MinWorkFactor})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func unlock() ([]byte, error) { return passphrase, nil }

func TestOnlineKey(t *testing.T) {
	t.Parallel()
	s := open(t)
	made, err := s.NewOnline("online")
	if err != nil {
		t.Fatal(err)
	}
	read, err := s.OnlineSigner("online")
	if err != nil || !made.Public().(ed25519.PublicKey).Equal(read.Public()) {
		t.Errorf("another key came back: %v", err)
	}
	wantMode(t, s.OnlinePath("online"), 0o600)
	wantMode(t, filepath.Dir(s.OnlinePath("online")), 0o700)
}

func TestOfflineKey(t *testing.T) {
	t.Parallel()
	s := open(t)
	made, err := s.NewOffline("root", passphrase)
	if err != nil {
		t.Fatal(err)
	}
	read, err := s.OfflineSigner("root", unlock)
	if err != nil || !made.Public().(ed25519.PublicKey).Equal(read.Public()) {
		t.Errorf("another key came back: %v", err)
	}
	wantMode(t, s.OfflinePath("root"), 0o600)
	file, err := os.ReadFile(s.OfflinePath("root"))
	if err != nil {
		t.Fatal(err)
	}
	der, _ := x509.MarshalPKCS8PrivateKey(made)
	if bytes.Contains(file, []byte("PRIVATE KEY")) || bytes.Contains(file, der) {
		t.Error("the key is not encrypted")
	}
	if !bytes.HasPrefix(file, []byte("-----BEGIN AGE ENCRYPTED FILE-----\n")) {
		t.Error("it is not an armoured age file")
	}
}

func TestWrongPassphrase(t *testing.T) {
	t.Parallel()
	s := open(t)
	if _, err := s.NewOffline("root", passphrase); err != nil {
		t.Fatal(err)
	}
	_, err := s.OfflineSigner("root", func() ([]byte, error) { return []byte("something else"), nil })
	if !fault.Is(err, fault.Usage) || !strings.Contains(err.Error(), "wrong passphrase") || fault.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
	if strings.Contains(err.Error(), "something else") {
		t.Error("the error tells the passphrase")
	}
	asked := errors.New("nobody there")
	if _, err := s.OfflineSigner("root", func() ([]byte, error) { return nil, asked }); !errors.Is(err, asked) {
		t.Errorf("got %v", err)
	}
}

func TestPassphraseIsNotAskedInVain(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, err := s.Offline("root", func() ([]byte, error) { t.Error("asked though there is no key"); return nil, nil })
	if !fault.Is(err, fault.Usage) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(fault.Hint(err), "--offline-keys") {
		t.Errorf("got %v", err)
	}
}

func TestShortPassphrase(t *testing.T) {
	t.Parallel()
	s := open(t)
	if _, err := s.NewOffline("root", []byte("1234567")); !fault.Is(err, fault.Usage) || strings.Contains(err.Error(), "1234567") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(s.OfflinePath("root")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file was made")
	}
}

func TestKeysAreNeverOverwritten(t *testing.T) {
	t.Parallel()
	s := open(t)
	for range 2 {
		if err := s.PutOnline("a", []byte("first")); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	if err := s.PutOnline("a", []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	if b, err := s.Online("a"); err != nil || string(b) != "first" {
		t.Errorf("%q %v", b, err)
	}
}

func TestMovedAwayKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	here, err := keys.Open(dir, keys.Options{WorkFactor: keys.MinWorkFactor})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := here.NewOffline("root", passphrase); err != nil {
		t.Fatal(err)
	}
	stick := filepath.Join(t.TempDir(), "stick")
	if err := os.Rename(filepath.Join(dir, "offline"), stick); err != nil {
		t.Fatal(err)
	}
	there, err := keys.Open(dir, keys.Options{Offline: stick})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := there.OfflineSigner("root", unlock); err != nil {
		t.Error(err)
	}
	// On a FAT stick everything is readable by all; it is encrypted, so that is no harm. Writable is.
	for mode, want := range map[fs.FileMode]bool{0o644: true, 0o444: true, 0o664: false, 0o602: false} {
		if err := os.Chmod(there.OfflinePath("root"), mode); err != nil {
			t.Fatal(err)
		}
		if _, err := there.OfflineSigner("root", unlock); (err == nil) != want || (err != nil && !fault.Is(err, fault.Refused)) {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
}

func TestUnsafeFilesAreRefused(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(path string) error{
		"readable by the group": func(p string) error { return os.Chmod(p, 0o640) },
		"readable by all":       func(p string) error { return os.Chmod(p, 0o604) },
		"a folder":              func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
		"a link":                func(p string) error { return errors.Join(os.Rename(p, p+".x"), os.Symlink(p+".x", p)) },
		"too large":             func(p string) error { return os.WriteFile(p, make([]byte, 65<<10), 0o600) },
		"somebody else's":       func(p string) error { return os.Chown(p, 4711, 4711) },
	} {
		if name == "somebody else's" && os.Geteuid() != 0 {
			continue
		}
		s := open(t)
		if _, err := s.NewOnline("online"); err != nil {
			t.Fatal(err)
		}
		if err := spoil(s.OnlinePath("online")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.OnlineSigner("online"); err == nil {
			t.Errorf("%s: was read", name)
		}
	}
}

func TestWorkFactorIsBounded(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 9, 23, 64, -1} {
		if _, err := keys.Open("x", keys.Options{WorkFactor: n}); !fault.Is(err, fault.Usage) {
			t.Errorf("%d: %v", n, err)
		}
	}
}

// A planted file must not make us spend hours and all memory on its work factor.
func TestAPlantedWorkFactorIsRefused(t *testing.T) {
	t.Parallel()
	s := open(t)
	if err := s.PutOffline("root", []byte("x"), passphrase); err != nil {
		t.Fatal(err)
	}
	const planted = "age-encryption.org/v1\n-> scrypt rvkXjqvVRMdZqNQdVGQmHA 30\nQhHzKLZ8gXUIXUFMFqQFGQmHAQhHzKLZ8gXUIXUFMFo\n--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
	if err := os.WriteFile(s.OfflinePath("root"), []byte(planted), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Offline("root", unlock); !fault.Is(err, fault.Usage) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
}

// The files can be opened without this program.
func TestStockToolsReadTheKeys(t *testing.T) {
	t.Parallel()
	s := open(t)
	if _, err := s.NewOnline("online"); err != nil {
		t.Fatal(err)
	}
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	out, err := exec.CommandContext(t.Context(), openssl, "pkey", "-in", s.OnlinePath("online"), "-noout", "-text").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "ED25519") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestParseIsStrict(t *testing.T) {
	t.Parallel()
	key, err := keys.NewEd25519()
	if err != nil {
		t.Fatal(err)
	}
	good, err := keys.Encode(key)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := keys.Encode(p384)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"nothing": nil, "twice": append(bytes.Clone(good), good...), "P-384": other,
		"no key":     pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
		"other type": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("x")}),
	} {
		if _, err := keys.Parse(bad); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := keys.Encode(struct{}{}); err == nil {
		t.Error("encoded something that is no key")
	}
}

func FuzzParse(f *testing.F) {
	key, err := keys.NewEd25519()
	if err != nil {
		f.Fatal(err)
	}
	good, err := keys.Encode(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := keys.Parse(b)
		if err != nil {
			return
		}
		again, err := keys.Encode(k)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Parse(again); err != nil {
			t.Error(err)
		}
	})
}

// FuzzOffline feeds whole files to the decrypting side.
func FuzzOffline(f *testing.F) {
	f.Add([]byte("-----BEGIN AGE ENCRYPTED FILE-----\n-----END AGE ENCRYPTED FILE-----\n"))
	f.Add([]byte("age-encryption.org/v1\n"))
	dir := f.TempDir()
	s, err := keys.Open(dir, keys.Options{WorkFactor: keys.MinWorkFactor})
	if err != nil {
		f.Fatal(err)
	}
	if err := s.PutOffline("k", []byte("secret"), passphrase); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(s.OfflinePath("k"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Contains(b, []byte(" 2")) || bytes.Contains(b, []byte(" 1")) {
			return // a high work factor is allowed up to 22, and slow
		}
		if err := os.WriteFile(s.OfflinePath("k"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Offline("k", unlock); err == nil && !bytes.Equal(b, good) && !errors.Is(err, age.ErrIncorrectIdentity) {
			t.Log("another way to write the same file") // armour allows white space around it
		}
	})
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s: mode %v, want %v", path, got, want)
	}
}
