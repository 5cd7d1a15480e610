package urlcache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"strings"
	"time"
)

// Limits of what lies on the disk.
const (
	recordVersion = 1
	maxRecord     = 64 << 10 // bytes of a record
	maxSize       = 1 << 40  // bytes of a file that is kept; a larger one is passed through
	maxURL        = 8 << 10  // bytes of a URL
	maxField      = 4 << 10  // bytes of a header field that is kept
)

// record says what a generation is, beside its bytes. It is written whole when something in it changes.
type record struct {
	Version    int               `json:"version"`
	URL        string            `json:"url"`
	Generation string            `json:"generation"`
	Slice      int64             `json:"slice"` // bytes
	Plain      bool              `json:"plain,omitempty"`
	Header     map[string]string `json:"header"`
	Vary       []string          `json:"vary,omitempty"`

	Is   version `json:"is"`
	Term term    `json:"term"`
}

// kept lists the header fields that are kept and sent again. All others are dropped: what is about the connection, what
// would make the client trust, wait or tell, and what nobody knows the meaning of here.
func kept() []string {
	return []string{
		"Cache-Control", "Content-Disposition", "Content-Language", "Content-Type", "Date", "Digest", "Expires",
		"Last-Modified", "Repr-Digest",
	}
}

// keepHeader takes what is kept of a header.
func keepHeader(h http.Header) map[string]string {
	out := make(map[string]string)
	for _, name := range kept() {
		if v := strings.Join(h.Values(name), ", "); v != "" && len(v) <= maxField {
			out[name] = v
		}
	}
	return out
}

// encode returns the record as it lies on the disk: its SHA-256 in hexadecimal, a line feed, JSON.
func (r record) encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	return append(append(hex.AppendEncode(nil, sum[:]), '\n'), b...), nil
}

var errRecord = errors.New("the record is damaged")

// parseRecord takes what encode has made and nothing else.
func parseRecord(b []byte) (record, error) {
	var r record
	head, body, ok := bytes.Cut(b, []byte{'\n'})
	sum := sha256.Sum256(body)
	if !ok || len(b) > maxRecord || string(head) != hex.EncodeToString(sum[:]) {
		return r, errRecord
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, fmt.Errorf("%w: %w", errRecord, err)
	}
	switch {
	case r.Version != recordVersion:
		return r, fmt.Errorf("%w: version %d", errRecord, r.Version)
	case r.Slice <= 0, r.Is.Size <= 0, r.Is.Size > maxSize, r.Is.validator() == "", !isGeneration(r.Generation), r.URL == "",
		r.Term.Age < 0, r.Term.Lifetime < 0, r.Term.Stale < 0:
		return r, fmt.Errorf("%w: it makes no sense", errRecord)
	}
	return r, nil
}

const generationLength = 16 // hexadecimal digits

func isGeneration(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && 2*len(b) == generationLength && strings.ToLower(id) == id
}

// sumSize is the length of an entry of the list of sums: slice, SHA-256, check.
const sumSize = 4 + sha256.Size + 4

// sum is the SHA-256 of a slice.
type sum = [sha256.Size]byte

// encodeSum returns the entry of a slice. Its check covers the generation, so that an entry fits nowhere else.
func encodeSum(generation string, slice int, s sum) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, sumSize), uint32(slice))
	b = append(b, s[:]...)
	return binary.LittleEndian.AppendUint32(b, checkSum(generation, b))
}

func checkSum(generation string, b []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE([]byte(generation)), crc32.IEEETable, b)
}

// parseSums calls add for each entry, and returns the length of what is whole: a crash may have cut the last, and what
// follows a damaged one is not believed.
func parseSums(generation string, slices int, b []byte, add func(slice int, s sum)) (valid int) {
	for len(b)-valid >= sumSize {
		e := b[valid:][:sumSize]
		i := binary.LittleEndian.Uint32(e)
		if binary.LittleEndian.Uint32(e[sumSize-4:]) != checkSum(generation, e[:sumSize-4]) || uint64(i) >= uint64(slices) {
			break
		}
		add(int(i), sum(e[4:sumSize-4]))
		valid += sumSize
	}
	return valid
}

// newRecord makes the record of an answer.
func newRecord(url string, v version, slice int64, plain bool, h http.Header, t term, id string) record {
	return record{
		Version: recordVersion, URL: url, Generation: id, Slice: slice, Plain: plain,
		Header: keepHeader(h), Vary: varies(h), Is: v, Term: t,
	}
}

// renewed is the record after the origin has said that nothing has changed (RFC 9111, section 4.3.4).
func (r record) renewed(h http.Header, asked, got time.Time) record {
	header := make(http.Header)
	for name, v := range r.Header {
		header.Set(name, v)
	}
	for _, name := range append(kept(), "Age") {
		if v := h.Values(name); len(v) > 0 {
			header[name] = v
		}
	}
	if len(h.Values("Date")) == 0 {
		header.Del("Date")
	}
	header.Del("Last-Modified")
	if v := r.Header["Last-Modified"]; v != "" { // that of the bytes that are here
		header.Set("Last-Modified", v)
	}
	r.Header, r.Term = keepHeader(header), termOf(header, asked, got)
	if v := varies(h); len(v) > 0 {
		r.Vary = v
	}
	return r
}
