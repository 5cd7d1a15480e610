package piecehash

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"runtime"
	"sync"
)

const (
	// blockSize is the unit that workers hash, in bytes: small enough that a short file uses all cores, a power of two so
	// that blocks fold into pieces of any length.
	blockSize = 256 << 10
	// maxBlocks bounds the blocks in memory, so that many cores do not mean much memory: 16 MiB.
	maxBlocks = 64
)

// Sum reads r to its end and returns the manifest and the SHA-256 of the bytes. pieceLength 0 means
// DefaultPieceLength of the length that is known only then. It uses all cores and bounded memory: at most 16 MiB of
// blocks and 32 MiB of hashes. Nothing to read is ErrEmpty. When ctx ends, it returns after the running r.Read.
func Sum(ctx context.Context, r io.Reader, pieceLength int64) (*Manifest, Hash, error) {
	return sum(ctx, r, pieceLength, nil)
}

// SumFile is Sum for length bytes of f. A file that ends before is io.ErrUnexpectedEOF. progress, if not nil, is told how
// many bytes are done, never from two goroutines at once and never after SumFile has returned.
func SumFile(ctx context.Context, f io.ReaderAt, length, pieceLength int64, progress func(done int64)) (*Manifest, Hash, error) {
	if pieceLength == 0 {
		pieceLength = DefaultPieceLength(length)
	}
	if _, err := NewContent(Root{}, length, pieceLength); err != nil {
		return nil, Hash{}, fmt.Errorf("hash file: %w", err)
	}
	m, whole, err := sum(ctx, io.NewSectionReader(f, 0, length), pieceLength, progress)
	if err == nil && m.Length() != length || errors.Is(err, ErrEmpty) {
		return nil, Hash{}, fmt.Errorf("hash file: it is shorter than %d bytes: %w", length, io.ErrUnexpectedEOF)
	}
	return m, whole, err
}

// sum reads blocks on the calling goroutine, because a Read cannot be interrupted; workers hash their trees; the
// collector takes them in order and hashes the whole file beside. All have ended when it returns.
func sum(ctx context.Context, r io.Reader, pieceLength int64, progress func(int64)) (*Manifest, Hash, error) {
	c, err := newCollector(pieceLength, progress)
	if err != nil {
		return nil, Hash{}, fmt.Errorf("hash content: %w", err)
	}
	workers := runtime.GOMAXPROCS(0)
	n := min(2*workers+2, maxBlocks)
	line := pipeline{free: make(chan *block, n), work: make(chan *block, n), order: make(chan *block, n)}
	for range n {
		line.free <- &block{hashed: make(chan struct{}, 1)}
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(line.hashBlocks)
	}
	wg.Go(func() { line.collect(c) })
	err = line.read(ctx, r, c.unit, c.maxLength())
	close(line.work)
	close(line.order)
	wg.Wait()
	if err != nil {
		return nil, Hash{}, fmt.Errorf("hash content: %w", err)
	}
	return c.finish()
}

// block goes round: free, filled by the reader, hashed by a worker and taken by the collector, free.
type block struct {
	buf    []byte // made at the first use, so that a short file takes little memory
	data   []byte // what was read, a part of buf
	width  int    // of its subtree, in leaves
	root   Hash
	hashed chan struct{} // one token once root is set
}

type pipeline struct {
	free  chan *block
	work  chan *block // for any worker
	order chan *block // the same blocks in their order, for the collector
}

func (p *pipeline) read(ctx context.Context, r io.Reader, unit, maxLength int64) error {
	for done := int64(0); ; done += unit {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := <-p.free
		if b.buf == nil {
			b.buf = make([]byte, unit)
		}
		n, err := io.ReadFull(r, b.buf)
		short := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
		if err != nil && !short {
			return err
		}
		if done+int64(n) > maxLength {
			return fmt.Errorf("more than %d bytes, which is the most for this piece length", maxLength)
		}
		if n > 0 {
			b.data, b.width = b.buf[:n], leaves(unit)
			if short && done == 0 { // a file of less than one block is padded to the next power of two only
				b.width = nextPow2(leaves(int64(n)))
			}
			p.order <- b
			p.work <- b
		}
		if short {
			return nil
		}
	}
}

