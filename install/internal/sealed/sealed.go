// Package sealed keeps small files of state that know whether they are whole. A file is one line, with what it is and
// the SHA-256 of the rest, and the rest. A disk that loses a bit is told from a file that was never written. It is no
// defence against whoever can write to the folder: that is root, or us.
//
// Start reading at Encode and Decode.
package sealed

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dunlin-project/dunlin/internal/durable"
)

// ErrDamaged is the error of a file that is not what was written.
var ErrDamaged = errors.New("the file is damaged")

// mode of every file: nobody but the owner has business with them.
const mode = 0o600

// Encode returns body with the line that vouches for it. what names the format and its version; it holds no line break.
func Encode(what string, body []byte) []byte {
	return append(header(what, body), body...)
}

// Decode returns the body of an encoded file. The error is ErrDamaged, also when the file is of another format.
func Decode(what string, file []byte) ([]byte, error) {
	end := bytes.IndexByte(file, '\n') + 1
	body := file[end:]
	if end == 0 || !bytes.Equal(file[:end], header(what, body)) {
		return nil, fmt.Errorf("read %s: %w", what, ErrDamaged)
	}
	return body, nil
}

func header(what string, body []byte) []byte {
	return fmt.Appendf(nil, "%s %x\n", what, sha256.Sum256(body))
}

// Write replaces the file at path, durably.
func Write(path, what string, body []byte) error {
	return durable.WriteFile(path, Encode(what, body), mode)
}

// Read returns the body of the file at path, of which at most limit bytes are read. A file that is not there is
// fs.ErrNotExist; one that is longer, or no file at all, is ErrDamaged.
func Read(path, what string, limit int64) ([]byte, error) {
	if info, err := os.Lstat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: %s is no file: %w", what, path, ErrDamaged)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	case int64(len(b)) > limit:
		return nil, fmt.Errorf("read %s: more than %d bytes: %w", path, limit, ErrDamaged)
	}
	return Decode(what, b)
}
