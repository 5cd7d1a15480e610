package store

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	st, whole, begun := openStore(t), newSample(t, 5), sampleOf(t, "begun", 3*16<<10, 16<<10)
	empty := must[Usage](t)(st.Usage())
	if empty.Whole != 0 || empty.Partial != 0 || empty.Room == 0 {
		t.Errorf("an empty store: %+v", empty)
	}
	path := fill(t, st, whole)
	p := must[*Partial](t)(st.Begin(t.Context(), begun.m))
	begun.put(t, p, 1)
	try(t, p.Close(), os.WriteFile(filepath.Join(st.dir, "sealed", "note"), []byte("none of ours"), 0o600))
	u := must[Usage](t)(st.Usage())
	info := must[os.FileInfo](t)(os.Stat(path))
	if u.Whole != 1 || u.Partial != 1 || u.Bytes < allocated(info) || u.Bytes > allocated(info)+1<<20 {
		t.Errorf("%+v; the whole content takes %d bytes", u, allocated(info))
	}
	st.opt.Reserve = math.MaxInt64 / 2
	if u := must[Usage](t)(st.Usage()); u.Room != 0 {
		t.Errorf("with all of the disk in reserve there is room for %d bytes", u.Room)
	}
}
