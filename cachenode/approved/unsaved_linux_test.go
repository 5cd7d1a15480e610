package approved

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// TestWithdrawnWithoutADisk: a node whose disk is full or read-only gives away no more what was withdrawn, says so, and has it on
// the disk as soon as there is one. The organisation has signed where its depot is, so there are two places to ask.
func TestWithdrawnWithoutADisk(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"full", "read-only"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			disk := t.TempDir()
			if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
				t.Skipf("cannot mount: %v", err)
			}
			t.Cleanup(func() { must(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
			w.dir = filepath.Join(disk, "node")
			w.org.SetFleet(metadata.Fleet{Group: "ward-7", Depots: []string{w.url}, CA: string(w.ca.PEM), Pins: []metadata.Pin{w.ca.Pin()}})
			u := w.offer("pilot", "app", "1.0", 1, nil)
			c := w.synced()
			wants(t, "approved", c, u.Root, 0)
			before := c.Status().Synced

			filler := filepath.Join(disk, "filler")
			if how == "full" {
				if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
			} else {
				must(t, syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
			}
			w.change(func() { w.org.Unapprove("pilot", "acme", "app", "1.0") })
			time.Sleep(10 * time.Millisecond)
			if err := c.Sync(t.Context(), w.gate); !errors.Is(err, metadata.ErrUnsaved) {
				t.Errorf("without a disk: %v", err)
			}
			wants(t, "withdrawn", c, u.Root, fault.Refused)
			if s := c.Status(); !s.Synced.After(before) || s.Err == nil || s.Withdrawn != 1 {
				t.Errorf("%+v", s)
			}
			if log := w.log.String(); !strings.Contains(log, "could not be saved") || strings.Contains(log, "could not be brought up to date") {
				t.Errorf("log:\n%s", log)
			}
			w.away = true
			if err := c.Sync(t.Context(), w.gate); err == nil {
				t.Error("the depot is away")
			}
			wants(t, "withdrawn, the depot away", c, u.Root, fault.Refused)

			if how == "full" {
				must(t, os.Remove(filler))
			} else {
				must(t, syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, ""))
			}
			_ = c.Sync(t.Context(), w.gate) // the depot is still away
			wants(t, "the next process", w.open(), u.Root, fault.Refused)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
