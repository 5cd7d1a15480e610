package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/piecehash"
)

// The record of a sealed file is its manifest without the root, which is its name: magic and version, length and piece
// length (8 bytes each, big-endian), piece layer, and the SHA-256 of all that. The layer proves itself against the root;
// the checksum is for the two lengths, of which the root does not say everything.
const (
	recordMagic = "dunlinM\x01"
	maxRecord   = len(recordMagic) + 16 + 32*piecehash.MaxPieces + sha256.Size
)

func encodeRecord(m *piecehash.Manifest) []byte {
	b := []byte(recordMagic)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Length()))
	b = binary.BigEndian.AppendUint64(b, uint64(m.PieceLength()))
	b = append(b, m.Layer()...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func decodeRecord(b []byte, root piecehash.Root) (*piecehash.Manifest, error) {
	head := len(recordMagic) + 16
	if len(b) < head+sha256.Size || len(b) > maxRecord || string(b[:len(recordMagic)]) != recordMagic {
		return nil, errors.New("decode record: another magic or length")
	}
	end := len(b) - sha256.Size
	if sum := sha256.Sum256(b[:end]); !bytes.Equal(sum[:], b[end:]) {
		return nil, errors.New("decode record: another checksum than it promises")
	}
	sizes := b[len(recordMagic):]
	c, err := piecehash.NewContent(root, int64(binary.BigEndian.Uint64(sizes)), int64(binary.BigEndian.Uint64(sizes[8:])))
	if err != nil {
		return nil, fmt.Errorf("decode record: %w", err)
	}
	m, err := c.Prove(b[head:end])
	if err != nil {
		return nil, fmt.Errorf("decode record: %w", err)
	}
	return m, nil
}

func loadRecord(path string, root piecehash.Root) (*piecehash.Manifest, error) {
	f, err := openRegular(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readAll(f, int64(maxRecord))
	if err != nil {
		return nil, err
	}
	return decodeRecord(b, root)
}

// saveRecord makes the manifest durable before the file has its name, so that a named file always has one.
func (p *Partial) saveRecord() error {
	if !p.place.private() {
		return nil
	}
	return durable.WriteFile(p.place.record, encodeRecord(p.manifest), sealedPerm)
}
