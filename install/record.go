package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/install/internal/sealed"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

const (
	recordFormat  = "dunlin-installed/1"
	maxRecordSize = 64 << 10 // bytes
	recordSuffix  = ".json"
	bundleSuffix  = ".bundle"

	bundleWindow = 8 << 20 // bytes that unpacking a kept bundle takes
)

// Record is what is kept of an installation.
type Record struct {
	Publisher   string         `json:"publisher"`
	ID          string         `json:"id"`
	Version     string         `json:"version"`
	Release     int64          `json:"release"`
	Handler     string         `json:"handler"`
	Destination string         `json:"destination,omitempty"`
	Length      int64          `json:"length"` // of the payload, in bytes
	SHA256      piecehash.Hash `json:"sha256"` // of the payload
	Root        piecehash.Root `json:"root"`   // of the payload
	Ring        string         `json:"ring"`
	Signer      string         `json:"signer"`             // key id of the payload's signature
	Installed   time.Time      `json:"installed"`          // when: Request.Now, or a later time that the metadata proved
	Reboot      bool           `json:"reboot,omitempty"`   // the handler asked for one
	Evidence    string         `json:"evidence,omitempty"` // the handler's own: by what it finds again what it installed
	Floor       floorEntry     `json:"floor"`              // as it was after the installation
	Bundle      piecehash.Hash `json:"bundle"`             // SHA-256 of the kept bundle, packed
}

// Key returns the publisher and id of the update.
func (r *Record) Key() metadata.Key { return metadata.Key{Publisher: r.Publisher, ID: r.ID} }

func (r *Record) encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return sealed.Encode(recordFormat, b), nil
}

func parseRecord(body []byte) (*Record, error) {
	r := new(Record)
	if err := unmarshal(body, r); err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	err := errors.Join(metadata.CheckPublisher(r.Publisher), metadata.CheckID(r.ID), metadata.CheckVersion(r.Version))
	if err != nil || r.Release < 1 || r.Floor.key() != r.Key() || r.Floor.Release < r.Release {
		return nil, fmt.Errorf("read record: %w", errors.Join(sealed.ErrDamaged, err))
	}
	return r, nil
}

func readRecord(path string) (*Record, error) {
	body, err := sealed.Read(path, recordFormat, maxRecordSize)
	if err != nil {
		return nil, err
	}
	return parseRecord(body)
}

// recordFile returns where the record of an update lies; its bundle is beside it.
func (f folder) recordFile(k metadata.Key) string {
	return filepath.Join(f.installed(), k.Publisher, k.ID+recordSuffix)
}

func bundleFile(recordFile string) string {
	return strings.TrimSuffix(recordFile, recordSuffix) + bundleSuffix
}

// records reads the inventory, sorted by publisher and id. A damaged record is left out, with a warning: the update
// counts as not installed, so that it is installed again.
func (i *Installer) records() ([]*Record, error) {
	files, err := filepath.Glob(filepath.Join(i.folder.installed(), "*", "*"+recordSuffix))
	if err != nil {
		return nil, err
	}
	var out []*Record
	for _, file := range files {
		r, err := readRecord(file)
		switch {
		case err == nil && i.folder.recordFile(r.Key()) == file:
			out = append(out, r)
		case errors.Is(err, fs.ErrNotExist): // taken away meanwhile
		default:
			i.cfg.Log.Warn("a record of the inventory cannot be used", "file", file, "err", err)
		}
	}
	return out, nil
}

// Bundle returns the signed bytes that an installation was decided on: the approvals, and the catalogue of its publisher.
// They verified then; metadata.Open says what they are worth at another time.
func (i *Installer) Bundle(r *Record) (metadata.Bundle, error) {
	f, err := os.Open(bundleFile(i.folder.recordFile(r.Key())))
	if err != nil {
		return metadata.Bundle{}, fmt.Errorf("read kept bundle: %w", err)
	}
	defer f.Close()
	packed, err := io.ReadAll(io.LimitReader(f, metadata.MaxBundleSize+1))
	if err != nil {
		return metadata.Bundle{}, fmt.Errorf("read kept bundle: %w", err)
	}
	if sha256.Sum256(packed) != r.Bundle {
		return metadata.Bundle{}, fmt.Errorf("read kept bundle of %s: %w", r.ID, sealed.ErrDamaged)
	}
	return unpackBundle(packed)
}

func unpackBundle(packed []byte) (metadata.Bundle, error) {
	z, err := zstd.NewReader(bytes.NewReader(packed),
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(bundleWindow))
	if err != nil {
		return metadata.Bundle{}, fmt.Errorf("unpack bundle: %w", err)
	}
	defer z.Close()
	b, err := io.ReadAll(io.LimitReader(z, metadata.MaxBundleSize+1))
	if err != nil {
		return metadata.Bundle{}, fmt.Errorf("unpack bundle: %w", err)
	}
	return metadata.ParseBundle(b)
}

// packBundle keeps what one offer hangs on.
func packBundle(b metadata.Bundle, publisher string) ([]byte, error) {
	slice := metadata.Bundle{Approvals: b.Approvals, Catalogues: map[string]metadata.Files{publisher: b.Catalogues[publisher]}}
	plain, err := slice.Encode()
	if err != nil {
		return nil, err
	}
	return metadata.Compress(plain), nil
}
