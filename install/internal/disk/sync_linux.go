package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

func syncAll(f *os.File) error { return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd()))) }