func (p *pipeline) hashBlocks() {
	for b := range p.work {
		b.root = hashPiece(b.data, b.width)
		b.hashed <- struct{}{}
	}
}

func (p *pipeline) collect(c *collector) {
	for b := range p.order {
		c.whole.Write(b.data)
		<-b.hashed
		c.add(b.root, len(b.data))
		p.free <- b
	}
}

// collector folds the roots of blocks into pieces. One goroutine owns it.
type collector struct {
	unit        int64 // bytes in a block
	pieceLength int64 // of the layer
	choose      bool  // the piece length is to be chosen at the end; until then the layer is as fine as it can be
	progress    func(int64)

	whole  hash.Hash
	length int64
	piece  subtree // the blocks of the piece that is not complete
	layer  []Hash
}

func newCollector(pieceLength int64, progress func(int64)) (*collector, error) {
	choose := pieceLength == 0
	if choose {
		pieceLength = DefaultPieceLength(0)
	}
	if err := checkPieceLength(pieceLength); err != nil {
		return nil, err
	}
	return &collector{
		unit: min(blockSize, pieceLength), pieceLength: pieceLength, choose: choose,
		progress: progress, whole: sha256.New(),
	}, nil
}

// maxLength is what fits into MaxPieces, in bytes; the reader keeps to it.
func (c *collector) maxLength() int64 {
	if c.choose {
		return MaxPieces * MaxPieceLength
	}
	return MaxPieces * c.pieceLength
}

func (c *collector) add(root Hash, n int) {
	c.length += int64(n)
	c.piece.push(root)
	if c.pieceFull() && len(c.layer) == MaxPieces {
		c.coarsen(2 * c.pieceLength)
	}
	if c.pieceFull() {
		c.endPiece()
	}
	if c.progress != nil {
		c.progress(c.length)
	}
}

func (c *collector) pieceFull() bool { return int64(c.piece.count) == c.pieceLength/c.unit }

func (c *collector) endPiece() {
	c.layer = append(c.layer, c.piece.padTo(int(c.pieceLength/c.unit), zeroSubtree(leaves(c.unit))))
	c.piece = subtree{}
}

// coarsen makes the layer one of longer pieces. The piece that is not complete stays so.
func (c *collector) coarsen(pieceLength int64) {
	k := int(pieceLength / c.pieceLength)
	pad := zeroSubtree(leaves(c.pieceLength))
	coarse := c.layer[:0]
	for i := 0; i < len(c.layer); i += k {
		var s subtree
		for _, h := range c.layer[i:min(i+k, len(c.layer))] {
			s.push(h)
		}
		coarse = append(coarse, s.padTo(k, pad))
	}
	c.layer, c.pieceLength = coarse, pieceLength
}

func (c *collector) finish() (*Manifest, Hash, error) {
	c.endLast()
	if len(c.layer) == 0 {
		return nil, Hash{}, fmt.Errorf("hash content: %w", ErrEmpty)
	}
	if want := DefaultPieceLength(c.length); c.choose && c.pieceLength < want {
		c.coarsen(want)
	}
	root := c.layer[0]
	if len(c.layer) > 1 {
		root = rootOfLayer(c.layer, c.pieceLength)
	}
	content, err := NewContent(Root(root), c.length, c.pieceLength)
	if err != nil {
		return nil, Hash{}, fmt.Errorf("hash content: %w", err)
	}
	return &Manifest{content, c.layer}, Hash(c.whole.Sum(nil)), nil
}

// endLast ends the last piece, which may be short: a lone one is padded to the next power of two only.
func (c *collector) endLast() {
	switch {
	case c.piece.count == 0:
	case len(c.layer) == 0:
		c.layer = []Hash{c.piece.padTo(nextPow2(int(c.piece.count)), zeroSubtree(leaves(c.unit)))}
	default:
		if len(c.layer) == MaxPieces {
			c.coarsen(2 * c.pieceLength)
		}
		c.endPiece()
	}
}
