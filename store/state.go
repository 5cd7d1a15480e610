package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// The state file says which pieces of a partial file are there. It has two slots of equal size, a multiple of slotUnit,
// that are written in turn, each in one place: a write that a crash tears damages one slot, the other still holds the
// state before. So it never needs a new block, and a full disk cannot keep the state from being saved. A slot, integers
// big-endian:
//
//	 8  magic and version
//	 8  sequence number; the valid slot with the higher one counts
//	32  root
//	 8  length of the content in bytes
//	 8  piece length in bytes
//	 n  bitmap, as piecehash.Bitmap.Bytes
//	32  SHA-256 of all before
//	    zeros to the end of the slot
const (
	stateMagic  = "dunlinS\x01"
	stateHeader = len(stateMagic) + 8 + 32 + 8 + 8
	slotUnit    = 4 << 10 // a block, so that the slots never share one
	maxState    = 2 * ((stateHeader+piecehash.MaxPieces/8+sha256.Size)/slotUnit + 1) * slotUnit
)

// state is what a slot says.
type state struct {
	content piecehash.Content
	seq     uint64
	have    piecehash.Bitmap
}

func slotSize(c piecehash.Content) int {
	n := stateHeader + (c.Pieces()+7)/8 + sha256.Size
	return (n + slotUnit - 1) / slotUnit * slotUnit
}

func (s state) encode() []byte {
	b := make([]byte, 0, slotSize(s.content))
	b = append(b, stateMagic...)
	b = binary.BigEndian.AppendUint64(b, s.seq)
	root := s.content.Root()
	b = append(b, root[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.content.Length()))
	b = binary.BigEndian.AppendUint64(b, uint64(s.content.PieceLength()))
	b = append(b, s.have.Bytes()...)
	sum := sha256.Sum256(b)
	b = append(b, sum[:]...)
	return b[:cap(b)]
}

// decodeState returns the newest valid slot of a state file.
func decodeState(b []byte) (state, error) {
	if len(b) > maxState || len(b)%(2*slotUnit) != 0 {
		return state{}, fmt.Errorf("decode state: %d bytes", len(b))
	}
	first, err1 := decodeSlot(b[:len(b)/2])
	second, err2 := decodeSlot(b[len(b)/2:])
	switch {
	case err1 != nil && err2 != nil:
		return state{}, fmt.Errorf("decode state: %w", errors.Join(err1, err2))
	case err1 != nil, err2 == nil && second.seq > first.seq:
		return second, nil
	default:
		return first, nil
	}
}

func decodeSlot(b []byte) (state, error) {
	if len(b) < stateHeader || string(b[:len(stateMagic)]) != stateMagic {
		return state{}, errors.New("slot has another magic")
	}
	rest := b[len(stateMagic):]
	seq := binary.BigEndian.Uint64(rest)
	root := piecehash.Root(rest[8:40])
	content, err := piecehash.NewContent(root, int64(binary.BigEndian.Uint64(rest[40:])), int64(binary.BigEndian.Uint64(rest[48:])))
	if err != nil {
		return state{}, err
	}
	if len(b) != slotSize(content) {
		return state{}, fmt.Errorf("slot has %d bytes, want %d", len(b), slotSize(content))
	}
	end := stateHeader + (content.Pieces()+7)/8
	if sum := sha256.Sum256(b[:end]); !bytes.Equal(sum[:], b[end:end+len(sum)]) {
		return state{}, errors.New("slot does not have the checksum it promises")
	}
	have, err := piecehash.ParseBitmap(content.Pieces(), b[stateHeader:end])
	return state{content, seq, have}, err
}

// stateFile is an open and locked state file: whoever has it owns the partial file beside it.
type stateFile struct {
	f   *os.File
	seq uint64
}

// openState opens and locks the state file at path, which it makes (empty) when it is missing. The error is
// fault.Unavailable when another process, or another Partial of this one, has it.
func openState(path string) (*stateFile, error) {
	for {
		f, err := openRegular(path, os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.WithHint(fault.New(fault.Unavailable, "open state: %w", err), "make the folder first, or choose another one")
		}
		if err != nil {
			return nil, fmt.Errorf("open state: %w", err)
		}
		if err := lock(f); err != nil {
			f.Close()
			if errors.Is(err, ErrBusy) {
				return nil, fault.WithHint(fault.New(fault.Unavailable, "lock %s: %w", path, err),
					"wait for it to end, or end it, then try again")
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if current(f, path) {
			return &stateFile{f: f}, nil
		}
		f.Close() // its last owner removed it between our open and our lock
	}
}

func current(f *os.File, path string) bool {
	mine, err1 := f.Stat()
	there, err2 := os.Lstat(path)
	return err1 == nil && err2 == nil && os.SameFile(mine, there)
}

// load reads what the file says. An empty file, as a crash between making and filling it leaves it, is fs.ErrNotExist.
func (s *stateFile) load() (state, error) {
	b, err := readAll(s.f, int64(maxState))
	if err != nil {
		return state{}, err
	}
	if len(b) == 0 {
		return state{}, fmt.Errorf("load %s: it is empty: %w", s.f.Name(), fs.ErrNotExist)
	}
	return decodeState(b)
}

// begin writes both slots, so that every later save stays in its place.
func (s *stateFile) begin(c piecehash.Content, have piecehash.Bitmap) error {
	if err := s.f.Truncate(int64(2 * slotSize(c))); err != nil {
		return err
	}
	if err := s.save(c, have); err != nil {
		return err
	}
	return s.save(c, have)
}

// save makes a new state durable, in the place of the older slot.
func (s *stateFile) save(c piecehash.Content, have piecehash.Bitmap) error {
	b := state{c, s.seq + 1, have}.encode()
	if _, err := s.f.WriteAt(b, int64(s.seq%2)*int64(len(b))); err != nil {
		return err
	}
	s.seq++
	return syncData(s.f)
}

// remove deletes the file while it is still locked.
func (s *stateFile) remove() error {
	return errors.Join(unix.Unlink(s.f.Name()), s.f.Close())
}

func (s *stateFile) close() error { return s.f.Close() }
