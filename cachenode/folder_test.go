package cachenode

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

func writeMeta(t *testing.T, path string, m *piecehash.Manifest, urls ...string) {
	t.Helper()
	b, err := (&piecehash.Metainfo{Name: "update.bin", Manifest: m, URLs: urls}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFolder knows what its files say at the newest look, whatever else lies in it.
func TestFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, one := fetchtest.Content(1, 200_000, pieceLength)
	_, two := fetchtest.Content(2, 300_000, pieceLength)
	writeMeta(t, filepath.Join(dir, "a.torrent"), one, "http://a.example/update.bin")
	writeMeta(t, filepath.Join(dir, "b.torrent"), one, "http://b.example/", "http://a.example/update.bin")
	writeMeta(t, filepath.Join(dir, "two.bin"), two) // another name
	for name, text := range map[string]string{"bad.torrent": "no metainfo", "empty.torrent": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.torrent"), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFolder(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	item, err := f.Find(one.Root())
	want := []string{"http://a.example/update.bin", "http://b.example/update.bin"}
	if err != nil || item.Name != "update.bin" || !slices.Equal(item.Origins, want) {
		t.Errorf("%+v, %v, want origins %q", item, err, want)
	}
	if _, err := f.Find(two.Root()); !errors.Is(err, ErrUnknown) {
		t.Errorf("another file's: %v", err)
	}

	writeMeta(t, filepath.Join(dir, "two.torrent"), two)
	writeMeta(t, filepath.Join(dir, "b.torrent"), two, "http://new.example/") // another size
	if err := os.Remove(filepath.Join(dir, "a.torrent")); err != nil {
		t.Fatal(err)
	}
	if roots := f.Refresh(t.Context()); !slices.Equal(roots, []piecehash.Root{two.Root()}) {
		t.Errorf("after the change it knows %v", roots)
	}
	if item, err := f.Find(two.Root()); err != nil || len(item.Origins) != 1 {
		t.Errorf("%+v, %v", item, err)
	}

	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	if len(f.Refresh(t.Context())) != 1 {
		t.Error("a folder that cannot be read took everything with it")
	}
	if _, err := OpenFolder(dir, nil); !fault.Is(err, fault.Usage) {
		t.Errorf("no folder: %v", err)
	}
}
