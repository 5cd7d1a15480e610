package urlcache

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// A generation is three files named KEY.GENERATION.KIND in a folder named by the first two digits of the key: what it is, its
// bytes at their places, and the sums of the slices that are there, in the order in which they came. Only the record is
// synced: a slice without a sum is not there, and one whose sum does not fit is dropped before it leaves.
const (
	kindRecord = "record"
	kindBytes  = "bytes"
	kindSums   = "sums"
)

// files names the files of one generation.
type files struct {
	dir string // of the cache
	key key
	id  string
}

func (f files) path(kind string) string {
	name := f.key.String()
	return filepath.Join(f.dir, name[:2], name+"."+f.id+"."+kind)
}

// parseName reads the name of a file of a generation.
func parseName(name string) (k key, id, kind string, ok bool) {
	parts := strings.Split(name, ".")
	if len(parts) != 3 || len(parts[0]) != 2*len(k) || !isGeneration(parts[1]) {
		return k, "", "", false
	}
	b, err := hex.DecodeString(parts[0])
	if err != nil || strings.ToLower(parts[0]) != parts[0] {
		return k, "", "", false
	}
	switch parts[2] {
	case kindRecord, kindBytes, kindSums:
		return key(b), parts[1], parts[2], true
	}
	return k, "", "", false
}

func newGenerationID() string {
	var b [generationLength / 2]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// remove deletes a generation. What is left of it after a crash is found at the next start.
func (f files) remove() error {
	var errs []error
	for _, kind := range []string{kindRecord, kindSums, kindBytes} {
		if err := os.Remove(f.path(kind)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// create makes the files of a generation and writes its record.
func (f files) create(r record) (bytes, sums *os.File, err error) {
	if err := durable.MkdirPrivate(filepath.Dir(f.path(kindBytes))); err != nil {
		return nil, nil, err
	}
	if bytes, err = openFile(f.path(kindBytes), os.O_RDWR|os.O_CREATE|os.O_EXCL); err != nil {
		return nil, nil, err
	}
	if err = bytes.Truncate(r.Is.Size); err == nil {
		sums, err = openFile(f.path(kindSums), os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND)
	}
	if err == nil {
		err = f.write(r)
	}
	if err != nil {
		bytes.Close()
		if sums != nil {
			sums.Close()
		}
		_ = f.remove()
		return nil, nil, fmt.Errorf("keep %.100q: %w", r.URL, err)
	}
	return bytes, sums, nil
}

// write replaces the record.
func (f files) write(r record) error {
	b, err := r.encode()
	if err != nil {
		return err
	}
	if len(b) > maxRecord {
		return fault.New(fault.Unavailable, "write record: its %d bytes are too many", len(b))
	}
	return durable.WriteFile(f.path(kindRecord), b, 0o600)
}

// open reads a record and opens the files beside it.
func (f files) open(url string, slice int64) (r record, bytes, sums *os.File, err error) {
	b, err := readFile(f.path(kindRecord), maxRecord)
	if err == nil {
		r, err = parseRecord(b)
	}
	switch {
	case err != nil:
		return r, nil, nil, err
	case r.URL != url, r.Generation != f.id, r.Slice != slice:
		return r, nil, nil, errRecord
	}
	if bytes, err = openFile(f.path(kindBytes), os.O_RDWR); err != nil {
		return r, nil, nil, err
	}
	info, err := bytes.Stat()
	if err == nil && info.Size() != r.Is.Size {
		err = errRecord
	}
	if err == nil {
		sums, err = openFile(f.path(kindSums), os.O_RDWR|os.O_APPEND)
	}
	if err != nil {
		bytes.Close()
		return r, nil, nil, err
	}
	return r, bytes, sums, nil
}

func readFile(path string, most int64) ([]byte, error) {
	f, err := openFile(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = errRecord
	}
	return b, err
}

// openFile opens a regular file and nothing else: the folder is private, but links and pipes have no business there.
func openFile(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, fault.New(fault.Refused, "open %s: it is no regular file", path))
	}
	return f, nil
}

// freeBytes is what may still be written to the file system of f.
func freeBytes(f *os.File) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	if st.Bavail > maxSize {
		return maxSize, nil
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
