package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

// Export writes complete contents of a store to w. A piece that turns out damaged is fault.Unavailable, and what was written
// until then is no bundle.
func Export(ctx context.Context, w io.Writer, s *store.Store, roots []piecehash.Root, tell func(Progress)) (Progress, error) {
	x := &exporter{store: s, tar: tar.NewWriter(w), teller: teller{tell: tell}}
	err := x.all(ctx, sorted(roots))
	if err == nil {
		err = x.tar.Close()
	}
	if err != nil {
		err = fmt.Errorf("export: %w", err)
	}
	return x.Progress, err
}

func sorted(roots []piecehash.Root) []piecehash.Root {
	out := slices.Clone(roots)
	slices.SortFunc(out, compare)
	return slices.Compact(out)
}

func compare(a, b piecehash.Root) int { return bytes.Compare(a[:], b[:]) }

type exporter struct {
	store *store.Store
	tar   *tar.Writer
	teller
	buf []byte // of one piece
}

func (x *exporter) all(ctx context.Context, roots []piecehash.Root) error {
	x.Of = len(roots)
	for _, root := range roots {
		e, _ := x.store.Look(root)
		if !e.Whole {
			return fault.New(fault.Usage, "content %v: %w", root, store.ErrNotFound)
		}
		x.Total += e.Length
	}
	b, err := head{format, Version, x.Of, x.Total}.encode()
	if err == nil {
		err = x.entry(headName, b)
	}
	for _, root := range roots {
		if err == nil {
			err = x.content(ctx, root)
		}
	}
	return err
}

// entry writes a small one.
func (x *exporter) entry(name string, b []byte) error {
	if err := x.tar.WriteHeader(tarHeader(name, int64(len(b)))); err != nil {
		return err
	}
	_, err := x.tar.Write(b)
	return err
}

func (x *exporter) content(ctx context.Context, root piecehash.Root) error {
	f, err := x.store.File(root)
	if err != nil {
		return fault.Wrap(fault.Unavailable, err)
	}
	defer f.Close()
	m := f.Manifest()
	b, err := metainfo(m)
	if err != nil {
		return err
	}
	if err := x.entry(root.String()+metaSuffix, b); err != nil {
		return err
	}
	if err := x.tar.WriteHeader(tarHeader(root.String(), m.Length())); err != nil {
		return err
	}
	for i := range m.Pieces() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if x.buf, err = f.ReadPiece(i, x.buf); err != nil {
			return fault.WithHint(fmt.Errorf("content %v: %w", root, err),
				"a node that runs mends it: ask it for http://NODE/content/%v; or remove it: dunlin cache remove %v", root, root)
		}
		if _, err := x.tar.Write(x.buf); err != nil {
			return err
		}
		x.add(int64(len(x.buf)))
	}
	x.Contents++
	return nil
}

// partSuffix is of a bundle that is not whole yet.
const partSuffix = ".part"

// File is Export into a file, which has its name when it is whole and on the disk. Until then it is path.part; what an earlier
// run has left there is compared, and kept as far as it is right. A file that is there already is fault.Refused.
func File(ctx context.Context, path string, s *store.Store, roots []piecehash.Root, tell func(Progress)) (Progress, error) {
	if _, err := os.Lstat(path); err == nil {
		return Progress{}, fault.WithHint(fault.New(fault.Refused, "export to %s: %w", path, os.ErrExist), "move it away, or choose another name")
	}
	f, err := os.OpenFile(path+partSuffix, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return Progress{}, fault.New(fault.Usage, "export: %w", err)
	}
	again := &resumed{f: f}
	out, err := Export(ctx, again, s, roots, tell)
	if err == nil {
		err = again.end()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return out, err
	}
	return out, durable.RenameNew(filepath.Clean(path)+partSuffix, filepath.Clean(path))
}

// resumed is a file that an earlier run may have written the same bytes to. As long as they are the same they are only read.
type resumed struct {
	f       *os.File
	at      int64
	differs bool
	buf     []byte
}

// Write implements io.Writer.
func (r *resumed) Write(b []byte) (int, error) {
	if !r.differs {
		r.buf = slices.Grow(r.buf[:0], len(b))[:len(b)]
		n, err := r.f.ReadAt(r.buf, r.at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if r.differs = !bytes.Equal(r.buf[:n], b); r.differs {
			if err := r.f.Truncate(r.at); err != nil {
				return 0, err
			}
		}
	}
	if r.differs {
		if n, err := r.f.WriteAt(b, r.at); err != nil {
			return n, err
		}
	}
	r.at += int64(len(b))
	return len(b), nil
}

// end cuts off what lies behind the last byte.
func (r *resumed) end() error { return r.f.Truncate(r.at) }
