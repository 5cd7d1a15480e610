package handler_test

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dunlin-project/dunlin/install/handler"
	"github.com/dunlin-project/dunlin/install/installtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// install installs one payload on a new bench whose publisher may write below the bench's root.
func install(t *testing.T, payload []byte, prepare func(root string, u *metadata.Update)) (*installtest.Bench, error) {
	t.Helper()
	b := installtest.New(t, handler.All())
	b.Publisher.Record.Destinations = []string{b.Root}
	b.Org.SetRecord(b.Publisher)
	u := b.Release("1.0", 1, payload, func(u *metadata.Update) {
		u.Destination = filepath.Join(b.Root, "app")
		prepare(b.Root, u)
	})
	_, err := b.Install(t.Context(), u, payload)
	return b, err
}

func TestFileModes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]os.FileMode{"": 0o644, "0755": 0o755, "600": 0o600, "0000": 0, "0777": 0o777} {
		b, err := install(t, []byte("x"), func(_ string, u *metadata.Update) { u.Mode = text })
		must(t, err)
		if info, err := os.Stat(filepath.Join(b.Root, "app")); err != nil || info.Mode() != want {
			t.Errorf("%q: %v, %v", text, info.Mode(), err)
		}
	}
}

func TestFileOwners(t *testing.T) {
	t.Parallel()
	self, err := user.Current()
	must(t, err)
	owners := map[string][2]uint32{self.Username: {uint32(os.Getuid()), uint32(os.Getgid())}}
	if os.Geteuid() == 0 {
		owners["daemon"], owners["daemon:bin"] = idsOf(t, "daemon", "daemon"), idsOf(t, "daemon", "bin")
	}
	for owner, want := range owners {
		b, err := install(t, []byte("x"), func(_ string, u *metadata.Update) { u.Owner, u.Mode = owner, "0640" })
		must(t, err)
		info, err := os.Stat(filepath.Join(b.Root, "app"))
		must(t, err)
		if st := info.Sys().(*syscall.Stat_t); [2]uint32{st.Uid, st.Gid} != want || info.Mode() != 0o640 {
			t.Errorf("%s: %d:%d, %v", owner, st.Uid, st.Gid, info.Mode())
		}
	}
	b, err := install(t, []byte("x"), func(_ string, u *metadata.Update) { u.Owner = "no-such-user-here" })
	if !fault.Is(err, fault.Install) || fault.Hint(err) == "" {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
	left(t, b.Root)
}

func idsOf(t *testing.T, name, group string) [2]uint32 {
	t.Helper()
	u, err := user.Lookup(name)
	must(t, err)
	g, err := user.LookupGroup(group)
	must(t, err)
	number := func(s string) (n uint32) {
		for _, c := range s {
			n = n*10 + uint32(c-'0')
		}
		return n
	}
	return [2]uint32{number(u.Uid), number(g.Gid)}
}

// left fails the test when a folder holds other names than these.
func left(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

func TestFileAtSomethingElse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plant func(root, dest string) error
		want  fault.Kind
	}{
		"a folder":        {func(_, dest string) error { return os.Mkdir(dest, 0o755) }, fault.Install},
		"a pipe":          {func(_, dest string) error { return syscall.Mkfifo(dest, 0o600) }, fault.Install},
		"a read-only one": {func(_, dest string) error { return os.WriteFile(dest, []byte("old"), 0o400) }, 0},
		"a link out":      {func(_, dest string) error { return os.Symlink("/etc/passwd", dest) }, 0}, // replaced, not followed
		"a link to none":  {func(_, dest string) error { return os.Symlink("nowhere", dest) }, 0},
		"two names": {func(root, dest string) error {
			return errors.Join(os.WriteFile(dest, []byte("old"), 0o600), os.Link(dest, filepath.Join(root, "second")))
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := install(t, []byte("new"), func(root string, u *metadata.Update) { must(t, c.plant(root, u.Destination)) })
			if fault.Of(err) != c.want {
				t.Fatalf("%v: %v", fault.Of(err), err)
			}
			if err != nil {
				if fault.Hint(err) == "" {
					t.Errorf("%v says nothing that could be done", err)
				}
				left(t, b.Root, "app")
				return
			}
			if info, err := os.Lstat(filepath.Join(b.Root, "app")); err != nil || !info.Mode().IsRegular() || content(t, filepath.Join(b.Root, "app")) != "new" {
				t.Errorf("%v, %v", info, err)
			}
			if second := content(t, filepath.Join(b.Root, "second")); second != "" && second != "old" {
				t.Errorf("the second name holds %q", second)
			}
		})
	}
}

// TestParentsThatLeadAway: a link on the way to the destination may lead anywhere below what is allowed, and nowhere else.
func TestParentsThatLeadAway(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	for name, c := range map[string]struct {
		link string
		want fault.Kind
	}{
		"absolute, outside": {outside, fault.Install},
		"relative, outside": {"../../../../../../.." + outside, fault.Install},
		"up":                {"..", fault.Install},
		"below":             {"real", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := install(t, []byte("new"), func(root string, u *metadata.Update) {
				u.Destination = filepath.Join(root, "way", "app")
				must(t, errors.Join(os.Mkdir(filepath.Join(root, "real"), 0o755), os.Symlink(c.link, filepath.Join(root, "way"))))
			})
			if fault.Of(err) != c.want {
				t.Errorf("%v: %v", fault.Of(err), err)
			}
			left(t, outside)
			if err == nil {
				left(t, filepath.Join(b.Root, "real"), "app")
			}
		})
	}
}

func TestFileIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	payload := []byte("the content")
	b, err := install(t, payload, func(string, *metadata.Update) {})
	must(t, err)
	dest := filepath.Join(b.Root, "app")
	for name, c := range map[string]struct {
		spoil func() error
		there bool
	}{
		"copied anew":      {func() error { return errors.Join(os.Remove(dest), os.WriteFile(dest, payload, 0o600)) }, true},
		"another content":  {func() error { return errors.Join(os.Remove(dest), os.WriteFile(dest, []byte("THE CONTENT"), 0o600)) }, false},
		"another length":   {func() error { return os.WriteFile(dest, []byte("the"), 0o600) }, false},
		"a folder":         {func() error { return errors.Join(os.Remove(dest), os.Mkdir(dest, 0o700)) }, false},
		"a link to itself": {func() error { return errors.Join(os.Remove(dest), os.Symlink("app", dest)) }, false},
	} {
		must(t, c.spoil())
		if i := b.Item(); i.Present != c.there || i.Err != nil {
			t.Errorf("%s: present %v, %v", name, i.Present, i.Err)
		}
		must(t, os.RemoveAll(dest))
		must(t, os.WriteFile(dest, payload, 0o600))
	}
}
