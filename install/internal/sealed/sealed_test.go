package sealed_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/dunlin-project/dunlin/install/internal/sealed"
)

func TestEveryBitIsMissed(t *testing.T) {
	t.Parallel()
	body := []byte("{\"release\": 7}\nand a second line")
	file := sealed.Encode("dunlin-test/1", body)
	if got, err := sealed.Decode("dunlin-test/1", file); err != nil || !bytes.Equal(got, body) {
		t.Fatalf("%q, %v", got, err)
	}
	for i := range len(file) * 8 {
		bad := bytes.Clone(file)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := sealed.Decode("dunlin-test/1", bad); !errors.Is(err, sealed.ErrDamaged) {
			t.Errorf("bit %d: %v", i, err)
		}
	}
	for n := range len(file) {
		if _, err := sealed.Decode("dunlin-test/1", file[:n]); !errors.Is(err, sealed.ErrDamaged) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	if _, err := sealed.Decode("dunlin-test/2", file); !errors.Is(err, sealed.ErrDamaged) {
		t.Errorf("another format: %v", err)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	if _, err := sealed.Read(path, "dunlin-test/1", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := sealed.Write(path, "dunlin-test/1", make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if b, err := sealed.Read(path, "dunlin-test/1", info.Size()); err != nil || len(b) != 20 {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := sealed.Read(path, "dunlin-test/1", info.Size()-1); !errors.Is(err, sealed.ErrDamaged) {
		t.Errorf("too long: %v", err)
	}
	if _, err := sealed.Read(dir, "dunlin-test/1", 100); !errors.Is(err, sealed.ErrDamaged) {
		t.Errorf("a folder: %v", err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := sealed.Read(link, "dunlin-test/1", 100); !errors.Is(err, sealed.ErrDamaged) {
		t.Errorf("a link: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sealed.Encode("dunlin-test/1", []byte("body")))
	f.Add([]byte("dunlin-test/1 \n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		body, err := sealed.Decode("dunlin-test/1", file)
		if err == nil && !bytes.Equal(sealed.Encode("dunlin-test/1", body), file) {
			t.Errorf("two forms of one file: %q", file)
		}
	})
}
