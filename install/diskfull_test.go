package install_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dunlin-project/dunlin/install"
	"github.com/dunlin-project/dunlin/internal/disktest"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// TestDiskFull leaves every possible number of pages free, and then of inodes: the update is installed, or nothing has
// changed and it says that the disk is full; with room, the next run succeeds.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	const page = 4096
	dir := disktest.Memory(t, "size=2m,nr_inodes=60")
	b := benchAt(t, dir)
	b.MustInstall(release(b, "0", 1, nil), payload("0"))
	at, full := "0", map[string]int{}
	attempt := func(n int64, version string) (done bool) {
		u := release(b, version, n, nil)
		_, err := b.Install(t.Context(), u, payload(version))
		switch {
		case err == nil:
			at = version
		case !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "":
			t.Errorf("%s: %v: %v", version, fault.Of(err), err)
		default:
			full[cause(err)]++
		}
		if got := seen(t, b); got != at || b.Item().Version != at || !b.Item().Present {
			t.Fatalf("%s: %q is there, the inventory says %q, want %q", version, got, b.Item().Version, at)
		}
		return err == nil
	}
	ballast := filepath.Join(dir, "ballast")
	release := int64(1)
	for free := int64(0); free < 200; free++ {
		release++
		fill(t, ballast, freeBytes(t, dir)-free*page)
		done := attempt(release, fmt.Sprint("pages-", free))
		must(t, os.Remove(ballast))
		if done {
			break
		}
	}
	for free := 0; free < 50; free++ {
		release++
		takeInodes(t, filepath.Join(dir, "inodes"), free)
		done := attempt(release, fmt.Sprint("inodes-", free))
		must(t, os.RemoveAll(filepath.Join(dir, "inodes")))
		if done {
			break
		}
	}
	if !attempt(release+1, "in-the-end") {
		t.Error("with room again it was not installed")
	}
	t.Logf("full at: %v", full)
	if len(full) < 3 {
		t.Errorf("the disk was full at few places: %v", full)
	}
}

// cause names the step at which an error arose.
func cause(err error) string {
	s := err.Error()
	for _, step := range []string{"copy payload", "write file", "journal", "floor", "record", "bundle", "lock"} {
		if strings.Contains(s, step) {
			return step
		}
	}
	return "another"
}

func freeBytes(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs(dir, &st))
	return int64(st.Bavail) * st.Bsize
}

func fill(t *testing.T, path string, n int64) {
	t.Helper()
	must(t, os.WriteFile(path, make([]byte, max(n, 0)), 0o600))
}

func takeInodes(t *testing.T, dir string, leave int) {
	t.Helper()
	must(t, os.Mkdir(dir, 0o700))
	taken := []string{}
	for n := 0; ; n++ {
		name := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			break
		}
		taken = append(taken, name)
	}
	for _, name := range taken[:min(leave, len(taken))] {
		must(t, os.Remove(name))
	}
}

// TestDiskFullAtTheStart: not even the folders fit.
func TestDiskFullAtTheStart(t *testing.T) {
	t.Parallel()
	dir := disktest.Memory(t, "size=64k,nr_inodes=20")
	c := bench(t).Config
	c.Dir = filepath.Join(dir, "state")
	takeInodes(t, filepath.Join(dir, "inodes"), 1)
	if _, err := install.New(c); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
	must(t, os.RemoveAll(filepath.Join(dir, "inodes")))
	if _, err := install.New(c); err != nil {
		t.Error(err)
	}
}

// TestReadOnlyDestination is a fault of the installation, and leaves no trace.
func TestReadOnlyDestination(t *testing.T) {
	t.Parallel()
	dir := disktest.Memory(t, "size=64k,ro")
	b := bench(t)
	b.Root = dir
	if _, err := b.Install(t.Context(), release(b, "1.0", 1, nil), payload("1.0")); !fault.Is(err, fault.Install) {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
	b.Root = t.TempDir()
	b.MustInstall(release(b, "2.0", 2, nil), payload("2.0"))
}

// TestCopiesThatDoNotFit: the source must be copied, and the state folder has no room for it.
func TestCopiesThatDoNotFit(t *testing.T) {
	t.Parallel()
	dir := disktest.Memory(t, "size=100k")
	b := bench(t)
	b.Config.Dir = filepath.Join(dir, "state")
	b.Restart()
	u := release(b, "1.0", 1, nil)
	f := b.File(payload("1.0"))
	must(t, f.Chmod(0o666))
	if _, err := b.Installer.Verify(t.Context(), b.Request(u, f)); !fault.Is(err, fault.Unavailable) || cause(err) != "copy payload" {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
	empty(t, filepath.Join(b.Config.Dir, "staging"))
}
