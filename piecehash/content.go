package piecehash

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
)

// Sizes of BEP 52 and of this project (design, section 5). All in bytes but MaxPieces.
const (
	LeafSize       = 16 << 10 // one leaf of the tree
	MinPieceLength = LeafSize
	MaxPieceLength = 16 << 20
	MaxPieces      = 1 << 20
)

// Hash is a node of the tree, or the SHA-256 of a whole file.
type Hash [32]byte

// String returns the hash in lower-case hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler: lower-case hex.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It takes exactly 64 lower-case hex digits.
func (h *Hash) UnmarshalText(b []byte) error { return parseHex(h[:], b) }

// ParseHash takes exactly 64 lower-case hex digits.
func ParseHash(s string) (Hash, error) {
	var h Hash
	return h, parseHex(h[:], []byte(s))
}

// Root names content: the root of its tree, the "pieces root" of BEP 52. It does not depend on the piece length.
type Root [32]byte

// String returns the root in lower-case hex.
func (r Root) String() string { return hex.EncodeToString(r[:]) }

// MarshalText implements encoding.TextMarshaler: lower-case hex.
func (r Root) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It takes exactly 64 lower-case hex digits.
func (r *Root) UnmarshalText(b []byte) error { return parseHex(r[:], b) }

// ParseRoot takes exactly 64 lower-case hex digits.
func ParseRoot(s string) (Root, error) {
	var r Root
	return r, parseHex(r[:], []byte(s))
}

func parseHex(dst, src []byte) error {
	if len(src) != 2*len(dst) {
		return fmt.Errorf("parse hash: %d characters, want %d hex digits", len(src), 2*len(dst))
	}
	for _, c := range src {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("parse hash: %q is not a lower-case hex digit", c)
		}
	}
	_, err := hex.Decode(dst, src)
	return err
}

// DefaultPieceLength is the piece length that this project cuts a file of the given length into: 256 KiB up to 16 MiB,
// 1 MiB up to 8 GiB, 4 MiB above, and more only where MaxPieces demands it.
func DefaultPieceLength(length int64) int64 {
	var p int64
	switch {
	case length <= 16<<20:
		p = 256 << 10
	case length <= 8<<30:
		p = 1 << 20
	default:
		p = 4 << 20
	}
	for p < MaxPieceLength && (length-1)/p >= MaxPieces {
		p *= 2
	}
	return p
}

// Content names one file and the way it is cut: root, length and piece length. Only NewContent makes one, so that
// its geometry is always sound. It is small and comparable.
type Content struct {
	root        Root
	length      int64
	pieceLength int64
}

// NewContent checks the geometry: length at least 1, piece length a power of two from MinPieceLength to
// MaxPieceLength, at most MaxPieces pieces.
func NewContent(root Root, length, pieceLength int64) (Content, error) {
	if err := checkPieceLength(pieceLength); err != nil {
		return Content{}, fmt.Errorf("content %v: %w", root, err)
	}
	switch {
	case length == 0:
		return Content{}, fmt.Errorf("content %v: %w", root, ErrEmpty)
	case length < 0:
		return Content{}, fmt.Errorf("content %v: length %d", root, length)
	case (length-1)/pieceLength >= MaxPieces:
		return Content{}, fmt.Errorf("content %v: more than %d pieces of %d bytes", root, MaxPieces, pieceLength)
	}
	return Content{root, length, pieceLength}, nil
}

// ErrEmpty is the error of content without a byte: there is nothing to transfer, and BEP 52 gives it no root.
var ErrEmpty = errors.New("empty content is not transferred")

func checkPieceLength(n int64) error {
	if n < MinPieceLength || n > MaxPieceLength || bits.OnesCount64(uint64(n)) != 1 {
		return fmt.Errorf("piece length %d is no power of two from %d to %d", n, MinPieceLength, MaxPieceLength)
	}
	return nil
}

// Root returns the name of the content.
func (c Content) Root() Root { return c.root }

// Length returns the length of the file in bytes.
func (c Content) Length() int64 { return c.length }

// PieceLength returns the length in bytes of every piece but the last.
func (c Content) PieceLength() int64 { return c.pieceLength }

// Pieces returns the number of pieces.
func (c Content) Pieces() int { return int((c.length + c.pieceLength - 1) / c.pieceLength) }

