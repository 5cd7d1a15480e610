package archive

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"strings"
)

// MaxDirectory bounds the central directory of a zip, in bytes: the reader keeps all of it.
const MaxDirectory = 16 << 20

// readZip goes in the order of the central directory, which alone counts.
func (w *walk) readZip(s *source) error {
	if err := checkZipEnd(s); err != nil {
		return err
	}
	reads := &budget{r: s, left: MaxDirectory + 4*zipEndMax}
	z, err := zip.NewReader(reads, s.Size())
	switch {
	case errors.Is(err, errBudget):
		return hostile("its directory is longer than %d bytes", MaxDirectory)
	case err != nil && !errors.Is(err, zip.ErrInsecurePath): // names are looked at by put
		return damaged("directory", err)
	}
	// Entries may lie over one another; but who reads each byte once needs no more than this.
	reads.left = 2*s.Size() + int64(len(z.File))*zipPerEntry
	for _, f := range z.File {
		if err := w.putZip(f); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) putZip(f *zip.File) error {
	if strings.ContainsRune(f.Name, '\\') {
		return hostile("name %q holds a backslash, which some readers take for a slash", shorten(f.Name))
	}
	e := entry{name: f.Name, kind: zipKind(f), mode: f.Mode(), time: f.Modified, size: int64(min(f.UncompressedSize64, 1<<62))}
	if e.kind != file && e.kind != symlink {
		return w.put(e)
	}
	body, err := f.Open()
	if err != nil {
		return damaged(shorten(f.Name), err)
	}
	defer body.Close()
	e.body = body
	if e.kind == symlink { // the content is where it leads
		link, err := io.ReadAll(io.LimitReader(body, MaxPath+1))
		if err != nil {
			return damaged(shorten(f.Name), err)
		}
		e.link = string(link)
	}
	return w.put(e)
}

func zipKind(f *zip.File) kind {
	switch m := f.Mode(); {
	case m.IsRegular():
		return file
	case m.IsDir():
		return folder
	case m.Type() == fs.ModeSymlink:
		return symlink
	default:
		return 0
	}
}

// Sizes of the records at the end of a zip (APPNOTE 4.3.14 to 4.3.16), in bytes.
const (
	zipEndSize     = 22
	zipEndMax      = zipEndSize + 1<<16 // with the longest comment
	zipLocatorSize = 20
	zip64EndSize   = 56
	zipPerEntry    = 128 // local header and data descriptor, with room
)

// checkZipEnd looks at how many entries are announced before the library allocates for them.
func checkZipEnd(s *source) error {
	end, at, err := zipEnd(s)
	if err != nil {
		return err
	}
	long, err := zip64Entries(s, at)
	if err != nil {
		return err
	}
	if max(long, uint64(binary.LittleEndian.Uint16(end[10:]))) > MaxEntries {
		return hostile("more than %d entries", MaxEntries)
	}
	return nil
}

// zipEnd returns the end record and where it is. It must be the very end of the file.
func zipEnd(s *source) ([]byte, int64, error) {
	tail := make([]byte, min(zipEndMax, s.Size()))
	start := s.Size() - int64(len(tail))
	if _, err := s.ReadAt(tail, start); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	i := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if i < 0 || len(tail)-i < zipEndSize {
		return nil, 0, hostile("it ends too early: there is no end record")
	}
	end := tail[i:]
	if int(binary.LittleEndian.Uint16(end[20:])) != len(end)-zipEndSize {
		return nil, 0, hostile("there is something behind its end")
	}
	return end, start + int64(i), nil
}

// zip64Entries returns what the longer end record announces, 0 when there is none.
func zip64Entries(s *source, end int64) (uint64, error) {
	locator := make([]byte, zipLocatorSize)
	if _, err := s.ReadAt(locator, max(end-zipLocatorSize, 0)); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if !bytes.HasPrefix(locator, []byte("PK\x06\x07")) {
		return 0, nil
	}
	at := binary.LittleEndian.Uint64(locator[8:])
	record := make([]byte, zip64EndSize)
	if at > uint64(s.Size()) {
		return 0, hostile("its end record lies outside of it")
	}
	if _, err := s.ReadAt(record, int64(at)); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if !bytes.HasPrefix(record, []byte("PK\x06\x06")) {
		return 0, hostile("its end record is missing")
	}
	return binary.LittleEndian.Uint64(record[32:]), nil
}

// errBudget ends the reading of a directory that is too long.
var errBudget = errors.New("too much read")

type budget struct {
	r    io.ReaderAt
	left int64
}

func (b *budget) ReadAt(p []byte, at int64) (int, error) {
	n, err := b.r.ReadAt(p, at)
	if b.left -= int64(n); b.left < 0 {
		return 0, errBudget
	}
	return n, err
}
