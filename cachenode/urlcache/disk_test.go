package urlcache

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/disktest"
)

// again starts the cache anew on the same folder.
func (w *world) again() {
	w.t.Helper()
	w.stop()
	w.run()
}

// file returns the one file of a kind that the cache has.
func (w *world) file(kind string) string {
	w.t.Helper()
	all, err := filepath.Glob(filepath.Join(w.dir, "*", "*."+kind))
	if err != nil || len(all) != 1 {
		w.t.Fatalf("files of kind %s: %v, %v", kind, all, err)
	}
	return all[0]
}

// edit changes a file.
func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestRestart: what is kept is served without a word to the origin, as long as it is fresh; whatever has happened to the files
// meanwhile, every byte that leaves is right, and only what is damaged is fetched again.
func TestRestart(t *testing.T) {
	t.Parallel()
	b := data(60, 20*testSlice+99)
	for name, c := range map[string]struct {
		damage  func(w *world)
		fetched int64 // bytes after the start, at most
	}{
		"nothing": {func(*world) {}, 0},
		"a bit in a slice": {func(w *world) {
			edit(w.t, w.file(kindBytes), func(b []byte) []byte { b[5*testSlice+77] ^= 1; return b })
		}, testSlice},
		"a torn list": {func(w *world) {
			edit(w.t, w.file(kindSums), func(b []byte) []byte { return b[:len(b)-7] })
		}, testSlice},
		"rubbish at the end of the list": {func(w *world) {
			edit(w.t, w.file(kindSums), func(b []byte) []byte { return append(b, bytes.Repeat([]byte{1}, 100)...) })
		}, 0},
		"a bit in the list": {func(w *world) {
			edit(w.t, w.file(kindSums), func(b []byte) []byte { b[sumSize*10+9] ^= 4; return b })
		}, 11 * testSlice},
		"a bit in the record": {func(w *world) {
			edit(w.t, w.file(kindRecord), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, int64(len(b))},
		"a short file": {func(w *world) {
			edit(w.t, w.file(kindBytes), func(b []byte) []byte { return b[:len(b)/2] })
		}, int64(len(b))},
		"no list":   {func(w *world) { _ = os.Remove(w.file(kindSums)) }, int64(len(b))},
		"no record": {func(w *world) { _ = os.Remove(w.file(kindRecord)) }, int64(len(b))},
		"a link in place of the file": {func(w *world) {
			path := w.file(kindBytes)
			_ = os.Rename(path, path+".x")
			_ = os.Symlink(path+".x", path)
		}, int64(len(b))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, b)
			w.run()
			wants(t, "cold", w.ask("GET", "/f"), 200, b)
			w.stop()
			c.damage(w)
			w.run()
			wants(t, "range", w.ask("GET", "/f", "Range", "bytes=327000-400000"), 206, b[327000:400001])
			wants(t, "all", w.ask("GET", "/f"), 200, b)
			if got := w.gate.Total(); got > c.fetched {
				t.Errorf("%d bytes were fetched after the start, at most %d are lost", got, c.fetched)
			}
			if w.cache.Bytes() != int64(len(b)) {
				t.Errorf("%d bytes are kept, of %d", w.cache.Bytes(), len(b))
			}
			w.again()
			wants(t, "mended", w.ask("GET", "/f"), 200, b)
			if got := w.gate.Total(); got != 0 {
				t.Errorf("%d bytes were fetched after the second start", got)
			}
			w.stop()
		})
	}
}

