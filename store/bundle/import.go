package bundle

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

// Import reads a bundle into a store. What the store has already is passed over, without hashing it, and so is what another
// process is fetching; pieces of an earlier run are kept. A bundle that breaks a rule or holds a wrong piece is
// fault.Untrusted, one that ends early fault.Unavailable; the contents before that are in the store all the same. Of an r that
// is an io.Seeker, what is not needed is not read.
func Import(ctx context.Context, r io.Reader, s *store.Store, tell func(Progress)) (Progress, error) {
	stream := bounded(r)
	in := &importer{store: s, stream: stream, tar: tar.NewReader(stream), teller: teller{tell: tell}}
	err := in.all(ctx)
	if err != nil {
		err = fmt.Errorf("import: %w", err)
	}
	return in.Progress, err
}

type importer struct {
	store  *store.Store
	stream stream
	tar    *tar.Reader
	teller
	buf []byte // of one piece
}

func (in *importer) all(ctx context.Context) error {
	b, err := in.small(headName, maxHead)
	if err != nil {
		return err
	}
	h, err := parseHead(b)
	if err != nil {
		return err
	}
	in.Of, in.Total = h.Contents, h.Bytes
	var last piecehash.Root
	for n := range h.Contents {
		m, err := in.describe()
		if err != nil {
			return err
		}
		if n > 0 && compare(last, m.Root()) >= 0 {
			return hostile("content %v comes after %v", m.Root(), last)
		}
		last = m.Root()
		if err := in.content(ctx, m); err != nil {
			return err
		}
	}
	if in.Bytes != h.Bytes {
		return hostile("its contents have %d bytes, its head promises %d", in.Bytes, h.Bytes)
	}
	return in.end()
}

// next goes to the next entry, whose name and length the layout prescribes. With most, the length is bounded and not known.
func (in *importer) next(name string, size, most int64) (int64, error) {
	in.stream.allow(tarPerEntry)
	h, err := in.tar.Next()
	if err != nil {
		return 0, in.broken(name, err)
	}
	if name != "" && h.Name != name || h.Typeflag != tar.TypeReg {
		return 0, hostile("there is %.80q where %s is expected", h.Name, name)
	}
	if most == 0 && h.Size != size || h.Size > max(most, size) || h.Size < 0 {
		return 0, hostile("%s has %d bytes", h.Name, h.Size)
	}
	in.stream.allow(h.Size)
	return h.Size, nil
}

// small reads an entry of at most most bytes.
func (in *importer) small(name string, most int64) ([]byte, error) {
	n, err := in.next(name, 0, most)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(in.tar, b); err != nil {
		return nil, in.broken(name, err)
	}
	return b, nil
}

// describe reads a metainfo file, which proves itself, under the name that follows from it.
func (in *importer) describe() (*piecehash.Manifest, error) {
	in.stream.allow(tarPerEntry)
	h, err := in.tar.Next()
	if err != nil {
		return nil, in.broken("next content", err)
	}
	if h.Typeflag != tar.TypeReg || h.Size < 1 || h.Size > piecehash.MaxMetainfoSize {
		return nil, hostile("%.80q, of %d bytes, is no metainfo file", h.Name, h.Size)
	}
	in.stream.allow(h.Size)
	b := make([]byte, h.Size)
	if _, err := io.ReadFull(in.tar, b); err != nil {
		return nil, in.broken(h.Name, err)
	}
	m, err := piecehash.ParseMetainfo(b)
	if err != nil {
		return nil, hostile("%.80q: %w", h.Name, err)
	}
	if root := m.Manifest.Root().String(); h.Name != root+metaSuffix || m.Name != root {
		return nil, hostile("%.80q describes %q, whose root is %s", h.Name, m.Name, root)
	}
	return m.Manifest, nil
}

// content takes one content in.
func (in *importer) content(ctx context.Context, m *piecehash.Manifest) error {
	if _, err := in.next(m.Root().String(), m.Length(), 0); err != nil {
		return err
	}
	p, err := in.store.Begin(ctx, m)
	switch {
	case errors.Is(err, store.ErrSealed):
		in.There++
	case errors.Is(err, store.ErrBusy):
		in.Busy++
	case err != nil:
		return err
	default:
		if err := in.fill(ctx, p); err != nil {
			return errors.Join(err, p.Close())
		}
		in.Contents++
		return p.Close()
	}
	in.Contents++
	in.add(m.Length()) // the next step passes over it
	return nil
}

// fill puts every piece that is not there.
func (in *importer) fill(ctx context.Context, p *store.Partial) error {
	m := p.Manifest()
	for i := range m.Pieces() {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := m.PieceSize(i)
		if int64(cap(in.buf)) < n {
			in.buf = make([]byte, m.PieceLength())
		}
		if _, err := io.ReadFull(in.tar, in.buf[:n]); err != nil {
			return in.broken(m.Root().String(), err)
		}
		if !p.Has(i) {
			if _, err := p.Put(i, in.buf[:n]); err != nil {
				return fmt.Errorf("content %v: %w", m.Root(), err)
			}
		}
		in.add(n)
	}
	f, err := p.Seal(ctx)
	if err != nil {
		return fault.WithHint(err, "what an earlier import has left is damaged: run the same command again")
	}
	return f.Close()
}

// end sees to it that nothing is behind the last content.
func (in *importer) end() error {
	in.stream.allow(tarPerEntry)
	if h, err := in.tar.Next(); err == nil {
		return hostile("there is %.80q behind its last content", h.Name)
	} else if !errors.Is(err, io.EOF) {
		return in.broken("its end", err)
	}
	in.stream.allow(maxTail)
	buf := make([]byte, 32<<10)
	for {
		n, err := in.stream.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return hostile("there is something behind its end")
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return in.broken("its end", err)
		}
	}
}

// broken gives an error of reading its kind.
func (in *importer) broken(where string, err error) error {
	if failed := in.stream.failed(); failed != nil {
		return fmt.Errorf("read bundle: %w", failed)
	}
	if errors.Is(err, tar.ErrHeader) {
		return hostile("%s: %w", where, err)
	}
	return short(where, err)
}
