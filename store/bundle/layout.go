package bundle

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// The layout: the head, then of each content, in the order of the roots, its metainfo file and its bytes.
const (
	// Version is that of the layout; a bundle with a higher one is refused.
	Version = 1
	// MaxContents bounds the contents of one bundle.
	MaxContents = 1 << 22

	format      = "dunlin-bundle"
	headName    = format + ".json"
	metaSuffix  = ".torrent"
	maxHead     = 4 << 10 // bytes of the head
	maxTail     = 1 << 20 // bytes of zeros behind the end; tar fills its last record
	tarPerEntry = 8 << 10 // bytes of headers and padding that an entry may take
	entryMode   = 0o444
)

// head is the first entry.
type head struct {
	Format   string `json:"format"`
	Version  int    `json:"version"`
	Contents int    `json:"contents"`
	Bytes    int64  `json:"bytes"` // of all contents together
}

func (h head) encode() ([]byte, error) {
	b, err := json.Marshal(h)
	return append(b, '\n'), err
}

func parseHead(b []byte) (head, error) {
	var h head
	// The version comes first: a later one may say more.
	if err := json.Unmarshal(b, &h); err != nil {
		return h, hostile("its head: %w", err)
	}
	if h.Format == format && h.Version > Version {
		return h, fault.WithHint(fault.New(fault.Usage, "read bundle: it has version %d, this program knows %d", h.Version, Version),
			"use the version of dunlin that wrote it, or a later one")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h); err != nil {
		return h, hostile("its head: %w", err)
	}
	if h.Format != format || h.Version != Version || h.Contents < 0 || h.Contents > MaxContents || h.Bytes < 0 {
		return h, hostile("its head makes no sense")
	}
	return h, nil
}

// tarHeader has nothing in it that another run, user or machine would write otherwise.
func tarHeader(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: entryMode, ModTime: time.Unix(0, 0)}
}

// metainfo is the file that describes content: by its root, since that is its name in the bundle.
func metainfo(m *piecehash.Manifest) ([]byte, error) {
	return (&piecehash.Metainfo{Name: m.Root().String(), Manifest: m}).Encode()
}

// Progress is how far an export or import has come.
type Progress struct {
	Contents int   `json:"contents"` // done
	Of       int   `json:"of"`       // contents
	Bytes    int64 `json:"bytes"`    // done, of contents
	Total    int64 `json:"total"`    // bytes of all contents
	There    int   `json:"there"`    // of Contents, by an import: they were in the store already
	Busy     int   `json:"busy"`     // contents that an import left to a node, which is fetching them
}

// teller tells how it goes, once a second.
type teller struct {
	Progress
	tell func(Progress)
	last time.Time
}

const tellEvery = time.Second

func (t *teller) add(bytes int64) {
	t.Bytes += bytes
	if now := time.Now(); t.tell != nil && now.Sub(t.last) >= tellEvery {
		t.last = now
		t.tell(t.Progress)
	}
}

func hostile(format string, args ...any) error {
	return fault.New(fault.Untrusted, "read bundle: "+format, args...)
}

// short is the error of a bundle that ends early.
func short(where string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fault.WithHint(fault.New(fault.Unavailable, "read bundle: %s: it ends too early", where),
			"copy the whole file again; the same command then goes on where it stopped")
	}
	return fmt.Errorf("read bundle: %s: %w", where, err)
}
