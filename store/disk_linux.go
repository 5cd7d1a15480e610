package store

import (
	"os"

	"golang.org/x/sys/unix"
)

func fallocate(f *os.File, length int64) error { return unix.Fallocate(int(f.Fd()), 0, 0, length) }

// syncData makes the bytes of f durable; the times of the file may wait.
func syncData(f *os.File) error { return retry(func() error { return unix.Fdatasync(int(f.Fd())) }) }
