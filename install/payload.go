package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dunlin-project/dunlin/install/internal/disk"
	"github.com/dunlin-project/dunlin/install/signature"
	"github.com/dunlin-project/dunlin/internal/fault"
)

const hashBuffer = 1 << 20 // bytes

// payload is a file whose bytes nobody else can change any more, open for reading.
type payload struct {
	f     *os.File
	lease bool // it is the source itself, held by a lease of the kernel; else it is a copy that has no name
}

// secure takes hold of the source's bytes and hashes them, once. The source is held in place where the kernel promises
// that nobody has it open for writing; otherwise, and for a program, what is hashed is what is copied. The source's
// offset is not touched.
func (f folder) secure(ctx context.Context, source *os.File, size int64, program bool) (payload, signature.Digests, error) {
	if err := checkSource(source, size); err != nil {
		return payload{}, signature.Digests{}, err
	}
	h := signature.NewHasher()
	if !program {
		if held, ok := hold(source); ok {
			err := pass(ctx, h, held, size)
			return hashed(payload{held, true}, h, err)
		}
	}
	p, err := f.copy(ctx, h, source, size, program)
	return hashed(p, h, err)
}

func hashed(p payload, h *signature.Hasher, err error) (payload, signature.Digests, error) {
	if err == nil {
		return p, h.Digests(), nil
	}
	if p.f != nil {
		p.f.Close()
	}
	return payload{}, signature.Digests{}, err
}

func checkSource(source *os.File, size int64) error {
	info, err := source.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("look at payload: %w", err)
	case !info.Mode().IsRegular():
		return fault.New(fault.Usage, "look at payload: it is no regular file")
	case info.Size() != size:
		return fault.New(fault.Untrusted, "check payload: it has %d bytes, the catalogue says %d", info.Size(), size)
	}
	return nil
}

// copy writes the source to a file of our own. Its name is gone before the first byte is written, so a crash leaves
// nothing behind, and the descriptor that is returned is the only way to it: nothing has it open for writing.
func (f folder) copy(ctx context.Context, h io.Writer, source *os.File, size int64, program bool) (payload, error) {
	w, err := os.CreateTemp(f.staging(), "payload-*")
	if err != nil {
		return payload{}, disk.Fault(fault.Internal, string(f), err)
	}
	defer w.Close()
	r, err := os.Open(w.Name())
	err = errors.Join(err, os.Remove(w.Name()))
	if errors.Is(err, fs.ErrNotExist) && r != nil { // another installer has tidied up
		err = nil
	}
	if err == nil && program {
		err = w.Chmod(0o500)
	}
	if err == nil {
		err = reserve(w, size)
	}
	if err == nil {
		err = pass(ctx, io.MultiWriter(h, w), source, size)
	}
	// What a file system could not write may show only when it is closed.
	if err = errors.Join(err, w.Close()); err != nil {
		err = disk.Fault(fault.Internal, string(f), fmt.Errorf("copy payload: %w", err))
	}
	return payload{f: r}, err
}

// stagingAge is when a name in the staging folder cannot be that of a copy that just begins.
const stagingAge = time.Hour

// tidyStaging removes the names of copies that a crash kept from losing them. The files are empty.
func (f folder) tidyStaging(now time.Time) {
	entries, err := os.ReadDir(f.staging())
	if err != nil {
		return // the next one may succeed; they take no space
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > stagingAge {
			_ = os.Remove(filepath.Join(f.staging(), e.Name()))
		}
	}
}

// pass reads the source once, from its beginning, into w.
func pass(ctx context.Context, w io.Writer, source io.ReaderAt, size int64) error {
	r := io.NewSectionReader(source, 0, size)
	buf := make([]byte, hashBuffer)
	for done := int64(0); done < size; {
		if err := ctx.Err(); err != nil {
			return fault.New(fault.Unavailable, "check payload: stopped: %w", err)
		}
		n, err := r.Read(buf)
		if err != nil && !errors.Is(err, io.EOF) {
			return fault.New(fault.Unavailable, "read payload: %w", err)
		}
		if n == 0 {
			return fault.New(fault.Untrusted, "check payload: it became shorter while it was read")
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		done += int64(n)
	}
	return nil
}

// intact reports whether the bytes are still those that were hashed.
func (p payload) intact() bool { return !p.lease || leased(p.f) }
