package store

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dunlin-project/dunlin/internal/disktest"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// smallDisk mounts a file system of the given size in bytes; only root can.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	return disktest.Memory(t, "size="+size+",mode=700")
}

func mustBeFull(t *testing.T, err error) {
	t.Helper()
	if !fault.Is(err, fault.Unavailable) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(fault.Hint(err), "free") {
		t.Errorf("kind %v, hint %q: %v", fault.Of(err), fault.Hint(err), err)
	}
}

func TestFullDiskIsFoundBeforeTheDownload(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "1m")
	s := newSample(t, 80) // 1.25 MiB
	_, err := BeginAt(t.Context(), filepath.Join(dir, "f"), s.m, Options{})
	mustBeFull(t, err)
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
	small := newSample(t, 40)
	_, err = BeginAt(t.Context(), filepath.Join(dir, "f"), small.m, Options{Reserve: 512 << 10})
	mustBeFull(t, err)
	p := closing(t, must[*Partial](t)(BeginAt(t.Context(), filepath.Join(dir, "f"), small.m, Options{Reserve: 256 << 10})))
	finish(t, small, p).Close()
}

// TestFullDiskDoesNotStopWhatHasItsRoom has others fill the disk after the download has begun: it is preallocated, and
// saving the state takes no new block.
func TestFullDiskDoesNotStopWhatHasItsRoom(t *testing.T) {
	t.Parallel()
	dir := disktest.Real(t, 4<<20).Dir // unlike one in memory it keeps room for a file
	s := newSample(t, 40)
	path := filepath.Join(dir, "f")
	p := closing(t, beginAt(t, path, s))
	fillDisk(t, dir)
	s.put(t, p, span(0, 20)...)
	try(t, p.sync(), p.Close())
	p = closing(t, beginAt(t, path, s)) // and a restart needs nothing either
	checkFile(t, closing(t, finish(t, s, p)), s, path)
}

func TestFullDiskAtWriting(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "2m")
	s := newSample(t, 40)
	path := filepath.Join(dir, "f")
	p := closing(t, beginAt(t, path, s))
	try(t, p.data.Load().Truncate(0), p.data.Load().Truncate(s.m.Length())) // as if the disk could not preallocate
	filler := fillDisk(t, dir)
	_, err := p.Put(3, s.piece(3))
	mustBeFull(t, err)
	if p.Has(3) {
		t.Error("it counts")
	}
	try(t, os.Remove(filler)) // room again: the same download goes on
	checkFile(t, closing(t, finish(t, s, p)), s, path)
}

func TestReserveWhereTheDiskCannotPreallocate(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "2m")
	s := newSample(t, 40)
	p := closing(t, must[*Partial](t)(BeginAt(t.Context(), filepath.Join(dir, "f"), s.m, Options{Reserve: 256 << 10})))
	p.sparse = true
	s.put(t, p, 0)
	try(t, p.sync())
	fillDisk(t, dir)
	mustBeFull(t, p.sync())
}

// TestReserveIsKeptBesidePuts: what a group sync finds reaches the next Put, and once there is room the download goes on.
func TestReserveIsKeptBesidePuts(t *testing.T) {
	t.Parallel()
	const reserve = 256 << 10
	dir := smallDisk(t, "2m")
	s := newSample(t, 40)
	p := closing(t, must[*Partial](t)(BeginAt(t.Context(), filepath.Join(dir, "f"), s.m, Options{Reserve: reserve})))
	p.sparse = true
	filler := fillDisk(t, dir)
	info := must[os.FileInfo](t)(os.Stat(filler))
	try(t, os.Truncate(filler, info.Size()-reserve/2)) // room for pieces, but only in the reserve
	p.unsynced.Store(syncBytes - 1)
	s.put(t, p, 0)
	p.behind.Wait()
	_, err := p.Put(1, s.piece(1))
	mustBeFull(t, err)
	try(t, os.Remove(filler))
	s.put(t, p, 1)
}

// fillDisk leaves no room on the disk of dir, and returns the file that takes it.
func fillDisk(t *testing.T, dir string) string {
	t.Helper()
	f := must[*os.File](t)(os.Create(filepath.Join(dir, "filler")))
	defer f.Close()
	for block := make([]byte, 4096); ; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return f.Name()
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestDiskErrorsHaveAKindAndAHint(t *testing.T) {
	t.Parallel()
	for _, errno := range []error{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.EFBIG, syscall.EMFILE,
	} {
		err := diskError("/data/f", &fs.PathError{Op: "write", Path: "/data/f", Err: errno})
		if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.Hint(err), "/data/f") || !errors.Is(err, errno) {
			t.Errorf("%v: kind %v, hint %q", errno, fault.Of(err), fault.Hint(err))
		}
	}
	if err := diskError("x", os.ErrClosed); fault.Hint(err) != "" {
		t.Errorf("a closed file: %v", err)
	}
	if diskError("x", nil) != nil {
		t.Error("no error became one")
	}
}

func TestClamp(t *testing.T) {
	t.Parallel()
	for in, want := range map[[2]uint64]int64{
		{3, 512}: 1536, {0, 512}: 0, {5, 0}: 0, {math.MaxUint64, 4096}: math.MaxInt64, {math.MaxInt64, 1}: math.MaxInt64,
	} {
		if got := clamp(in[0], in[1]); got != want {
			t.Errorf("%v: %d, want %d", in, got, want)
		}
	}
}

func TestHolesAreNotHashed(t *testing.T) {
	t.Parallel()
	s := newSample(t, 64)
	path := filepath.Join(t.TempDir(), "f")
	p := beginAt(t, path, s)
	s.put(t, p, 7, 40, 41, 63)
	crash(p)
	p = beginAt(t, path, s)
	defer crash(p)
	p.have, p.sure = newLedger(s.m).have, newLedger(s.m).sure
	got := p.written()
	for _, i := range []int{7, 40, 41, 63} {
		if !p.Has(i) && !contains(got, i) {
			t.Errorf("piece %d was not looked at", i)
		}
	}
	if len(got) > 32 { // a file system that cannot tell holes lists all 64
		t.Skipf("this file system shows no holes: %d of 64 pieces have data", len(got))
	}
}

func contains(list []int, i int) bool {
	for _, v := range list {
		if v == i {
			return true
		}
	}
	return false
}
