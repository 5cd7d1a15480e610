package urlcache

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/disktest"
)

// onSickDisk gives the world a disk that can break, and a file behind whose first byte whatever is written later comes to lie.
func (w *world) onSickDisk() (d *disktest.Disk, fence string) {
	w.t.Helper()
	d = disktest.Real(w.t, 64<<20)
	w.dir = filepath.Join(d.Dir, "urls")
	fence = filepath.Join(d.Dir, "fence")
	if err := os.WriteFile(fence, make([]byte, 1<<20), 0o600); err != nil {
		w.t.Fatal(err)
	}
	disktest.Forget(w.t, fence)
	return d, fence
}

// rest waits until nothing is on its way, to here or to the disk.
func (w *world) rest() {
	for {
		busy := false
		w.cache.mu.Lock()
		for e := range w.cache.opened {
			e.gen.mu.Lock()
			busy = busy || e.gen.streams > 0 || e.gen.confirming
			e.gen.mu.Unlock()
		}
		w.cache.mu.Unlock()
		if !busy {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// forgive has the cache keep files again at once.
func (w *world) forgive() {
	w.cache.paused.Store(0)
	w.cache.mu.Lock()
	defer w.cache.mu.Unlock()
	for _, e := range w.cache.entries {
		e.passUntil = time.Time{}
	}
}

// forget has the kernel forget what it has in memory of all that is kept.
func (w *world) forget(kind string) {
	w.t.Helper()
	all, err := filepath.Glob(filepath.Join(w.dir, "*", "*."+kind))
	if err != nil || len(all) == 0 {
		w.t.Fatalf("files of kind %s: %v, %v", kind, all, err)
	}
	disktest.Forget(w.t, all...)
}

func (w *world) mustBeBroken(what string) {
	w.t.Helper()
	if err := w.cache.Trouble(); !errors.Is(err, syscall.EIO) {
		w.t.Errorf("%s: the trouble is said to be %v", what, err)
	}
}

// TestDiskThatLosesWhatIsWritten: a write that fails does so later, behind the back of who has written. What the disk has not
// taken is not counted as kept, every answer is right, and when the disk is well all is kept again.
func TestDiskThatLosesWhatIsWritten(t *testing.T) {
	t.Parallel()
	b := data(70, 40*testSlice)
	w := newWorld(t, b)
	d, fence := w.onSickDisk()
	w.run()
	wants(t, "begin", w.ask("GET", "/f", "Range", "bytes=0-99"), 206, b[:100])
	w.rest()
	d.BreakAt(t, fence, 0)
	wants(t, "into memory", w.ask("GET", "/f"), 200, b)
	w.rest()
	w.mustBeBroken("written")
	if n := w.cache.Bytes(); n > int64(len(b))/2 {
		t.Errorf("%d bytes are said to be kept", n)
	}
	wants(t, "broken", w.ask("GET", "/f", "Range", "bytes=1000000-2000000"), 206, b[1000000:2000001])
	wants(t, "another", w.ask("GET", "/g"), 200, b)
	d.Mend(t)
	w.forget(kindBytes)
	w.forgive()
	wants(t, "mended", w.ask("GET", "/f"), 200, b)
	w.rest()
	w.forget(kindBytes)
	before := w.gate.Total()
	wants(t, "from the disk", w.ask("GET", "/f"), 200, b)
	if got := w.gate.Total() - before; got != 0 || w.cache.Trouble() != nil {
		t.Errorf("%d bytes were fetched, trouble %v", got, w.cache.Trouble())
	}
}

// TestDiskThatCannotBeRead: the answer that meets it goes on with bytes of the origin, the next ones too, and it is read again
// when it is well.
func TestDiskThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := data(71, 40*testSlice)
	w := newWorld(t, b)
	d, _ := w.onSickDisk()
	w.run()
	wants(t, "cold", w.ask("GET", "/f"), 200, b)
	w.rest()
	d.BreakAt(t, w.file(kindBytes), 10*testSlice)
	w.forget(kindBytes)
	wants(t, "unreadable", w.ask("GET", "/f"), 200, b)
	w.rest()
	w.mustBeBroken("fetched again") // what was fetched in place of it could not be written either
	wants(t, "a piece of it", w.ask("GET", "/f", "Range", "bytes=2000000-2000099"), 206, b[2000000:2000100])
	d.Mend(t)
	w.forgive()
	w.forget(kindBytes)
	wants(t, "mended", w.ask("GET", "/f"), 200, b)
	w.rest()
	if n := w.cache.Bytes(); n != int64(len(b)) {
		t.Errorf("%d bytes are kept, of %d", n, len(b))
	}
}

// TestUnreadableRecord: what cannot be looked at now is passed through and not deleted.
func TestUnreadableRecord(t *testing.T) {
	t.Parallel()
	b := data(72, 20*testSlice)
	w := newWorld(t, b)
	d, _ := w.onSickDisk()
	w.run()
	wants(t, "cold", w.ask("GET", "/f"), 200, b)
	w.rest()
	w.again()
	for _, kind := range []string{kindRecord, kindSums, kindBytes} {
		w.forget(kind)
	}
	d.Break(t)
	wants(t, "unreadable", w.ask("GET", "/f"), 200, b)
	w.mustBeBroken("opened")
	resp := w.ask("GET", "/g", "Cache-Control", "only-if-cached")
	if resp.Body.Close(); resp.StatusCode != 504 {
		t.Errorf("only-if-cached: status %d", resp.StatusCode)
	}
	d.Mend(t)
	w.forgive()
	before := w.gate.Total()
	wants(t, "mended", w.ask("GET", "/f"), 200, b)
	if got := w.gate.Total() - before; got != 0 {
		t.Errorf("%d bytes were fetched of what was there all the time", got)
	}
}
