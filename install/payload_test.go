package install_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dunlin-project/dunlin/install/installtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// What may happen to the payload between the check and the installation.

// TestAWriterThatWasThereBefore has the source open and rewrites it all the time. Either the check notices, or what is
// installed is exactly what was checked.
func TestAWriterThatWasThereBefore(t *testing.T) {
	t.Parallel()
	b := bench(t)
	u := release(b, "1.0", 1, nil)
	path := filepath.Join(t.TempDir(), "payload")
	w := create(t, path, payload("1.0"), 0o600)
	done, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		evil, good := bytes.ToUpper(payload("1.0")), payload("1.0")
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			at := int64(n * 4096 % len(good))
			_, _ = w.WriteAt(evil[at:min(int(at)+4096, len(evil))], at)
			if n%8 != 0 {
				_, _ = w.WriteAt(good, 0)
			}
		}
	}()
	installed := 0
	for range 30 {
		installed += attempt(t, b, u, path)
	}
	close(stop)
	<-done
	t.Logf("%d of 30 got through, whole", installed)
}

// attempt installs from path and reports whether that went well.
func attempt(t *testing.T, b *installtest.Bench, u *metadata.Update, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := b.Installer.Verify(t.Context(), b.Request(u, f))
	if err == nil {
		defer v.Close()
		_, err = b.Installer.Apply(t.Context(), v)
	}
	if err != nil && !fault.Is(err, fault.Untrusted) {
		t.Fatal(err)
	}
	got, readErr := os.ReadFile(destination(b))
	if err == nil && (readErr != nil || !bytes.Equal(got, payload("1.0"))) {
		t.Fatalf("installed something else: %v", readErr)
	}
	if err != nil {
		return 0
	}
	return 1
}

func create(t *testing.T, path string, content []byte, mode os.FileMode) *os.File {
	t.Helper()
	w, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, mode)
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Chmod(mode)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// TestAWriterThatComesLater opens the source between check and installation.
func TestAWriterThatComesLater(t *testing.T) {
	t.Parallel()
	b := bench(t)
	b.MustInstall(release(b, "1.0", 1, nil), payload("1.0"))
	u := release(b, "2.0", 2, nil)
	path := filepath.Join(t.TempDir(), "payload")
	create(t, path, payload("2.0"), 0o600).Close()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := b.Installer.Verify(t.Context(), b.Request(u, f))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if w, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0); !errors.Is(err, syscall.EWOULDBLOCK) {
		w.Close()
		t.Skipf("this file system has no leases: %v", err)
	}
	if _, err := b.Installer.Apply(t.Context(), v); !fault.Is(err, fault.Untrusted) || !strings.Contains(err.Error(), "opened the payload") {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
	if seen(t, b) != "1.0" || b.Item().Version != "1.0" {
		t.Errorf("%s is installed", seen(t, b))
	}
	b.MustInstall(u, payload("2.0"))
}

// TestFilesThatOthersCanWriteAreCopied: what is done to them after the check is of no account.
func TestFilesThatOthersCanWriteAreCopied(t *testing.T) {
	t.Parallel()
	for name, give := range map[string]func(f *os.File) error{
		"group":      func(f *os.File) error { return f.Chmod(0o660) },
		"everybody":  func(f *os.File) error { return f.Chmod(0o666) },
		"open to us": func(*os.File) error { return nil },
		"another user's": func(f *os.File) error {
			if os.Geteuid() != 0 {
				return f.Chmod(0o666)
			}
			return f.Chown(65534, 65534)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bench(t)
			u := release(b, "1.0", 1, nil)
			w := create(t, filepath.Join(t.TempDir(), "payload"), payload("1.0"), 0o600)
			if err := give(w); err != nil {
				t.Fatal(err)
			}
			v, err := b.Installer.Verify(t.Context(), b.Request(u, w))
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			empty(t, filepath.Join(b.Config.Dir, "staging"))
			if _, err := w.WriteAt(bytes.Repeat([]byte("evil"), 1000), 0); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Installer.Apply(t.Context(), v); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(destination(b)); err != nil || !bytes.Equal(got, payload("1.0")) {
				t.Errorf("installed %.20q, %v", got, err)
			}
		})
	}
}
