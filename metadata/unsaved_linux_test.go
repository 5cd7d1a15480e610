package metadata_test

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/tuf"
)

// small puts the folder of a device onto a disk of its own, which is small, and makes the view of one offer the last one saved.
// It needs root.
func small(t *testing.T) *device {
	t.Helper()
	d := newDevice(t)
	dir := t.TempDir()
	d.cfg.Dir = dir
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	d.open()
	d.good()
	return d
}

// lost takes the disk away in one of two ways, and returns what gives it back.
var lost = map[string]func(t *testing.T, dir string) (back func()){
	"full": func(t *testing.T, dir string) func() {
		t.Helper()
		path := filepath.Join(dir, "others")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for block := make([]byte, 4096); err == nil; {
			_, _ = rand.Read(block)
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		return func() { must(t, os.Remove(path)) }
	},
	"read-only": func(t *testing.T, dir string) func() {
		t.Helper()
		must(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
		return func() { must(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "")) }
	},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// withdraw takes the approval of the only offer back, and returns what the depot served before.
func (d *device) withdraw() (before map[string][]byte) {
	before = d.depot.files
	d.org.Unapprove("pilot", "acme", "app", "1.0")
	d.publish()
	return before
}

// offers returns how many a view has, -1 for none.
func offers(v *metadata.View) int {
	if v == nil {
		return -1
	}
	return len(v.Offers("pilot"))
}

// last is what counts without a network: in this process, and in one that begins now.
func (d *device) last() (here, restarted int) {
	d.t.Helper()
	other, err := metadata.NewClient(d.cfg)
	must(d.t, err)
	mine, _, _ := d.client.Last(start())
	theirs, _, _ := other.Last(start())
	return offers(mine), offers(theirs)
}

// TestAWithdrawalIsHeededWithoutADisk: what cannot be saved counts all the same, also against a rollback, is said to be unsaved,
// and is saved as soon as it can be, whether or not the depot answers then.
func TestAWithdrawalIsHeededWithoutADisk(t *testing.T) {
	t.Parallel()
	for how, lose := range lost {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			d := small(t)
			back := lose(t, d.cfg.Dir)
			before := d.withdraw()
			v, b, err := d.client.Sync(t.Context(), start())
			if offers(v) != 0 || !errors.Is(err, metadata.ErrUnsaved) || !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
				t.Fatalf("%d offers, %v (%s)", offers(v), err, fault.Hint(err))
			}
			if again, err := metadata.Open(d.cfg.Anchor, b, start()); err != nil || offers(again) != 0 {
				t.Errorf("the bundle opens to %d offers: %v", offers(again), err)
			}
			if here, restarted := d.last(); here != 0 || restarted != 1 {
				t.Errorf("%d offers here, %d after a restart", here, restarted)
			}

			d.depot.set(func(p *depot) { p.files = before })
			var older *tuf.RollbackError
			if v, _, err := d.client.Sync(t.Context(), start()); v != nil || !errors.As(err, &older) {
				t.Errorf("a rollback of what is in memory: %d offers, %v", offers(v), err)
			}
			d.depot.set(func(p *depot) { p.away = true })
			if v, _, err := d.client.Sync(t.Context(), start()); offers(v) != 0 || !fault.Is(err, fault.Unavailable) {
				t.Errorf("the depot away: %d offers, %v", offers(v), err)
			}

			back()
			if v, _, err := d.client.Sync(t.Context(), start()); offers(v) != 0 || errors.Is(err, metadata.ErrUnsaved) {
				t.Errorf("the disk is back: %d offers, %v", offers(v), err)
			}
			if here, restarted := d.last(); here != 0 || restarted != 0 {
				t.Errorf("the disk is back: %d offers here, %d after a restart", here, restarted)
			}
			d.open() // a restart
			d.depot.set(func(p *depot) { p.away = false })
			if v, _, err := d.client.Sync(t.Context(), start()); v != nil || !errors.As(err, &older) {
				t.Errorf("a rollback of what was saved late: %d offers, %v", offers(v), err)
			}
		})
	}
}

// TestNothingWasEverSaved: a device whose disk is read-only from the beginning, and one that comes to trust a new publisher.
func TestNothingWasEverSaved(t *testing.T) {
	t.Parallel()
	d := small(t)
	d.cfg.Dir = filepath.Join(d.cfg.Dir, "new")
	d.open()
	back := lost["read-only"](t, filepath.Dir(d.cfg.Dir))
	for range 2 {
		if v, _, err := d.client.Sync(t.Context(), start()); offers(v) != 1 || !errors.Is(err, metadata.ErrUnsaved) {
			t.Errorf("%d offers, %v", offers(v), err)
		}
	}
	p := d.org.Trust("other")
	d.org.Approve("pilot", p, p.Release("tool", "1", 1, payload()), nil)
	d.publish()
	if v, _, err := d.client.Sync(t.Context(), start()); offers(v) != 2 || !errors.Is(err, metadata.ErrUnsaved) {
		t.Errorf("a new publisher: %d offers, %v", offers(v), err)
	}
	back()
	if v, _, err := d.client.Sync(t.Context(), start()); offers(v) != 2 || err != nil {
		t.Errorf("the disk is back: %d offers, %v", offers(v), err)
	}
	if _, restarted := d.last(); restarted != 2 {
		t.Errorf("the disk is back: %d offers after a restart", restarted)
	}
}

// TestAnotherProcessWrites to the folder while this one has something unsaved: of the two the newer counts, and stays on the disk.
func TestAnotherProcessWrites(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		newer bool // what the other has seen
		want  int  // offers
	}{"older": {false, 0}, "newer": {true, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := small(t)
			d.org.Approve("pilot", d.pub, d.pub.Release("app", "1.1", 2, payload()), nil)
			between := d.org.Served()
			d.org.Approvals.PublishRoot()
			d.org.Unapprove("pilot", "acme", "app", "1.1")
			back := lost["full"](t, d.cfg.Dir)
			d.withdraw()
			if v, _, err := d.client.Sync(t.Context(), start()); offers(v) != 0 || !errors.Is(err, metadata.ErrUnsaved) {
				t.Fatalf("%d offers, %v", offers(v), err)
			}
			back()
			d.org.Approve("pilot", d.pub, d.app, nil)
			if d.publish(); !c.newer {
				d.depot.set(func(p *depot) { p.files = between })
			}
			other, err := metadata.NewClient(d.cfg)
			must(t, err)
			v, _, err := other.Sync(t.Context(), start())
			if err != nil || offers(v) == 0 {
				t.Fatalf("the other process: %d offers, %v", offers(v), err)
			}
			d.depot.set(func(p *depot) { p.away = true })
			if v, _, err := d.client.Sync(t.Context(), start()); offers(v) != c.want || errors.Is(err, metadata.ErrUnsaved) {
				t.Errorf("%d offers, want %d: %v", offers(v), c.want, err)
			}
			if here, restarted := d.last(); here != c.want || restarted != c.want {
				t.Errorf("%d offers here, %d after a restart, want %d", here, restarted, c.want)
			}
		})
	}
}
