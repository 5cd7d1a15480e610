// Package filelock keeps two processes from changing the same folder at once: an advisory lock (flock) on a file that
// lies beside what it guards. The kernel drops the lock when its process dies, so a crash never leaves one behind. It
// trusts the file system to be local; over NFS the lock may guard only one machine. Start reading at Acquire.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Patience is how long Acquire waits for another holder before it gives up.
const Patience = 10 * time.Second

const retryEvery = 50 * time.Millisecond

// Lock is a held lock. Release gives it back; a Lock must not be copied.
type Lock struct{ f *os.File }

// Acquire takes the exclusive lock on the file path, which it makes (0600) when it is missing and never removes. One that
// is there can be locked on a read-only disk too. It waits
// up to Patience, or until ctx is done; then the error is of kind fault.Unavailable. The lock belongs to this call, not
// to the process: a second Acquire in the same process waits too.
func Acquire(ctx context.Context, path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EROFS) { // what is guarded may still be read, and the lock needs no writing
		f, err = os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return &Lock{f}, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fault.WithHint(fault.New(fault.Unavailable, "lock %s: another process holds it: %w", path, ctx.Err()),
				"wait until the other dunlin command has ended, then run this one again")
		case <-time.After(retryEvery):
		}
	}
}

// Release gives the lock back.
func (l *Lock) Release() error { return l.f.Close() }