// TestAnyMomentIsGood: the folder as it is at any moment of a fetch is one that a start makes something of. It is copied while
// the fetch goes on, which is worse than a crash: files of different moments stand side by side.
func TestAnyMomentIsGood(t *testing.T) {
	t.Parallel()
	b := data(61, 60*testSlice)
	w := newWorld(t, b)
	w.run()
	resp := w.ask("GET", "/f")
	defer resp.Body.Close()
	var moments []string
	for read := 0; read < len(b); read += len(b) / 6 {
		if _, err := io.ReadFull(resp.Body, make([]byte, len(b)/6)); err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(t.TempDir(), "urls")
		moments = append(moments, to)
		copyDir(t, w.dir, to)
	}
	w.stop()
	for _, dir := range moments {
		w.dir = dir
		w.run()
		wants(t, dir, w.ask("GET", "/f"), 200, b)
		if got := w.gate.Total() + w.cache.Bytes(); got > int64(2*len(b)) || w.cache.Bytes() != int64(len(b)) {
			t.Errorf("%d bytes are kept, of %d", w.cache.Bytes(), len(b))
		}
		w.stop()
	}
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it has just gone
		}
		rel, _ := filepath.Rel(from, path)
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRoom: what was used longest ago makes room, what is in use stays, and what is larger than all is passed through.
func TestRoom(t *testing.T) {
	t.Parallel()
	b := data(62, 8*testSlice)
	w := newWorld(t, b)
	w.change = func(c *Cache) { c.cfg.Size = 20 * testSlice }
	w.run()
	wants(t, "a", w.ask("GET", "/a"), 200, b)
	wants(t, "b", w.ask("GET", "/b"), 200, b)
	wants(t, "a", w.ask("GET", "/a"), 200, b)
	wants(t, "c", w.ask("GET", "/c"), 200, b)
	if got := w.cache.Bytes(); got > 20*testSlice {
		t.Errorf("%d bytes are kept, %d are allowed", got, 20*testSlice)
	}
	before := w.gate.Total()
	wants(t, "a", w.ask("GET", "/a"), 200, b)
	wants(t, "c", w.ask("GET", "/c"), 200, b)
	if got := w.gate.Total(); got != before {
		t.Errorf("what was used last had gone: %d bytes were fetched", got-before)
	}
	wants(t, "b", w.ask("GET", "/b"), 200, b)
	if got := w.gate.Total(); got != before+int64(len(b)) {
		t.Errorf("%d bytes were fetched for what was used longest ago, want %d", got-before, len(b))
	}
	large := data(63, 21*testSlice)
	w.origin.change(large)
	wants(t, "large", w.ask("GET", "/large"), 200, large)
	kept := w.cache.Bytes()
	if freed := w.cache.Evict(0); freed != kept || w.cache.Bytes() != 0 {
		t.Errorf("%d of %d bytes were freed, %d are kept", freed, kept, w.cache.Bytes())
	}
	if left, _ := filepath.Glob(filepath.Join(w.dir, "*", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestWhatIsReadIsNotEvicted.
func TestWhatIsReadIsNotEvicted(t *testing.T) {
	t.Parallel()
	b := data(64, 300*testSlice)
	w := newWorld(t, b)
	w.change = func(c *Cache) { c.grid.ahead = 32 * testSlice }
	w.run()
	resp := w.ask("GET", "/f")
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	w.cache.Evict(0)
	if rest, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(rest, b[10:]) {
		t.Errorf("%d bytes, %v", len(rest), err)
	}
}

// TestNoRoomOnTheDisk: the reserve is kept free; files are passed through then, and the answer is right.
func TestNoRoomOnTheDisk(t *testing.T) {
	t.Parallel()
	b := data(65, 30*testSlice)
	w := newWorld(t, b)
	w.change = func(c *Cache) { c.cfg.Reserve = 1 << 50 }
	w.run()
	for _, r := range [][2]int{{0, len(b) - 1}, {1000000, 1500000}} {
		wants(t, "passed", w.ask("GET", "/f", "Range", "bytes="+itoa(r[0])+"-"+itoa(r[1])), 206, b[r[0]:r[1]+1])
	}
	if w.cache.Bytes() != 0 {
		t.Errorf("%d bytes are kept", w.cache.Bytes())
	}
}

// TestFullDisk needs root, to mount a disk that is small.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	b := data(66, 40*testSlice)
	w := newWorld(t, b)
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	disktest.MemoryAt(t, w.dir, "size=1m,mode=0700")
	w.run()
	wants(t, "full", w.ask("GET", "/f"), 200, b)
	wants(t, "full again", w.ask("GET", "/f"), 200, b)
	if got := w.cache.Bytes(); got > 1<<20 {
		t.Errorf("%d bytes are kept on a disk of 1 MiB", got)
	}
	if !w.cache.isPaused(time.Now()) {
		t.Error("nothing was said")
	}
}

// TestDiskThatTakesNothing: the answer goes on past it, with the rest of the same version.
func TestDiskThatTakesNothing(t *testing.T) {
	t.Parallel()
	b := data(67, 30*testSlice)
	w := newWorld(t, b)
	w.run()
	wants(t, "begin", w.ask("GET", "/f", "Range", "bytes=0-99"), 206, b[:100])
	readOnly, err := os.Open(w.file(kindBytes))
	if err != nil {
		t.Fatal(err)
	}
	w.rest()
	w.cache.mu.Lock()
	for e := range w.cache.opened {
		e.gen.data.Close()
		e.gen.data = readOnly
	}
	w.cache.mu.Unlock()
	wants(t, "all", w.ask("GET", "/f"), 200, b)
	w.origin.change(data(68, 30*testSlice), "Etag", `"two"`)
	resp := w.ask("GET", "/f")
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err == nil || !bytes.HasPrefix(b, got) {
		t.Errorf("the file has changed behind a disk that takes nothing: %d bytes, %v", len(got), err)
	}
}

// TestBytesThatGoAway under the node's hands break an answer off, and are fetched again for the next one.
func TestBytesThatGoAway(t *testing.T) {
	t.Parallel()
	b := data(69, 10*testSlice)
	w := newWorld(t, b)
	w.run()
	wants(t, "cold", w.ask("GET", "/f"), 200, b)
	if err := os.Truncate(w.file(kindBytes), 3*testSlice); err != nil {
		t.Fatal(err)
	}
	good := 0
	for range 2 { // the first may be cut off
		resp := w.ask("GET", "/f")
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !bytes.HasPrefix(b, got) {
			t.Fatal("wrong bytes were sent")
		}
		if err == nil {
			good++
		}
	}
	if good == 0 {
		t.Error("it was never mended")
	}
}

// TestNames: nothing else in the folder is taken for ours.
func TestNames(t *testing.T) {
	t.Parallel()
	k := keyOf("http://x/").String()
	if got, id, kind, ok := parseName(k + ".0123456789abcdef.bytes"); !ok || got != keyOf("http://x/") || id != "0123456789abcdef" || kind != kindBytes {
		t.Errorf("%v %s %s %v", got, id, kind, ok)
	}
	for _, name := range []string{
		"", k, k + ".0123456789abcdef", k + ".0123456789abcdef.other", k + ".0123456789ABCDEF.bytes", k[1:] + ".0123456789abcdef.bytes",
		strings.ToUpper(k) + ".0123456789abcdef.bytes", k + ".0123.bytes", k + ".0123456789abcdef.bytes.x", ".." + k[2:] + ".0123456789abcdef.bytes",
	} {
		if _, _, _, ok := parseName(name); ok {
			t.Errorf("%q was taken", name)
		}
	}
}

// TestLaterRot: what rots while the cache runs does not leave for ever.
func TestLaterRot(t *testing.T) {
	t.Parallel()
	b := data(62, 20*testSlice+99)
	w := newWorld(t, b)
	w.change = func(c *Cache) { c.believe = 300 * time.Millisecond }
	w.run()
	wants(t, "cold", w.ask("GET", "/f"), 200, b)
	fetched := w.gate.Total()
	edit(t, w.file(kindBytes), func(b []byte) []byte { b[5*testSlice+77] ^= 1; return b })
	time.Sleep(w.cache.believe)
	wants(t, "after rot", w.ask("GET", "/f"), 200, b)
	if got := w.gate.Total() - fetched; got != testSlice {
		t.Errorf("%d bytes were fetched for one rotten slice of %d", got, testSlice)
	}
	wants(t, "mended", w.ask("GET", "/f"), 200, b)
}
