package handler

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"github.com/dunlin-project/dunlin/install"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// defaultMode is the mode of a file whose record has none.
const defaultMode = 0o644

// File installs the payload as one file at the destination. Whoever opens the destination finds the whole old file or the
// whole new one. A symlink there is replaced, not followed; a folder is never replaced.
type File struct{}

// Apply implements install.Handler.
func (File) Apply(ctx context.Context, v *install.Verified, t *install.Transaction) (install.Outcome, error) {
	mode, err := parseMode(v.Update())
	if err != nil {
		return install.Outcome{}, err
	}
	own, err := parseOwner(v.Update().Owner)
	if err != nil {
		return install.Outcome{}, err
	}
	p, err := t.Open(v.Update().Destination)
	if err != nil {
		return install.Outcome{}, err
	}
	if err := p.Begin(); err != nil {
		return install.Outcome{}, err
	}
	evidence, err := writeFile(ctx, p, v, mode, own)
	if err != nil {
		return install.Outcome{}, wrap("write file", err)
	}
	return install.Outcome{Evidence: evidence}, wrap("switch", p.Switch())
}

// writeFile writes and syncs the new file. Mode and owner are set while it still has no name that anybody looks for.
func writeFile(ctx context.Context, p *install.Place, v *install.Verified, mode fs.FileMode, own owner) (string, error) {
	f, err := p.OpenFile(p.New, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	n, err := io.Copy(f, v.Content(ctx))
	if err == nil && n != v.Length() {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && own.set {
		err = f.Chown(own.uid, own.gid)
	}
	err = errors.Join(err, f.Chmod(mode))
	if err == nil {
		err = f.Sync()
	}
	evidence, statErr := evidenceOf(f)
	return evidence, errors.Join(err, statErr, f.Close())
}

func parseMode(u *metadata.Update) (fs.FileMode, error) {
	if u.Mode == "" {
		return defaultMode, nil
	}
	m, err := strconv.ParseUint(u.Mode, 8, 9)
	return fs.FileMode(m), wrap("read mode", err)
}

// Installed implements install.Handler. The file is read only when it is not the one that Apply left.
func (File) Installed(ctx context.Context, r *install.Record) (bool, error) {
	info, err := os.Lstat(r.Destination)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() != r.Length) {
		return false, nil
	}
	if err != nil {
		return false, wrap("look at file", err)
	}
	f, err := os.OpenFile(r.Destination, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false, wrap("look at file", err)
	}
	defer f.Close()
	if evidence, err := evidenceOf(f); err == nil && evidence == r.Evidence {
		return true, nil
	}
	sum, err := hash(ctx, f)
	return sum == r.SHA256, wrap("look at file", err)
}

// evidenceOf changes with whatever is done to a file in the ordinary way.
func evidenceOf(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", nil
	}
	return fmt.Sprintf("%d:%d:%d", st.Ino, info.Size(), info.ModTime().UnixNano()), nil
}

func hash(ctx context.Context, r io.Reader) (piecehash.Hash, error) {
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return piecehash.Hash{}, err
		}
		n, err := r.Read(buf)
		h.Write(buf[:n])
		if err == io.EOF {
			return piecehash.Hash(h.Sum(nil)), nil
		}
		if err != nil {
			return piecehash.Hash{}, err
		}
	}
}
