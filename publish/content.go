package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"aead.dev/minisign"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Phase says what a Progress is about.
type Phase string

// The phases of Add, in their order.
const (
	PhaseCopy    Phase = "copy"   // copying the payload and hashing it for the signature
	PhaseHash    Phase = "hash"   // the tree and the SHA-256 of the copy
	PhaseUnpack  Phase = "unpack" // walking the archive (handler tree only)
	copyBuffer         = 1 << 20  // bytes
	tempContents       = ".incoming.*.dunlin-tmp"
)

// Progress is told how far a phase is, in bytes of the payload. It is never called by two goroutines at once.
type Progress func(phase Phase, done, total int64)

// intake is a payload on its way in: a private copy in the folder it will be served from.
type intake struct {
	file     *os.File
	length   int64
	read     *minisign.Reader // has read all of the copy's bytes
	manifest *piecehash.Manifest
	sha256   piecehash.Hash
}

// take copies the file and hashes the copy, so that what was hashed and signed is what is served, whoever changes the
// original meanwhile. The caller keeps it with place or drops it with discard.
func (l layout) take(ctx context.Context, path string, pieceLength int64, tell Progress) (*intake, error) {
	src, length, err := openPayload(path)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	f, err := os.CreateTemp(l.contents(), tempContents)
	if err != nil {
		return nil, diskFault(fmt.Errorf("copy payload: %w", err))
	}
	in := &intake{file: f, length: length}
	if err := in.fill(ctx, src, pieceLength, tell); err != nil {
		return nil, errors.Join(diskFault(err), in.discard())
	}
	return in, nil
}

func (in *intake) fill(ctx context.Context, src io.Reader, pieceLength int64, tell Progress) error {
	if err := in.copy(ctx, src, tell); err != nil {
		return fmt.Errorf("copy payload: %w", err)
	}
	var err error
	in.manifest, in.sha256, err = piecehash.SumFile(ctx, in.file, in.length, pieceLength, func(done int64) { tell(PhaseHash, done, in.length) })
	if err != nil {
		return fmt.Errorf("hash payload: %w", err)
	}
	return nil
}

func openPayload(path string) (*os.File, int64, error) {
	// Without O_NONBLOCK, opening a FIFO would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, fault.New(fault.Usage, "open payload: %w", err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fault.New(fault.Usage, "open payload: %s is no regular file", path)
	case info.Size() == 0:
		err = fault.New(fault.Usage, "open payload: %s is empty", path)
	default:
		return f, info.Size(), nil
	}
	return nil, 0, errors.Join(err, f.Close())
}

func (in *intake) copy(ctx context.Context, src io.Reader, tell Progress) error {
	// One byte more than there was: a file that still grows is not ready to be published.
	in.read = minisign.NewReader(io.LimitReader(src, in.length+1))
	buf := make([]byte, copyBuffer)
	var done int64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := in.read.Read(buf)
		if _, err := in.file.Write(buf[:n]); err != nil {
			return err
		}
		done += int64(n)
		tell(PhaseCopy, done, in.length)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if done != in.length {
		return fault.New(fault.Usage, "the file changed its length meanwhile, from %d bytes", in.length)
	}
	return nil
}

// place makes the copy durable under its root, with its signature and its piece layer beside it. The same content may be
// there already; it is replaced, because nobody vouches for what lies in the public folder.
func (l layout) place(in *intake, signature string) error {
	root := in.manifest.Root()
	err := errors.Join(in.file.Chmod(publicMode), in.file.Sync(), in.file.Close())
	if err == nil {
		err = durable.Rename(in.file.Name(), l.content(root))
	}
	if err == nil {
		err = durable.WriteFile(l.signature(root), []byte(signature), publicMode)
	}
	if err != nil {
		return diskFault(fmt.Errorf("keep payload: %w", err))
	}
	if layer := in.manifest.Layer(); len(layer) > 0 {
		err = durable.WriteFile(l.layer(root), layer, publicMode)
	}
	return diskFault(err)
}

func (in *intake) discard() error {
	return errors.Join(in.file.Close(), os.Remove(in.file.Name()))
}

// clean deletes what interrupted calls left in the public folder. The caller holds the lock.
func (l layout) clean() error {
	for _, dir := range []string{l.contents(), l.layers()} {
		if err := makePublic(dir); err != nil {
			return err
		}
		left, err := filepath.Glob(filepath.Join(dir, durable.TempPattern))
		if err != nil {
			return err
		}
		for _, path := range left {
			if err := durable.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

func diskFault(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fault.WithHint(fault.Wrap(fault.Unavailable, err), "make room on the disk and run the command again")
	}
	return err
}
