package filelock_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/filelock"
)

func TestOneHolderAtATime(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	var inside atomic.Int32
	done := make(chan error)
	for range 4 {
		go func() {
			l, err := filelock.Acquire(t.Context(), path)
			if err == nil {
				if inside.Add(1) != 1 {
					t.Error("two holders")
				}
				time.Sleep(time.Millisecond)
				inside.Add(-1)
				err = l.Release()
			}
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestGivesUpWithTheContext(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	l, err := filelock.Acquire(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := filelock.Acquire(ctx, path); !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
}

func TestNoFolderNoLock(t *testing.T) {
	t.Parallel()
	if _, err := filelock.Acquire(t.Context(), filepath.Join(t.TempDir(), "no", "lock")); err == nil {
		t.Error("locked a file in no folder")
	}
}
