package archive

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Limits of one archive, whatever its publisher says.
const (
	MaxEntries = 1 << 18   // files, folders and links
	MaxNames   = 32 << 20  // bytes of all names together
	MaxPath    = 2 << 10   // bytes of one name
	MaxElement = 255       // bytes of one element of a name
	MaxDepth   = 64        // elements of one name
	MaxWindow  = 128 << 20 // bytes that a zstd decoder must keep: what stock zstd takes without being asked to
	MaxTail    = 1 << 20   // bytes of zeros behind the end of a tar
	MaxFollow  = 8         // links on the way to where one leads, itself included, and turns upwards: what an os.Root takes
)

// ErrTooLarge says that the files of an archive hold more than Options.Bytes.
var ErrTooLarge = errors.New("its files hold too much")

// Options say how far an archive may go, and whose its files become.
type Options struct {
	Bytes   int64  // that all files may hold together: the signed uncompressed size
	Entries int    // 0: MaxEntries
	Owner   *Owner // of what Unpack makes; nil leaves everything to the user who unpacks
}

// Owner is a user and a group.
type Owner struct{ UID, GID int }

// Stats says what is in an archive.
type Stats struct {
	Entries int
	Bytes   int64 // of all files together
}

// Unpack reads the archive, whose format shows in its first bytes, into dir. Archives that break a rule, are damaged or
// end early are fault.Untrusted; errors of the disk are returned as they are.
func Unpack(ctx context.Context, dir *os.Root, archive *io.SectionReader, o Options) (Stats, error) {
	return walkAll(ctx, archive, o, &disk{dir: dir, owner: o.Owner, buf: make([]byte, copyBuffer)})
}

// Check reads the archive as Unpack does and makes nothing. What it takes, Unpack takes within Options.Bytes =
// Stats.Bytes; what it refuses, Unpack refuses with the same error.
func Check(ctx context.Context, archive *io.SectionReader, o Options) (Stats, error) {
	return walkAll(ctx, archive, o, nowhere{})
}

func walkAll(ctx context.Context, archive *io.SectionReader, o Options, to maker) (Stats, error) {
	w := newWalk(ctx, o, to)
	if err := w.read(&source{SectionReader: archive}); err != nil {
		return Stats{}, err
	}
	if err := w.finish(); err != nil {
		return Stats{}, err
	}
	return w.stats, nil
}

func (w *walk) read(s *source) error {
	head := make([]byte, 512)
	n, err := s.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		err = w.readZip(s)
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		err = w.readGzip(s)
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		err = w.readZstd(s)
	case len(head) == 512 && bytes.Equal(head[257:262], []byte("ustar")):
		err = w.readTar(s)
	default:
		err = hostile("it is neither tar, tar.gz, tar.zst nor zip")
	}
	if s.err != nil { // the disk below the archive is at fault, whatever the decoder made of it
		return s.err
	}
	return err
}

func (w *walk) readGzip(s *source) error {
	z, err := gzip.NewReader(s)
	if err != nil {
		return hostile("%w", err)
	}
	return w.readTar(z)
}

func (w *walk) readZstd(s *source) error {
	z, err := zstd.NewReader(s,
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(MaxWindow))
	if err != nil {
		return hostile("%w", err)
	}
	defer z.Close()
	err = w.readTar(z)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return fault.WithHint(err, "the publisher must pack it with a window of at most %d MiB", MaxWindow>>20)
	}
	return err
}

// source remembers that reading the archive failed, so that a broken disk is not taken for a broken archive.
type source struct {
	*io.SectionReader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.SectionReader.Read(b)
	return n, s.note(err)
}

func (s *source) ReadAt(b []byte, at int64) (int, error) {
	n, err := s.SectionReader.ReadAt(b, at)
	return n, s.note(err)
}

func (s *source) note(err error) error {
	if err != nil && !errors.Is(err, io.EOF) && s.err == nil {
		s.err = err
	}
	return err
}

func hostile(format string, args ...any) error {
	return fault.New(fault.Untrusted, "read archive: "+format, args...)
}
