package piecehash

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/dunlin-project/dunlin/piecehash/bencode"
)

// vector is what libtorrent says of the first Length bytes of the stream; e2e/vectors/make.py makes the file.
type vector struct {
	Length      int64 `json:"length"`
	PieceLength int64 `json:"piece_length"`
	Root        Root  `json:"root"`
	LayerSHA256 Hash  `json:"layer_sha256"`
	InfoHash    Hash  `json:"info_hash"`
}

func TestRootsAreLibtorrents(t *testing.T) {
	t.Parallel()
	var vectors []vector
	if err := json.Unmarshal(testdata(t, "vectors.json"), &vectors); err != nil || len(vectors) != 36 {
		t.Fatalf("%d vectors: %v", len(vectors), err)
	}
	content := stream(64 << 20)
	for _, v := range vectors {
		t.Run(fmt.Sprintf("%d/%d", v.Length, v.PieceLength), func(t *testing.T) {
			t.Parallel()
			m, whole, err := SumFile(t.Context(), bytes.NewReader(content), v.Length, v.PieceLength, nil)
			if err != nil {
				t.Fatal(err)
			}
			if m.Root() != v.Root || sha256.Sum256(m.Layer()) != v.LayerSHA256 {
				t.Errorf("root %v, want %v", m.Root(), v.Root)
			}
			b, err := (&Metainfo{Name: "vector.bin", Manifest: m, SHA256: &whole}).Encode()
			if err != nil {
				t.Fatal(err)
			}
			if got := infoHash(t, b); got != v.InfoHash {
				t.Errorf("info-hash %v, want %v", got, v.InfoHash)
			}
		})
	}
}

func infoHash(t *testing.T, metainfo []byte) Hash {
	t.Helper()
	v, err := bencode.Decode(metainfo)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(encode(t, v.(map[string]any)["info"]))
}

func TestTorrentsOfLibtorrent(t *testing.T) {
	t.Parallel()
	want, _, err := Sum(t.Context(), bytes.NewReader(stream(3<<20+5)), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"v2.torrent", "hybrid.torrent"} {
		m, err := ParseMetainfo(testdata(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		origins := m.Origins()
		if m.Name != "vector.bin" || m.Manifest.Content != want.Content || m.SHA256 != nil ||
			len(origins) != 1 || origins[0] != "http://origin.example/dir/vector.bin" {
			t.Errorf("%s: %+v", name, m)
		}
	}
	for name, reason := range map[string]*Unsupported{"v1.torrent": errV1Only, "folder.torrent": errMultiFile} {
		var u *Unsupported
		if _, err := ParseMetainfo(testdata(t, name)); !errors.As(err, &u) || u != reason {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
