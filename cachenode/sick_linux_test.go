package cachenode

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/disktest"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store/room"
)

// onSickDisk gives the world a store on a disk that can break, with one content, and a file behind whose first byte whatever is
// written later comes to lie.
func (w *world) onSickDisk() (d *disktest.Disk, before piecehash.Root, data []byte, fence string) {
	w.t.Helper()
	d = disktest.Real(w.t, 64<<20)
	w.onDisk(d.Dir)
	before, data = w.stock(1)
	disktest.Forget(w.t, w.sealed(before))
	fence = filepath.Join(d.Dir, "fence")
	if err := os.WriteFile(fence, make([]byte, 1<<20), 0o600); err != nil {
		w.t.Fatal(err)
	}
	disktest.Forget(w.t, fence)
	return d, before, data, fence
}

func (w *world) sealed(root piecehash.Root) string {
	return filepath.Join(w.dir, "sealed", root.String())
}

// runLogged starts the node, and returns what it says.
func (w *world) runLogged() *lines {
	log := new(lines)
	w.run(func(c *Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) })
	return log
}

// awaitTrouble waits until the node says how its disk stands.
func (w *world) awaitTrouble(want room.Trouble) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		w.node.keeper.Tidy()
		st := w.node.RoomStatus()
		if st.Trouble == want {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("status %+v, want trouble %q", st, want)
		}
	}
}

// rightOrNothing checks that an answer has no wrong byte: it is whole, it breaks off, or it is a refusal that says why.
func rightOrNothing(t *testing.T, what string, resp *http.Response, data []byte) {
	t.Helper()
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	switch {
	case resp.StatusCode == 503 && strings.Contains(string(got), "disk is full or broken") && resp.Header.Get("Retry-After") != "":
	case resp.StatusCode == 200 && bytes.HasPrefix(data, got) && (err != nil || len(got) == len(data)):
	default:
		t.Errorf("%s: status %d with %d bytes, %v", what, resp.StatusCode, len(got), err)
	}
}

// TestDiskThatLosesWhatIsWritten: a write that fails does so later, when all has long been sent. Nothing is called stored that is
// not on the disk; what is there is served on, it is said once, and passes by itself.
func TestDiskThatLosesWhatIsWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4<<20)
	w.line(64 << 20)
	d, before, beforeData, fence := w.onSickDisk()
	log := w.runLogged()
	d.BreakAt(t, fence, 0)
	for i := range 3 {
		rightOrNothing(t, "cold", w.ask("GET", w.m.Root()), w.data)
		w.awaitTrouble(room.Broken)
		wants(t, "what is stored", w.ask("GET", before), 200, beforeData)
		if i < 2 {
			w.forgive()
		}
	}
	if w.store.Has(w.m.Root()) {
		t.Error("it is called stored")
	}
	if n := log.count("level=ERROR"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	d.Mend(t)
	w.settle()
	wants(t, "mended", w.ask("GET", w.m.Root()), 200, w.data)
	w.awaitTrouble(room.Fine)
	disktest.Forget(t, w.sealed(w.m.Root()))
	wants(t, "from the disk", w.ask("GET", w.m.Root()), 200, w.data)
}

// settle waits for the fetches under way, and has the node try again at once.
func (w *world) settle() {
	for w.node.working() {
		time.Sleep(time.Millisecond)
	}
	w.forgive()
}

// TestDiskThatCannotBeRead: no wrong byte leaves, what can be read is served on, it is said, and the content is there again when
// the disk is well.
func TestDiskThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4<<20)
	w.line(64 << 20)
	d, before, beforeData, _ := w.onSickDisk()
	w.fill()
	log := w.runLogged()
	root := w.m.Root()
	wants(t, "well", w.ask("GET", root), 200, w.data) // from now on no piece is hashed again unless its reading fails
	d.BreakAt(t, w.sealed(root), 2<<20)
	disktest.Forget(t, w.sealed(root))
	wants(t, "what can be read", w.ask("GET", root, "Range", "bytes=0-999999"), 206, w.data[:1000000])
	rightOrNothing(t, "what cannot", w.ask("GET", root), w.data)
	w.awaitTrouble(room.Broken)
	rightOrNothing(t, "what cannot, again", w.ask("GET", root), w.data)
	wants(t, "other content", w.ask("GET", before), 200, beforeData)
	if n := log.count("level=ERROR"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	d.Mend(t)
	w.settle()
	wants(t, "mended", w.ask("GET", root), 200, w.data)
	w.awaitTrouble(room.Fine)
	disktest.Forget(t, w.sealed(root))
	wants(t, "from the disk", w.ask("GET", root), 200, w.data)
}

// TestUnreadableRecord: content that is known by nothing else is not called unknown for it.
func TestUnreadableRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1<<20)
	d, before, beforeData, _ := w.onSickDisk()
	w.runLogged()
	wants(t, "well", w.ask("GET", before), 200, beforeData)
	err := room.ErrInUse
	for errors.Is(err, room.ErrInUse) { // the node lets go of it a moment after the client has all
		time.Sleep(time.Millisecond)
		err = w.node.renew(before, func(piecehash.Root) error { // it is opened anew
			disktest.Forget(t, w.sealed(before)+".manifest")
			d.Break(t)
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	if text := refusal(t, w.ask("GET", before)); !strings.Contains(text, "disk is full or broken") {
		t.Errorf("the answer is %q", text)
	}
	d.Mend(t)
	wants(t, "mended", w.ask("GET", before), 200, beforeData)
}
