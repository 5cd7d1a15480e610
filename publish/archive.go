package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dunlin-project/dunlin/internal/archive"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// maxUnpacked bounds what an archive unpacks to when the publisher names no bound, in bytes.
const maxUnpacked = 1 << 40

// measure goes through an archive as a device will, so that nothing is released that every device would refuse, and
// returns how many bytes its files hold together: what a device must allow for. Nothing is unpacked. most is the bound
// the publisher named, 0 for none. Errors about the archive are fault.Refused: here nobody is suspected of it.
func measure(ctx context.Context, r io.ReaderAt, length, most int64, tell func(done int64)) (int64, error) {
	most = cmp.Or(most, maxUnpacked)
	src := &watched{ReaderAt: r, length: length, tell: tell}
	stats, err := archive.Check(ctx, io.NewSectionReader(src, 0, length), archive.Options{Bytes: most})
	switch {
	case err == nil:
		tell(length)
		return max(stats.Bytes, 1), nil // an archive of empty files still says that it is one
	case errors.Is(err, archive.ErrTooLarge):
		return 0, fault.WithHint(fault.New(fault.Refused, "read archive: it unpacks to more than %d bytes", most), "say how much it may be with --uncompressed-size")
	case fault.Is(err, fault.Untrusted):
		return 0, fault.WithHint(fault.New(fault.Refused, "%w", err), "%s",
			cmp.Or(fault.Hint(err), "the handler tree takes tar, tar.gz, tar.zst and zip with plain files, folders and links inside"))
	default:
		return 0, fmt.Errorf("read archive: %w", err)
	}
}

// watched tells about how much of the payload has been read; a zip is read here and there.
type watched struct {
	io.ReaderAt
	done, length int64
	tell         func(int64)
}

func (w *watched) ReadAt(b []byte, at int64) (int, error) {
	n, err := w.ReaderAt.ReadAt(b, at)
	w.done = min(w.done+int64(n), w.length)
	w.tell(w.done)
	return n, err
}

// checkProgram takes what a kernel can run by descriptor: an ELF file or a script.
func checkProgram(r io.ReaderAt) error {
	var head [4]byte
	if _, err := r.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read program: %w", err)
	}
	if string(head[:]) == "\x7fELF" || string(head[:2]) == "#!" {
		return nil
	}
	return fault.WithHint(fault.New(fault.Refused, "read program: it is neither an ELF file nor a script"),
		"the handler exec runs the payload itself; begin a script with #!")
}