// Offset returns where piece i begins in the file. It panics when there is no piece i.
func (c Content) Offset(i int) int64 {
	c.mustHave(i)
	return int64(i) * c.pieceLength
}

// PieceSize returns the length of piece i in bytes: PieceLength for all but the last. It panics when there is no piece i.
func (c Content) PieceSize(i int) int64 {
	c.mustHave(i)
	return min(c.pieceLength, c.length-int64(i)*c.pieceLength)
}

func (c Content) mustHave(i int) {
	if i < 0 || i >= c.Pieces() {
		panic(fmt.Sprintf("piecehash: no piece %d among %d", i, c.Pieces()))
	}
}

// LayerSize returns the length in bytes of the encoded piece layer: 0 for content of one piece, which has none.
func (c Content) LayerSize() int64 {
	if n := c.Pieces(); n > 1 {
		return int64(n) * 32
	}
	return 0
}

// Manifest is content with its proved piece layer. Only Content.Prove and the Sum functions make one.
type Manifest struct {
	Content
	layer []Hash // the proved piece hashes; for one piece, the root itself
}

// PieceHash returns the hash of piece i.
func (m *Manifest) PieceHash(i int) Hash {
	m.mustHave(i)
	return m.layer[i]
}

// Layer returns the encoded piece layer: the hashes of all pieces one after the other, empty for content of one piece.
func (m *Manifest) Layer() []byte {
	if m.Pieces() == 1 {
		return nil
	}
	b := make([]byte, 0, len(m.layer)*32)
	for _, h := range m.layer {
		b = append(b, h[:]...)
	}
	return b
}

// Mismatch is the error of bytes that are not what the root or the layer promises.
type Mismatch struct {
	Piece     int // the piece, -1 for the piece layer
	Want, Got Hash
}

func (e *Mismatch) Error() string {
	if e.Piece < 0 {
		return fmt.Sprintf("piece layer does not lead to the root: want %v, got %v", e.Want, e.Got)
	}
	return fmt.Sprintf("piece %d is not what the root promises: want %v, got %v", e.Piece, e.Want, e.Got)
}

// ErrLayerSize is the error of a piece layer whose length does not fit the content.
var ErrLayerSize = errors.New("piece layer has the wrong length")

// Prove checks an encoded piece layer against the root (BEP 52, "piece layers": upper padding is the hash of a zero
// subtree). The error is ErrLayerSize or a *Mismatch. layer is not kept.
func (c Content) Prove(layer []byte) (*Manifest, error) {
	if int64(len(layer)) != c.LayerSize() {
		return nil, fmt.Errorf("content %v: %w: %d bytes, want %d", c.root, ErrLayerSize, len(layer), c.LayerSize())
	}
	n := c.Pieces()
	if n == 1 {
		return &Manifest{c, []Hash{Hash(c.root)}}, nil
	}
	hashes := make([]Hash, n)
	for i := range hashes {
		copy(hashes[i][:], layer[i*32:])
	}
	if got := rootOfLayer(hashes, c.pieceLength); Root(got) != c.root {
		return nil, fmt.Errorf("content %v: %w", c.root, &Mismatch{Piece: -1, Want: Hash(c.root), Got: got})
	}
	return &Manifest{c, hashes}, nil
}

// Check reports whether b is piece i. The error is a *Mismatch. It is safe for concurrent use.
func (m *Manifest) Check(i int, b []byte) error {
	m.mustHave(i)
	var got Hash
	if int64(len(b)) == m.PieceSize(i) {
		got = hashPiece(b, m.leavesOfPiece())
	}
	if got != m.layer[i] {
		return &Mismatch{Piece: i, Want: m.layer[i], Got: got}
	}
	return nil
}

// leavesOfPiece is the width of the subtree of any piece in leaves: a full piece, also for a short last one; but a file
// of at most one piece is padded only to the next power of two.
func (c Content) leavesOfPiece() int {
	if c.length <= c.pieceLength {
		return nextPow2(leaves(c.length))
	}
	return leaves(c.pieceLength)
}

// leaves is the number of leaves that n bytes reach.
func leaves(n int64) int { return int((n + LeafSize - 1) / LeafSize) }
