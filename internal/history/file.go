package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
)

const (
	fileMode fs.FileMode = 0o600
	// maxFile is more than a file of ours can have, in bytes: (360 + 840) rows of 9 numbers of at most 17 bytes.
	maxFile     = 256 << 10
	maxAmount   = 1 << 53 // bytes in one bucket; beyond, JSON of others would not be exact
	maxUnit     = 1 << 33 // minutes since 1970
	fileVersion = 1
	asideSuffix = ".damaged"
)

// file is the form on the disk. A row is the number of the unit since 1970 and the amounts, in the order of their kinds.
type file struct {
	Version int       `json:"version"`
	Minutes [][]int64 `json:"minutes"`
	Hours   [][]int64 `json:"hours"`
}

// Open reads what an earlier process has left at path. A file that is damaged is set aside under the same name with
// ".damaged", in place of an older one, and the history begins anew; one that cannot be read is left alone, and nothing is
// kept then. log may be nil.
func Open(path string, log *slog.Logger) *History {
	h := New()
	if log != nil {
		h.log = log
	}
	b, err := readFile(path)
	if err == nil {
		err = h.decode(b)
	}
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		h.path = path
	case fault.Is(err, fault.Untrusted):
		h.log.Warn("what came and went before is forgotten: its file is damaged and set aside", slog.String("file", path+asideSuffix), slog.Any("err", err))
		if err := durable.Rename(path, path+asideSuffix); err != nil {
			h.log.Warn("it could not be set aside", slog.Any("err", err))
			return h
		}
		h.path = path
	default:
		h.log.Warn("what came and went is not kept", slog.Any("err", err))
	}
	return h
}

// readFile returns what a file has, up to one byte more than it may have. What is no file is never opened: it could block.
func readFile(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read history: %s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	return b, nil
}

func damaged(format string, args ...any) error {
	return fault.New(fault.Untrusted, "read history: "+format, args...)
}

// decode believes all of b or nothing.
func (h *History) decode(b []byte) error {
	if len(b) > maxFile {
		return damaged("it has more than %d bytes", maxFile)
	}
	var f file
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return damaged("%w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return damaged("there is something after its end")
	}
	if f.Version != fileVersion {
		return damaged("its version is %d, not %d", f.Version, fileVersion)
	}
	minutes, err := bucketsOf(f.Minutes, MinutesKept, maxUnit)
	if err != nil {
		return err
	}
	hours, err := bucketsOf(f.Hours, HoursKept, maxUnit/hour)
	if err != nil {
		return err
	}
	h.minutes.buckets, h.hours.buckets = minutes, hours
	return nil
}

func bucketsOf(rows [][]int64, most int, latest int64) ([]bucket, error) {
	if len(rows) > most {
		return nil, damaged("%d rows, at most %d", len(rows), most)
	}
	out := make([]bucket, 0, len(rows))
	for i, row := range rows {
		if len(row) != 1+kinds {
			return nil, damaged("row %d has %d numbers, not %d", i, len(row), 1+kinds)
		}
		b := bucket{row[0], Amounts(row[1:])}
		if b.at < 0 || b.at > latest || i > 0 && b.at <= out[i-1].at {
			return nil, damaged("row %d is of a time that cannot be", i)
		}
		for _, n := range b.Amounts {
			if n < 0 || n > maxAmount {
				return nil, damaged("row %d counts %d bytes", i, n)
			}
		}
		out = append(out, b)
	}
	return out, nil
}

// Save writes what the file does not have yet, so that it survives a power cut.
func (h *History) Save() error {
	h.mu.Lock()
	if h.path == "" || !h.dirty {
		h.mu.Unlock()
		return nil
	}
	f := file{Version: fileVersion, Minutes: rowsOf(h.minutes.buckets), Hours: rowsOf(h.hours.buckets)}
	h.dirty = false
	h.mu.Unlock()
	b, err := json.Marshal(f)
	if err == nil {
		err = durable.WriteFile(h.path, append(b, '\n'), fileMode)
	}
	if err != nil {
		h.mu.Lock()
		h.dirty = true
		h.mu.Unlock()
		return fmt.Errorf("keep history: %w", err)
	}
	return nil
}

func rowsOf(buckets []bucket) [][]int64 {
	out := make([][]int64, 0, len(buckets))
	for _, b := range buckets {
		row := append(make([]int64, 0, 1+kinds), b.at)
		for _, n := range b.Amounts {
			row = append(row, min(n, maxAmount))
		}
		out = append(out, row)
	}
	return out
}
